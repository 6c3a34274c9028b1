//! Encoding and decoding of the records that every message passes as: the bar is 0.8 µs for both ways
//! of a record of 256 bytes. `cargo bench --workspace --bench codec`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use schemas::avro::Record;
use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Upstream;

/// A record of 256 bytes on the wire, or the few more that its identity takes.
fn upstream() -> Upstream {
    let mut record = Upstream {
        conversation_id: ConversationId::single(UserId(7_123_456_789_012), UserId(7_123_456_789_013)),
        sender_id: UserId(7_123_456_789_012),
        client_msg_id: "3f2b8c1e-5a67-4d90-b1f2-0a9c8d7e6f5a".into(),
        kind: Kind::Text,
        content: "".into(),
        target_seq: None,
        remove: false,
    };
    let missing = 256 - bytes_of(&record).len() - 1;
    record.content = "x".repeat(missing).into();
    record
}

fn bytes_of(record: &impl Record) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out).expect("the record fits its schema");
    out
}

fn both_ways<T: Record>(criterion: &mut Criterion, name: &str, record: &T) {
    let bytes = bytes_of(record);
    let mut out = Vec::with_capacity(bytes.len());
    let mut group = criterion.benchmark_group(format!("{name}, {} bytes", bytes.len()));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(record).encode(&mut out)
        });
    });
    group.bench_function("decode", |bencher| bencher.iter(|| T::decode(black_box(&bytes))));
    group.bench_function("encode and decode", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(record).encode(&mut out).and_then(|()| T::decode(black_box(&out)))
        });
    });
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    both_ways(criterion, "upstream", &upstream());
    let sequenced = upstream().identified(MessageId(7_123_456_789_014), Seq(1_234), 1_200, 1_800_000_000_000);
    both_ways(criterion, "sequenced", &sequenced);
}

criterion_group!(benches, codec);
criterion_main!(benches);
