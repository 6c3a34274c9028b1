//! Takes over a log of version 1, which kept deliveries and presence in a second file, `unsynced.db`.
//!
//! A commit to both files went to `unsynced.db` first. Its rows there bear the number of its transaction,
//! which `synced.db` notes as `last_txn`: rows with a later number are of a commit that never was. Of a
//! position in both files the later one counts.
//!
//! All rows move in one transaction, which also changes the version; the second file goes after it. So after
//! a crash the log is either of version 1 still, or the second file holds nothing that is needed.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::failure;
use super::rows::OFFSET_BITS;
use super::storage::{self, FORMAT_VERSION};
use crate::log::LogError;

/// Makes a log of version 1 one of this version, and removes what is left of the second file.
///
/// # Errors
/// [`LogError::Unusable`] when a file is damaged, or `synced.db` has lost what was committed to it.
pub(super) fn take_over(dir: &Path, db: &mut Connection) -> Result<(), LogError> {
    let (path, second) = (storage::path_of(dir), dir.join("unsynced.db"));
    let fail = |e| failure::of_opening(&path, e);
    if storage::is_former(db).map_err(fail)? {
        let last_txn = storage::setting(db, "last_txn").map_err(fail)?.unwrap_or(0);
        let absolute = storage::beyond_doubt(&second)?;
        let later = attach(db, &absolute, last_txn).map_err(|e| failure::of_opening(&second, e))?;
        // A crash leaves the rows of one transaction.
        if later.is_some_and(|later| later > 1) {
            let reason = format!(
                "it lacks transactions from {} on that unsynced.db was part of: synced.db-wal was damaged or removed. \
                 Restore the data directory from a backup",
                last_txn + 1
            );
            return Err(LogError::Unusable { path: path.display().to_string(), reason });
        }
        convert(db, later.map(|_| last_txn)).map_err(|e| failure::of_opening(dir, e))?;
        tracing::info!(dir = %dir.display(), "took over the log of an earlier version");
    }
    for name in ["unsynced.db", "unsynced.db-wal", "unsynced.db-shm"] {
        match fs::remove_file(dir.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failure::of_directory(dir, &e)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Attaches the second file as `former`, and counts its transactions after the last one that both files
/// have. `None`: nothing was ever written to it.
fn attach(db: &Connection, second: &Path, last_txn: i64) -> rusqlite::Result<Option<i64>> {
    db.execute("ATTACH CAST(?1 AS TEXT) AS former", [second.as_os_str().as_encoded_bytes()])?;
    let tables: i64 = db.query_row("SELECT count(*) FROM former.sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(None);
    }
    let later = "SELECT count(DISTINCT txn) FROM former.batches WHERE txn > ?1";
    db.query_row(later, [last_txn], |row| row.get(0)).map(Some)
}

/// Moves the rows of the second file up to `last_txn`, if it has any, and detaches it.
fn convert(db: &mut Connection, last_txn: Option<i64>) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    if let Some(last_txn) = last_txn {
        // A power loss may have taken records that a group had worked on. Their offsets are not given out
        // again, or the group would miss what comes in their place; so below the end offsets may be missing.
        tx.execute_batch(&format!(
            "INSERT INTO partitions SELECT * FROM former.partitions;
             INSERT INTO batches SELECT id, span, records, first_time, last_time, 0, checksum, body
                 FROM former.batches WHERE txn <= {last_txn};
             INSERT INTO positions SELECT * FROM former.positions WHERE true ON CONFLICT (consumers, partition)
                 DO UPDATE SET position = excluded.position, txn = excluded.txn WHERE excluded.txn > txn;
             UPDATE partitions AS p SET compacted = max(compacted,
                 coalesce((SELECT max(position) FROM positions WHERE positions.partition = p.id), 0),
                 coalesce((SELECT b.id + b.span - (p.id << {OFFSET_BITS}) FROM batches AS b
                     WHERE b.id BETWEEN p.id << {OFFSET_BITS} AND ((p.id + 1) << {OFFSET_BITS}) - 1
                     ORDER BY b.id DESC LIMIT 1), 0))
                 WHERE id IN (SELECT id FROM former.partitions);"
        ))?;
    }
    tx.execute_batch(&format!(
        "ALTER TABLE main.positions DROP COLUMN txn;
         DELETE FROM main.settings WHERE name = 'last_txn';
         PRAGMA main.user_version={FORMAT_VERSION};"
    ))?;
    tx.commit()?;
    db.execute_batch("DETACH former")
}
