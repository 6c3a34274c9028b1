//! Encoding and decoding of the records that every message passes as: the bar is 0.8 µs for both ways
//! of a record of 256 bytes. `cargo bench --profile dist --workspace --bench codec`.

use std::hint::black_box;
use std::time::Instant;

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

fn main() {
    both_ways("upstream", &upstream());
    let sequenced = upstream().identified(MessageId(7_123_456_789_014), Seq(1_234), 1_200, 1_800_000_000_000);
    both_ways("sequenced", &sequenced);
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn both_ways<T: Record>(name: &str, record: &T) {
    let bytes = bytes_of(record);
    let mut out = Vec::with_capacity(bytes.len());
    let encode = fastest(|| {
        out.clear();
        black_box(record).encode(&mut out).expect("the record fits its schema");
    });
    let decode = fastest(|| drop(black_box(T::decode(black_box(&bytes)))));
    println!("{name}, {} bytes: encode {encode} ns, decode {decode} ns, both {} ns", bytes.len(), encode + decode);
}

/// The time that a call takes, in ns: the mean of a round, of the fastest round.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn fastest(mut call: impl FnMut()) -> u128 {
    const ROUNDS: u32 = 100;
    const CALLS: u128 = 10_000;
    let mut round = || {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed().as_nanos() / CALLS
    };
    (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
}
