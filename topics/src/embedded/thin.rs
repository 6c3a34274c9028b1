//! Batches without the records that newer ones replaced.

use super::batch::{Batch, Decoder, Malformed, RelativePlace, encode};
use super::call::{BATCH_BYTES_TARGET, sealed};

/// Keeps the records for which `keep` of key and offset holds, and joins what becomes small.
///
/// # Errors
/// When a batch can't be read.
pub(super) fn thin(batches: &[Batch], keep: impl Fn(&[u8], u64) -> bool) -> Result<Vec<Batch>, Malformed> {
    let mut thinned = Vec::new();
    let mut open: Option<Growing> = None;
    for batch in batches {
        let mut records = Decoder::new(batch.clone());
        while let Some(record) = records.next()? {
            if !keep(&record.key, record.offset) {
                continue;
            }
            let growing = open.get_or_insert_with(|| Growing::starting(record.offset, record.time_ms));
            let place = RelativePlace {
                offset: record.offset - growing.base,
                time_ms: record.time_ms.abs_diff(growing.first_time),
            };
            encode(&mut growing.body, &record.key, &record.value, &record.headers, Some(place));
            growing.records += 1;
            growing.last = (record.offset, record.time_ms);
            if growing.body.len() >= BATCH_BYTES_TARGET {
                thinned.extend(open.take().map(Growing::finish));
            }
        }
    }
    thinned.extend(open.map(Growing::finish));
    Ok(thinned)
}

struct Growing {
    base: u64,
    first_time: i64,
    last: (u64, i64),
    records: u64,
    body: Vec<u8>,
}

impl Growing {
    fn starting(base: u64, first_time: i64) -> Self {
        Self { base, first_time, last: (base, first_time), records: 0, body: Vec::new() }
    }

    fn finish(self) -> Batch {
        let (last, last_time) = self.last;
        Batch {
            base: self.base,
            span: last + 1 - self.base,
            records: self.records,
            first_time: self.first_time,
            last_time,
            body: sealed(self.body),
        }
    }
}
