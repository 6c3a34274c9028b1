//! Notices that the database has lost records.
//!
//! SQLite opens a database whose write-ahead log was removed or damaged without a word, as it was before.
//! A file beside it counts the records that were ever written. The writer raises the count after each
//! commit, without an fsync: a power loss may leave it too low, never too high.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;

use super::failure;
use super::rows;
use super::storage;
use crate::log::LogError;

pub(super) struct Witness {
    file: File,
    records: u64,
}

impl Witness {
    /// Asks how many records there were; without an answer, as many as there are.
    ///
    /// # Errors
    /// [`LogError::Unusable`] when there were more.
    pub fn ask(dir: &Path, db: &Connection) -> Result<Self, LogError> {
        let open =
            File::options().create(true).truncate(false).read(true).write(true).open(dir.join("records-written"));
        let file = open.map_err(|e| failure::of_directory(dir, &e))?;
        let records = ever_written(db).map_err(|e| failure::of_reading("counting records", e))?;
        let mut count = [0; 8];
        let written = file.read_exact_at(&mut count, 0).map_or(0, |()| u64::from_le_bytes(count));
        if written > records {
            return Err(LogError::Unusable {
                path: storage::path_of(dir).display().to_string(),
                reason: format!(
                    "it has {records} of {written} records: it, or synced.db-wal, was damaged or removed. \
                     Restore the data directory from a backup"
                ),
            });
        }
        let mut witness = Self { file, records };
        witness.saw(0);
        Ok(witness)
    }

    /// So many more records are committed.
    pub fn saw(&mut self, records: u64) {
        self.records += records;
        if let Err(e) = self.file.write_all_at(&self.records.to_le_bytes(), 0) {
            tracing::debug!(error = %e, "how many records were written could not be noted");
        }
    }
}

/// Of topics that the catalogue no longer has too: the count never falls.
fn ever_written(db: &Connection) -> rusqlite::Result<u64> {
    storage::partitions(db)?.iter().map(|(id, ..)| Ok(rows::stored(db, *id)?.bounds.end)).sum()
}
