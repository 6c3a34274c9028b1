//! Batches in the database: one row each.
//!
//! A row's id is the partition's number and the offset in one integer, so that a partition's batches
//! lie side by side, in order, without a second index. A checksum over everything in the row finds
//! what a disk has changed, and SQLite with it.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::batch::Batch;
use super::partition::Stored;
use crate::log::Bounds;

/// Bits of a row's id that hold the offset; the rest holds the partition's number.
pub(super) const OFFSET_BITS: u32 = 44;
const OFFSET_MAX: u64 = (1 << OFFSET_BITS) - 1;

/// The row id of an offset.
pub(super) fn row_id(partition: u32, offset: u64) -> i64 {
    debug_assert!(offset <= OFFSET_MAX);
    (i64::from(partition) << OFFSET_BITS) | offset.cast_signed()
}

fn offset_of(row_id: i64) -> u64 {
    row_id.cast_unsigned() & OFFSET_MAX
}

/// Adds a batch.
pub(super) fn insert_batch(tx: &Transaction<'_>, partition: u32, batch: &Batch) -> rusqlite::Result<()> {
    let id = row_id(partition, batch.base);
    tx.prepare_cached("INSERT INTO batches VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7)")?.execute(params![
        id,
        batch.span.cast_signed(),
        batch.records.cast_signed(),
        batch.first_time,
        batch.last_time,
        checksum(id, batch),
        &batch.body[..],
    ])?;
    Ok(())
}

/// What a partition holds.
pub(super) fn stored(db: &Connection, partition: u32) -> rusqlite::Result<Stored> {
    let mut of_partition = db.prepare_cached("SELECT start, last_time, compacted FROM partitions WHERE id = ?1")?;
    let (start, last_time, compacted): (i64, i64, i64) =
        of_partition.query_row([partition], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let (start, compacted) = (start.cast_unsigned(), compacted.cast_unsigned());
    let newest = at_or_below(db, partition, OFFSET_MAX)?;
    Ok(Stored {
        bounds: Bounds { start, end: newest.map_or(start, |newest| newest.end).max(compacted) },
        last_time: newest.map_or(last_time, |newest| newest.last_time.max(last_time)),
        compacted,
    })
}

/// Which rows to fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Number of the partition.
    pub partition: u32,
    /// From the batch that holds this offset, or the next one.
    pub from: u64,
    /// Only batches that start below this offset.
    pub until: u64,
    /// Stop when so many bytes are there.
    pub bytes_max: usize,
    /// Whether every offset is there that was not compacted away.
    pub gapless: bool,
}

/// Why a batch can't be fetched.
#[derive(Debug)]
pub(super) enum FetchError {
    /// Its bytes are not those that were written.
    Damaged {
        base: u64,
    },
    /// Records between these offsets are not there.
    Missing {
        /// The first of them.
        from: u64,
        /// The first that is there again.
        until: u64,
    },
    Storage(rusqlite::Error),
}

impl From<rusqlite::Error> for FetchError {
    fn from(e: rusqlite::Error) -> Self {
        Self::Storage(e)
    }
}

/// Reads batches, at least one when there is one.
pub(super) fn fetch(db: &Connection, span: Span) -> Result<Vec<Batch>, FetchError> {
    // One view of both tables: retention drops batches and moves the start in one transaction.
    let view = db.unchecked_transaction()?;
    let batches = batches(&view, span)?;
    if span.gapless {
        let gapless_from = view
            .prepare_cached("SELECT max(start, compacted) FROM partitions WHERE id = ?1")?
            .query_row([span.partition], |row| row.get::<_, i64>(0))?;
        let mut next = span.from.max(gapless_from.cast_unsigned());
        for batch in &batches {
            if batch.base > next {
                return Err(FetchError::Missing { from: next, until: batch.base });
            }
            next = next.max(batch.end());
        }
        if batches.is_empty() && next < span.until {
            return Err(FetchError::Missing { from: next, until: span.until });
        }
    }
    Ok(batches)
}

