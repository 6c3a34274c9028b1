//! The two SQLite files of a log, and what is written to and read from them.
//!
//! `synced.db` holds the topics that are on disk before an append is acknowledged (WAL,
//! `synchronous=FULL`: one fsync a transaction). `unsynced.db` holds the others (WAL,
//! `synchronous=NORMAL`: an fsync at checkpoints only, so a power loss may take its newest
//! transactions but never its integrity; the death of the process takes nothing, since the
//! operating system has every write). See <https://sqlite.org/pragma.html#pragma_synchronous>.
//!
//! A batch is one row; its id is the partition's number and the offset in one integer, so that a
//! partition's batches lie side by side, in order, without a second index.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::batch::Batch;
use super::failure;
use super::partition::Stored;
use crate::catalogue::Durability;
use crate::log::{Bounds, LogError};

/// Marks a database as a log of GoChat ("GoCl"); SQLite keeps it in the file's header.
const APPLICATION_ID: i32 = 0x476f_436c;
/// Version of everything below. A newer one is refused.
const FORMAT_VERSION: i32 = 1;
/// Bits of a row's id that hold the offset; the rest holds the partition's number.
const OFFSET_BITS: u32 = 44;
const PAGE_BYTES: u32 = 8_192;
/// Memory of one connection's page cache.
const PAGE_CACHE_KIB: i32 = 4_096;

const SCHEMA: &str = "
    CREATE TABLE settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE partitions (
        id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
        start INTEGER NOT NULL, last_time INTEGER NOT NULL, compacted INTEGER NOT NULL,
        UNIQUE (topic, partition)) STRICT;
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY, span INTEGER NOT NULL, records INTEGER NOT NULL, first_time INTEGER NOT NULL,
        last_time INTEGER NOT NULL, txn INTEGER NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE TABLE positions (
        consumers TEXT NOT NULL, partition INTEGER NOT NULL, position INTEGER NOT NULL, txn INTEGER NOT NULL,
        PRIMARY KEY (consumers, partition)) STRICT, WITHOUT ROWID;";

/// The file that topics of this durability live in.
pub(super) fn path_of(dir: &Path, durability: Durability) -> PathBuf {
    dir.join(match durability {
        Durability::Synced => "synced.db",
        Durability::Unsynced => "unsynced.db",
    })
}

/// Opens a file for writing; makes it when it is not there.
///
/// # Errors
/// [`LogError::Unusable`] when it is something else.
pub(super) fn open_writer(dir: &Path, durability: Durability, bytes_max: Option<u64>) -> Result<Connection, LogError> {
    let path = path_of(dir, durability);
    let fail = |e| failure::of_opening(&path, e);
    let db = Connection::open(&path).map_err(fail)?;
    let version = version_of(&db).map_err(fail)?;
    check_version(&path, version)?;
    let synchronous = match durability {
        Durability::Synced => "FULL",
        Durability::Unsynced => "NORMAL",
    };
    let pages_max = bytes_max.map_or(i64::from(u32::MAX) - 1, |bytes| (bytes / u64::from(PAGE_BYTES)).cast_signed());
    db.execute_batch(&format!(
        "PRAGMA page_size={PAGE_BYTES}; PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};
         PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-{PAGE_CACHE_KIB}; PRAGMA temp_store=MEMORY;
         PRAGMA busy_timeout=5000; PRAGMA max_page_count={pages_max};"
    ))
    .map_err(fail)?;
    if version == Version::Empty {
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT_VERSION}; COMMIT;"
        ))
        .map_err(fail)?;
    }
    Ok(db)
}

/// Opens a file for reading.
///
/// # Errors
/// [`LogError::Unusable`] when it is not there or something else.
pub(super) fn open_reader(dir: &Path, durability: Durability) -> Result<Connection, LogError> {
    let path = path_of(dir, durability);
    let fail = |e| failure::of_opening(&path, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(&path, flags).map_err(fail)?;
    let version = version_of(&db).map_err(fail)?;
    check_version(&path, version)?;
    if version == Version::Empty {
        let reason = "it is empty: start the process that writes the log first".into();
        return Err(LogError::Unusable { path: path.display().to_string(), reason });
    }
    db.execute_batch(&format!("PRAGMA busy_timeout=5000; PRAGMA cache_size=-{PAGE_CACHE_KIB};")).map_err(fail)?;
    Ok(db)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Empty,
    Foreign,
    Numbered(i32),
}

fn version_of(db: &Connection) -> rusqlite::Result<Version> {
    let application: i32 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: i32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match application {
        APPLICATION_ID => Version::Numbered(version),
        0 if tables == 0 && version == 0 => Version::Empty,
        _ => Version::Foreign,
    })
}

fn check_version(path: &Path, version: Version) -> Result<(), LogError> {
    let reason = match version {
        Version::Empty | Version::Numbered(FORMAT_VERSION) => return Ok(()),
        Version::Foreign => "it is a database of another program: choose another data directory".into(),
        Version::Numbered(newer) => format!(
            "its format is version {newer}, and this program knows version {FORMAT_VERSION}: use the version of the program that wrote it"
        ),
    };
    Err(LogError::Unusable { path: path.display().to_string(), reason })
}

