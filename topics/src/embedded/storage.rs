//! The SQLite file of a log, and what is written to and read from it.
//!
//! Every append is on disk before it is acknowledged (WAL, `synchronous=FULL`: one fsync a
//! transaction). See <https://sqlite.org/pragma.html#pragma_synchronous>.
//!
//! This module opens the file and keeps what describes the log; batches are in `rows`.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

use super::failure;
use crate::log::LogError;

/// Marks a database as a log of GoChat ("GoCl"); SQLite keeps it in the file's header.
const APPLICATION_ID: i32 = 0x476f_436c;
/// Version of everything below. A newer one is refused.
pub(super) const FORMAT_VERSION: i32 = 2;
/// The version that `former` takes over.
const FORMER_VERSION: i32 = 1;
const PAGE_BYTES: u32 = 8_192;
/// Memory of one connection's page cache.
const PAGE_CACHE_KIB: i32 = 4_096;

/// Below `compacted` offsets may be missing. `batches.txn` is 0: version 1 used it, and removing a column
/// rewrites every batch.
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
        consumers TEXT NOT NULL, partition INTEGER NOT NULL, position INTEGER NOT NULL,
        PRIMARY KEY (consumers, partition)) STRICT, WITHOUT ROWID;";

/// The file of the log in a directory.
pub(super) fn path_of(dir: &Path) -> PathBuf {
    dir.join("synced.db")
}

/// Opens the file for writing; makes it when it is not there. It may be of the former version.
///
/// # Errors
/// [`LogError::Unusable`] when it is something else.
pub(super) fn open_writer(dir: &Path, bytes_max: Option<u64>) -> Result<Connection, LogError> {
    let path = path_of(dir);
    let fail = |e| failure::of_opening(&path, e);
    let db = Connection::open(beyond_doubt(&path)?).map_err(fail)?;
    let version = version_of(&db).map_err(fail)?;
    check_version(&path, version)?;
    let pages_max = bytes_max.map_or(i64::from(u32::MAX) - 1, |bytes| (bytes / u64::from(PAGE_BYTES)).cast_signed());
    db.execute_batch(&format!(
        "PRAGMA page_size={PAGE_BYTES}; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
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

/// Opens the file for reading.
///
/// # Errors
/// [`LogError::Unusable`] when it is not there, of the former version, or something else.
pub(super) fn open_reader(dir: &Path) -> Result<Connection, LogError> {
    let path = path_of(dir);
    let fail = |e| failure::of_opening(&path, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(beyond_doubt(&path)?, flags).map_err(fail)?;
    let version = version_of(&db).map_err(fail)?;
    check_version(&path, version)?;
    let unready = match version {
        Version::Empty => Some("it is empty: start the process that writes the log first"),
        Version::Numbered(FORMER_VERSION) => {
            Some("an earlier version wrote it: start the process that writes the log first, which takes it over")
        }
        Version::Numbered(_) | Version::Foreign => None,
    };
    if let Some(reason) = unready {
        return Err(LogError::Unusable { path: path.display().to_string(), reason: reason.into() });
    }
    db.execute_batch(&format!("PRAGMA busy_timeout=5000; PRAGMA cache_size=-{PAGE_CACHE_KIB};")).map_err(fail)?;
    Ok(db)
}

/// Whether the file is of the former version.
pub(super) fn is_former(db: &Connection) -> rusqlite::Result<bool> {
    Ok(version_of(db)? == Version::Numbered(FORMER_VERSION))
}

/// The same path from the root: SQLite takes a name that begins with `file:` for a URI, and `:memory:` for no file.
/// <https://www.sqlite.org/uri.html>
pub(super) fn beyond_doubt(path: &Path) -> Result<PathBuf, LogError> {
    std::path::absolute(path).map_err(|e| failure::of_directory(path, &e))
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
        Version::Empty | Version::Numbered(FORMER_VERSION | FORMAT_VERSION) => return Ok(()),
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

pub(super) fn set_setting(db: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}

/// Sets a group's position in a partition.
pub(super) fn set_position(tx: &Transaction<'_>, group: &str, partition: u32, position: u64) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO positions VALUES (?1, ?2, ?3)")?.execute(params![
        group,
        partition,
        position.cast_signed()
    ])?;
    Ok(())
}

/// Every position, as (group, number of the partition, next offset to work on).
pub(super) fn positions(db: &Connection) -> rusqlite::Result<Vec<(String, u32, u64)>> {
    let mut statement = db.prepare_cached("SELECT consumers, partition, position FROM positions")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned())))?.collect()
}

/// The partitions, as (number, topic, partition of the topic).
pub(super) fn partitions(db: &Connection) -> rusqlite::Result<Vec<(u32, String, u32)>> {
    let mut statement = db.prepare("SELECT id, topic, partition FROM partitions ORDER BY id")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// Adds a partition without records.
pub(super) fn create_partition(tx: &Transaction<'_>, id: u32, topic: &str, partition: u32) -> rusqlite::Result<()> {
    tx.execute("INSERT INTO partitions VALUES (?1, ?2, ?3, 0, 0, 0)", params![id, topic, partition])?;
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

/// Copies what the write-ahead log holds into the database, without keeping anybody waiting. Says
/// whether that was all of it, so that the log restarts from empty.
pub(super) fn checkpoint(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let [busy, in_log, copied]: [i64; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
        Ok(busy == 0 && in_log == copied)
    })
}
