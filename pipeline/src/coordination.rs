//! Who is who, on one machine: epochs of gateway slots and ids of instances, kept beside the data.
//!
//! The data directory is locked by the log, so one process at a time is here, and what it leases is
//! its own until it ends.

use std::io;
use std::path::{Path, PathBuf};

use topics::clock::Clock;

/// Coordination by the local disk.
#[derive(Debug)]
pub struct Local {
    dir: PathBuf,
}

/// A lease that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("the lease file {path} can't be used: {source}. Check that it belongs to this user, and that the disk has room")]
pub struct LeaseError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Local {
    /// Keeps leases in this directory, which exists.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// A new epoch of a gateway slot: above every former one, whatever the clock did.
    ///
    /// # Errors
    /// When the lease file can't be read or written.
    pub fn lease_slot(&self, slot: u32, clock: &Clock) -> Result<i64, LeaseError> {
        let path = self.dir.join(format!("slot-{slot}.epoch"));
        let lease = || {
            let former = match std::fs::read_to_string(&path) {
                Ok(text) => text.trim().parse().map_err(io::Error::other)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
                Err(e) => return Err(e),
            };
            let epoch = clock.now_ms().max(former + 1);
            replace(&path, &format!("{epoch}\n"))?;
            Ok(epoch)
        };
        lease().map_err(|source| LeaseError { path: path.clone(), source })
    }
}

/// Writes a small file so that a crash leaves the old or the new one, whole.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)?;
    std::fs::File::open(&beside)?.sync_all()?;
    std::fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_rises_even_when_the_clock_steps_back() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::new(dir.path());
        let clock = Clock::manual(1_000_000);
        let first = local.lease_slot(3, &clock).unwrap();
        clock.advance_ms(-500_000);
        let second = Local::new(dir.path()).lease_slot(3, &clock).unwrap();
        assert!(second > first, "{second} after {first}");
        assert_eq!(local.lease_slot(4, &clock).unwrap(), 500_000);
    }

    #[test]
    fn a_damaged_lease_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("slot-0.epoch"), "x").unwrap();
        let error = Local::new(dir.path()).lease_slot(0, &Clock::manual(5)).unwrap_err();
        assert!(error.to_string().contains("slot-0.epoch"), "{error}");
    }
}