/// A setting that was recorded when the log was made.
pub(super) fn setting(db: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    db.query_row("SELECT value FROM settings WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// Records a setting.
pub(super) fn set_setting(db: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}

/// The row id of an offset.
pub(super) fn row_id(partition: u32, offset: u64) -> i64 {
    debug_assert!(offset < 1 << OFFSET_BITS);
    (i64::from(partition) << OFFSET_BITS) | offset.cast_signed()
}

fn offset_of(row_id: i64) -> u64 {
    row_id.cast_unsigned() & ((1 << OFFSET_BITS) - 1)
}

/// Adds a batch. A row of a transaction that failed in the other file is overwritten.
pub(super) fn insert_batch(tx: &Transaction<'_>, partition: u32, batch: &Batch, txn: i64) -> rusqlite::Result<()> {
    let id = row_id(partition, batch.base);
    tx.prepare_cached("INSERT OR REPLACE INTO batches VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
        id,
        batch.span.cast_signed(),
        batch.records.cast_signed(),
        batch.first_time,
        batch.last_time,
        txn,
        checksum(id, batch),
        &batch.body[..],
    ])?;
    Ok(())
}

/// Sets a group's position in a partition.
pub(super) fn set_position(
    tx: &Transaction<'_>,
    group: &str,
    partition: u32,
    position: u64,
    txn: i64,
) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO positions VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        group,
        partition,
        position.cast_signed(),
        txn
    ])?;
    Ok(())
}

/// A group's position, as one of the files has it.
#[derive(Debug)]
pub(super) struct Position {
    /// The group.
    pub group: String,
    /// Number of the partition.
    pub partition: u32,
    /// The next offset to work on.
    pub offset: u64,
    /// Which group commit wrote it; the newer one of both files counts.
    pub txn: i64,
}

/// Every position in a file.
pub(super) fn positions(db: &Connection) -> rusqlite::Result<Vec<Position>> {
    let mut statement = db.prepare_cached("SELECT consumers, partition, position, txn FROM positions")?;
    let row = |row: &Row<'_>| {
        let offset: i64 = row.get(2)?;
        Ok(Position { group: row.get(0)?, partition: row.get(1)?, offset: offset.cast_unsigned(), txn: row.get(3)? })
    };
    statement.query_map([], row)?.collect()
}

/// The partitions that a file has, as (number, topic, partition of the topic).
pub(super) fn partitions(db: &Connection) -> rusqlite::Result<Vec<(u32, String, u32)>> {
    let mut statement = db.prepare("SELECT id, topic, partition FROM partitions ORDER BY id")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// Adds a partition without records.
pub(super) fn create_partition(tx: &Transaction<'_>, id: u32, topic: &str, partition: u32) -> rusqlite::Result<()> {
    tx.execute("INSERT INTO partitions VALUES (?1, ?2, ?3, 0, 0, 0)", params![id, topic, partition])?;
    Ok(())
}

/// What a partition holds, without what belongs to transactions later than `last_txn`.
pub(super) fn stored(db: &Connection, partition: u32, last_txn: i64) -> rusqlite::Result<Stored> {
    let mut of_partition = db.prepare_cached("SELECT start, last_time, compacted FROM partitions WHERE id = ?1")?;
    let (start, last_time, compacted): (i64, i64, i64) =
        of_partition.query_row([partition], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let start = start.cast_unsigned();
    let bounds = Bounds { start, end: start };
    let empty = Stored { bounds, last_time, compacted: compacted.cast_unsigned() };
    let Some(newest) = newest(db, partition, last_txn)? else { return Ok(empty) };
    let bounds = Bounds { start, end: newest.end };
    Ok(Stored { bounds, last_time: last_time.max(newest.last_time), ..empty })
}

struct Newest {
    id: i64,
    end: u64,
    last_time: i64,
    txn: i64,
}

fn newest(db: &Connection, partition: u32, last_txn: i64) -> rusqlite::Result<Option<Newest>> {
    db.prepare_cached(
        "SELECT id, span, last_time, txn FROM batches WHERE id >= ?1 AND id < ?2 AND txn <= ?3 ORDER BY id DESC LIMIT 1",
    )?
    .query_row(params![row_id(partition, 0), row_id(partition + 1, 0), last_txn], |row| {
        let (id, span): (i64, i64) = (row.get(0)?, row.get(1)?);
        let end = offset_of(id) + span.cast_unsigned();
        Ok(Newest { id, end, last_time: row.get(2)?, txn: row.get(3)? })
    })
    .optional()
}

/// Removes what a group commit left in this file when it died before it committed the other one.
/// Such rows are the newest of their partition.
pub(super) fn roll_back(db: &Connection, partition: u32, last_txn: i64) -> rusqlite::Result<()> {
    while let Some(newest) = newest(db, partition, i64::MAX)?.filter(|newest| newest.txn > last_txn) {
        db.execute("DELETE FROM batches WHERE id = ?1", [newest.id])?;
    }
    Ok(())
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
}

/// Why a batch can't be fetched.
#[derive(Debug)]
pub(super) enum FetchError {
    /// Its bytes are not those that were written.
    Damaged {
        /// Its first offset.
        base: u64,
    },
    /// The database failed.
    Storage(rusqlite::Error),
}

impl From<rusqlite::Error> for FetchError {
    fn from(e: rusqlite::Error) -> Self {
        Self::Storage(e)
    }
}

/// Reads batches, at least one when there is one.
pub(super) fn fetch(db: &Connection, span: Span) -> Result<Vec<Batch>, FetchError> {
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
    /// Its first offset.
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

/// Notes that a partition starts here; what was there before was never later than `last_time`.
pub(super) fn set_start(tx: &Transaction<'_>, partition: u32, start: u64, last_time: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE partitions SET start = ?2, last_time = max(last_time, ?3) WHERE id = ?1")?
        .execute(params![partition, start.cast_signed(), last_time])?;
    Ok(())
}

/// Notes up to where a partition was compacted.
pub(super) fn set_compacted(tx: &Transaction<'_>, partition: u32, offset: u64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE partitions SET compacted = ?2 WHERE id = ?1")?
        .execute(params![partition, offset.cast_signed()])?;
    Ok(())
}

/// Copies what the write-ahead log holds into the database, without keeping anybody waiting.
pub(super) fn checkpoint(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}
