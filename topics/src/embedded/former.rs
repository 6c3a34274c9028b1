//! Takes over a log of version 1, which kept deliveries and presence in a second file, `unsynced.db`.
//!
//! Two files can't be committed at once, so `unsynced.db` went first. Rows of a commit to both bear the
//! number of its transaction, which `synced.db` notes: rows with a later number are of a commit that never
//! was. Of a position in both files the later one counts.
//!
//! All rows move in one transaction, which also changes the version; the second file goes after it. So after
//! a crash the log is either of version 1 still, or the second file holds nothing that is needed.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, TransactionBehavior, params_from_iter};

use super::failure;
use super::rows;
use super::storage;
use crate::catalogue::{self, Cleanup};
use crate::log::LogError;

/// Setting: the last transaction that touched both files.
const LAST_TXN: &str = "last_txn";

/// Makes a log of version 1 one of this version, and removes what is left of the second file.
///
/// # Errors
/// [`LogError::Unusable`] when a file is damaged, or `synced.db` has lost what was committed to it.
pub(super) fn take_over(dir: &Path, db: &mut Connection) -> Result<(), LogError> {
    let (path, former_path) = (storage::path_of(dir), dir.join("unsynced.db"));
    let fail = |e| failure::of_opening(&path, e);
    if storage::is_former(db).map_err(fail)? {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        if former_path.exists()
            && let Some(former) = storage::open_former(&former_path)?
        {
            let files = Files { path: &path, tx: &tx, former_path: &former_path, former: &former };
            files.refuse_losses()?;
            files.move_rows()?;
        }
        tx.execute_batch("ALTER TABLE positions DROP COLUMN txn").map_err(fail)?;
        tx.execute("DELETE FROM settings WHERE name = ?1", [LAST_TXN]).map_err(fail)?;
        storage::mark_current(&tx).map_err(fail)?;
        tx.commit().map_err(fail)?;
        tracing::info!(dir = %dir.display(), "the log of an earlier version was taken over");
    }
    for name in ["unsynced.db", "unsynced.db-wal", "unsynced.db-shm"] {
        match fs::remove_file(dir.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failure::of_directory(dir, &e)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Both files of a log of version 1.
struct Files<'a> {
    path: &'a Path,
    tx: &'a Transaction<'a>,
    former_path: &'a Path,
    former: &'a Connection,
}

impl Files<'_> {
    fn writing(&self, e: rusqlite::Error) -> LogError {
        failure::of_opening(self.path, e)
    }

    fn reading(&self, e: rusqlite::Error) -> LogError {
        failure::of_opening(self.former_path, e)
    }

    fn last_txn(&self) -> Result<i64, LogError> {
        Ok(storage::setting(self.tx, LAST_TXN).map_err(|e| self.writing(e))?.unwrap_or(0))
    }

    /// A crash leaves rows of one transaction that did not reach `synced.db`. Rows of several show that it
    /// has lost some.
    fn refuse_losses(&self) -> Result<(), LogError> {
        let last_txn = self.last_txn()?;
        let later = "SELECT count(DISTINCT txn) FROM batches WHERE txn > ?1";
        let later: i64 = self.former.query_row(later, [last_txn], |row| row.get(0)).map_err(|e| self.reading(e))?;
        if later <= 1 {
            return Ok(());
        }
        Err(LogError::Unusable {
            path: self.path.display().to_string(),
            reason: format!(
                "it lacks transactions from {} on that unsynced.db was part of: synced.db-wal was damaged or removed. \
                 Restore the data directory from a backup",
                last_txn + 1
            ),
        })
    }

    fn move_rows(&self) -> Result<(), LogError> {
        self.copy(
            "SELECT id, topic, partition, start, last_time, compacted FROM partitions",
            "INSERT INTO partitions VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let committed = format!(
            "SELECT id, span, records, first_time, last_time, 0, checksum, body FROM batches WHERE txn <= {}",
            self.last_txn()?
        );
        self.copy(&committed, "INSERT INTO batches VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        self.copy(
            "SELECT consumers, partition, position, txn FROM positions",
            "INSERT INTO positions VALUES (?1, ?2, ?3, ?4) ON CONFLICT (consumers, partition)
             DO UPDATE SET position = excluded.position, txn = excluded.txn WHERE excluded.txn > txn",
        )?;
        for (id, topic, _) in storage::partitions(self.former).map_err(|e| self.reading(e))? {
            self.keep_end(id, &topic).map_err(|e| self.writing(e))?;
        }
        Ok(())
    }

    fn copy(&self, select: &str, insert: &str) -> Result<(), LogError> {
        let mut select = self.former.prepare(select).map_err(|e| self.reading(e))?;
        let mut insert = self.tx.prepare(insert).map_err(|e| self.writing(e))?;
        let columns = select.column_count();
        let mut rows = select.query([]).map_err(|e| self.reading(e))?;
        while let Some(row) = rows.next().map_err(|e| self.reading(e))? {
            let values: Result<Vec<Value>, _> = (0..columns).map(|column| row.get(column)).collect();
            let values = values.map_err(|e| self.reading(e))?;
            insert.execute(params_from_iter(values)).map_err(|e| self.writing(e))?;
        }
        Ok(())
    }

    /// A power loss may have taken records that a group had worked on. Their offsets are not given out again,
    /// or the group would miss what comes in their place; so below the end offsets may be missing.
    fn keep_end(&self, partition: u32, topic: &str) -> rusqlite::Result<()> {
        let end = rows::stored(self.tx, partition)?.bounds.end;
        let worked_on = "SELECT coalesce(max(position), 0) FROM positions WHERE partition = ?1";
        let worked_on: i64 = self.tx.query_row(worked_on, [partition], |row| row.get(0))?;
        let worked_on = worked_on.cast_unsigned();
        let compacts = catalogue::by_name(topic).is_some_and(|topic| topic.cleanup == Cleanup::Compact);
        if !compacts || worked_on > end {
            storage::set_compacted(self.tx, partition, end.max(worked_on))?;
        }
        Ok(())
    }
}