fn batches(db: &Connection, span: Span) -> Result<Vec<Batch>, FetchError> {
    let (lowest, from) = (row_id(span.partition, 0), row_id(span.partition, span.from));
    let first: Option<i64> = db
        .prepare_cached("SELECT id FROM batches WHERE id >= ?1 AND id <= ?2 ORDER BY id DESC LIMIT 1")?
        .query_row([lowest, from], |row| row.get(0))
        .optional()?;
    let mut statement = db.prepare_cached(
        "SELECT id, span, records, first_time, last_time, checksum, body FROM batches WHERE id >= ?1 AND id < ?2 ORDER BY id",
    )?;
    let mut rows = statement.query([first.unwrap_or(from), row_id(span.partition, span.until)])?;
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let [span_of, records]: [i64; 2] = [row.get(1)?, row.get(2)?];
        let batch = Batch {
            base: offset_of(id),
            span: span_of.cast_unsigned(),
            records: records.cast_unsigned(),
            first_time: row.get(3)?,
            last_time: row.get(4)?,
            body: Bytes::copy_from_slice(row.get_ref(6)?.as_blob().map_err(rusqlite::Error::from)?),
        };
        if batch.end() <= span.from {
            continue;
        }
        if row.get::<_, i64>(5)? != checksum(id, &batch) {
            return Err(FetchError::Damaged { base: batch.base });
        }
        bytes += batch.body.len();
        batches.push(batch);
        if bytes >= span.bytes_max {
            break;
        }
    }
    Ok(batches)
}

/// Over everything in a row, so that a batch that sits in another's place is found too.
fn checksum(id: i64, batch: &Batch) -> i64 {
    let numbers = [id, batch.span.cast_signed(), batch.records.cast_signed(), batch.first_time, batch.last_time];
    let mut seed = [0; 40];
    for (place, number) in seed.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    xxh3_64_with_seed(&batch.body, xxh3_64_with_seed(&seed, 0)).cast_signed()
}

/// A batch without its records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outline {
    pub base: u64,
    /// The offset behind its last record.
    pub end: u64,
    /// Time of its last record.
    pub last_time: i64,
    /// Size of its records.
    pub bytes: usize,
}

/// The oldest batches of a partition, up to `count`.
pub(super) fn oldest(db: &Connection, partition: u32, count: u32) -> rusqlite::Result<Vec<Outline>> {
    outlines(
        db,
        "SELECT id, span, last_time, length(body) FROM batches WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3",
        (row_id(partition, 0), row_id(partition + 1, 0), count),
    )
}

/// The newest batch that starts at or below an offset.
pub(super) fn at_or_below(db: &Connection, partition: u32, offset: u64) -> rusqlite::Result<Option<Outline>> {
    let sql =
        "SELECT id, span, last_time, length(body) FROM batches WHERE id >= ?1 AND id <= ?2 ORDER BY id DESC LIMIT ?3";
    Ok(outlines(db, sql, (row_id(partition, 0), row_id(partition, offset), 1))?.pop())
}

fn outlines(db: &Connection, sql: &str, (low, high, count): (i64, i64, u32)) -> rusqlite::Result<Vec<Outline>> {
    let outline = |row: &Row<'_>| {
        let [id, span, bytes]: [i64; 3] = [row.get(0)?, row.get(1)?, row.get(3)?];
        let (base, bytes) = (offset_of(id), usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(Outline { base, end: base + span.cast_unsigned(), last_time: row.get(2)?, bytes })
    };
    db.prepare_cached(sql)?.query_map(params![low, high, count], outline)?.collect()
}

/// How many records the batches below an offset have, and how many those from it on.
pub(super) fn records_around(db: &Connection, partition: u32, offset: u64) -> rusqlite::Result<(u64, u64)> {
    let sum = |low: i64, high: i64| -> rusqlite::Result<u64> {
        let records: i64 = db
            .prepare_cached("SELECT coalesce(sum(records), 0) FROM batches WHERE id >= ?1 AND id < ?2")?
            .query_row([low, high], |row| row.get(0))?;
        Ok(records.cast_unsigned())
    };
    let middle = row_id(partition, offset);
    Ok((sum(row_id(partition, 0), middle)?, sum(middle, row_id(partition + 1, 0))?))
}

/// Removes the batches that start in these offsets.
pub(super) fn delete_batches(tx: &Transaction<'_>, partition: u32, from: u64, until: u64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM batches WHERE id >= ?1 AND id < ?2")?
        .execute([row_id(partition, from), row_id(partition, until)])?;
    Ok(())
}
