//! Who serves a gateway slot: the process with its newest epoch.
//!
//! Epochs are kept beside the data and published on the presence topic. So a process on another machine whose clock is
//! behind gets a newer epoch too, and the process that it replaces sees it.

use std::io;
use std::path::{Path, PathBuf};

use gateway::{PresenceChange, SlotLease};
use stages::presence::SharedPresence;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use topics::clock::Clock;

/// Coordination by the local disk.
#[derive(Debug)]
pub struct Local {
    dir: PathBuf,
}

/// A lease could not be taken.
#[derive(Debug, thiserror::Error)]
#[error(
    "the lease file {path} can't be used: {source}. Check that it belongs to this user, and that the disk has room"
)]
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

    /// A new epoch of a gateway slot: above every earlier one of this directory and above `newest`, even when the clock
    /// went back.
    pub fn lease_slot(&self, slot: u32, newest: Option<i64>, clock: &Clock) -> Result<i64, LeaseError> {
        let path = self.dir.join(format!("slot-{slot}.epoch"));
        let lease = || {
            // Processes on Kafka share the directory: the lock gives two that start at once different epochs.
            let dir = std::fs::File::open(&self.dir)?;
            dir.lock()?;
            let former = match std::fs::read_to_string(&path) {
                Ok(text) => text.trim().parse().map_err(io::Error::other)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
                Err(e) => return Err(e),
            };
            let epoch = clock.now_ms().max(former.max(newest.unwrap_or(0)).saturating_add(1));
            replace(&path, &format!("{epoch}\n"))?;
            Ok(epoch)
        };
        lease().map_err(|source| LeaseError { path: path.clone(), source })
    }
}

/// Cancels the lease once the presence topic has a newer epoch of its slot; never returns.
pub async fn watch_slot(
    lease: SlotLease,
    presence: SharedPresence,
    mut changes: Receiver<PresenceChange>,
) -> std::convert::Infallible {
    let newest = || stages::presence::read(&presence).newest_epoch(lease.slot);
    while newest().is_none_or(|newest| newest <= lease.epoch) {
        match changes.recv().await {
            Ok(PresenceChange::User(_) | PresenceChange::Slots) | Err(RecvError::Lagged(_)) => {}
            // The follower of the topic has ended, and with it the process.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
    lease.lost.cancel();
    std::future::pending().await
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
    use std::time::Duration;

    use schemas::avro::PresenceEvent;
    use schemas::records::Heartbeat;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn an_epoch_rises_even_when_the_clock_steps_back() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::new(dir.path());
        let clock = Clock::manual(1_000_000);
        let first = local.lease_slot(3, None, &clock).unwrap();
        clock.advance_ms(-500_000);
        let second = Local::new(dir.path()).lease_slot(3, None, &clock).unwrap();
        assert!(second > first, "{second} after {first}");
        assert_eq!(local.lease_slot(4, None, &clock).unwrap(), 500_000);
    }

    #[test]
    fn an_epoch_is_above_that_of_a_machine_whose_clock_is_ahead() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Local::new(dir.path()).lease_slot(0, Some(9_000_000), &Clock::manual(5)).unwrap(), 9_000_001);
    }

    #[test]
    fn of_many_that_lease_a_slot_at_once_each_gets_an_epoch_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let lease = || Local::new(dir.path()).lease_slot(0, None, &Clock::manual(1_000)).unwrap();
        let epochs: std::collections::BTreeSet<i64> = std::thread::scope(|scope| {
            let leases: Vec<_> = (0..8).map(|_| scope.spawn(lease)).collect();
            leases.into_iter().map(|lease| lease.join().unwrap()).collect()
        });
        assert_eq!(epochs.len(), 8);
    }

    #[tokio::test]
    async fn a_newer_epoch_of_the_slot_takes_the_lease_and_nothing_else_does() {
        let (presence, lost) = (SharedPresence::default(), CancellationToken::new());
        let (changes, heard) = tokio::sync::broadcast::channel(1);
        let lease = SlotLease { slot: 3, epoch: 7, lost: lost.clone() };
        let watching = tokio::spawn(watch_slot(lease, presence.clone(), heard));
        let beat = |slot, epoch| {
            presence.write().unwrap().apply(&PresenceEvent::Slot(Heartbeat { slot, epoch, at: 0 }), 0);
            changes.send(PresenceChange::Slots).unwrap();
        };
        for (slot, epoch) in [(3, 7), (3, 6), (4, 99)] {
            beat(slot, epoch);
            tokio::task::yield_now().await;
        }
        assert!(!lost.is_cancelled());
        beat(3, 8);
        tokio::time::timeout(Duration::from_secs(10), lost.cancelled()).await.expect("the lease is lost");
        watching.abort();
    }

    #[test]
    fn a_damaged_lease_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("slot-0.epoch"), "x").unwrap();
        let error = Local::new(dir.path()).lease_slot(0, None, &Clock::manual(5)).unwrap_err();
        assert!(error.to_string().contains("slot-0.epoch"), "{error}");
    }
}
