//! The data directory on the disk: who may read it, and how much room is left for it.

use std::fs::{self, DirEntry, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, statvfs};
use rustix::process::{Resource, Signal, getrlimit, umask};
use tokio::signal::unix::{SignalKind, signal};
use topics::backlog::{Backlog, Shortage};

use crate::health::State;

/// Who is not the owner.
const OTHERS: u32 = 0o077;
/// The files and directories of a data directory, by how their names begin.
const OURS: [&str; 5] = ["log", "repo.db", "signing.key", "slot-", "rebuild-store.json"];
const MIB: u64 = 1 << 20;

/// Makes the directory, and whatever this process writes from now on, its user's alone, whatever the umask was. Closes
/// what is there already to others, and says so. A directory that holds other things too stays as open as it is.
pub fn open_data_dir(dir: &Path) -> io::Result<()> {
    umask(Mode::from_raw_mode(OTHERS));
    fs::create_dir_all(dir)?;
    let (ours, foreign): (Vec<_>, Vec<_>) = entries(dir)?.into_iter().partition(is_ours);
    let mut closed = 0;
    for entry in ours {
        let nested = if entry.file_type()?.is_dir() { entries(&entry.path())? } else { Vec::new() };
        for path in nested.iter().chain([&entry]).map(DirEntry::path) {
            closed += usize::from(close(&path)?);
        }
    }
    if foreign.is_empty() {
        closed += usize::from(close(dir)?);
    }
    if closed > 0 {
        tracing::warn!(path = %dir.display(), closed, "others could read the data: it is closed to them now");
    }
    Ok(())
}

fn entries(dir: &Path) -> io::Result<Vec<DirEntry>> {
    fs::read_dir(dir)?.collect()
}

fn is_ours(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    OURS.iter().any(|begin| name.to_string_lossy().starts_with(begin))
}

/// Whether it was open to others. A link is left alone, and so is what belongs to another user: the start fails later
/// if it can't be used.
fn close(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    let mode = metadata.mode();
    if metadata.is_symlink() || mode & OTHERS == 0 {
        return Ok(false);
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others may read this file of another user");
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// Lets a write beyond the limit of a file's size (`ulimit -f`) fail as on a full disk. By default the system ends the
/// process with SIGXFSZ, without a word.
pub fn outlive_file_limit() -> io::Result<()> {
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}

/// What stays free: the smaller of both.
#[derive(Debug, Clone, Copy)]
pub struct Reserve {
    pub mib: u64,
    pub percent: u16,
}

impl Reserve {
    /// Bytes, of so many in all.
    fn of(self, bytes: u64) -> u64 {
        (self.mib * MIB).min(bytes / 100 * u64::from(self.percent))
    }
}

/// The room for the files of this process.
#[derive(Debug, Clone)]
pub struct Room {
    /// Files and directories on the disk.
    places: Vec<PathBuf>,
    reserve: Reserve,
    backlog: Arc<Backlog>,
}

impl Room {
    /// Looks after the disk under these places; where it runs short `backlog` takes no more messages.
    pub fn new(places: Vec<PathBuf>, reserve: Reserve, backlog: Arc<Backlog>) -> Self {
        Self { places, reserve, backlog }
    }

    /// Looks now, and tells the backlog.
    pub fn look(&self) -> State {
        let short = self.places.iter().find_map(|place| self.shortage(place).transpose());
        self.backlog.set_short_of(Shortage::Disk, short.is_some());
        match short {
            None => State::Ready,
            Some(Ok(shortage)) => State::Failed(format!("{shortage}: messages are refused until there is room")),
            Some(Err(error)) => State::Failed(format!("it can't be looked at: {error}")),
        }
    }

    fn shortage(&self, place: &Path) -> io::Result<Option<String>> {
        let disk = statvfs(place)?;
        let (free, all) = (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
        let reserve = self.reserve.of(all);
        if free < reserve {
            let (free, reserve) = (free / MIB, reserve / MIB);
            return Ok(Some(format!(
                "{free} MiB are left on the disk of {}, less than the reserve of {reserve} MiB",
                place.display()
            )));
        }
        let Some(limit) = getrlimit(Resource::Fsize).current else { return Ok(None) };
        for file in files(place)? {
            let size = fs::metadata(&file).map_or(0, |metadata| metadata.len());
            if limit.saturating_sub(size) < self.reserve.of(limit) {
                let file = file.display();
                return Ok(Some(format!(
                    "{file} has {size} of the {limit} bytes that a file may have here (ulimit -f)"
                )));
            }
        }
        Ok(None)
    }
}

/// The file, or those of the directory. One that is gone meanwhile is passed over.
fn files(place: &Path) -> io::Result<Vec<PathBuf>> {
    if fs::metadata(place)?.is_dir() {
        Ok(entries(place)?.iter().map(DirEntry::path).collect())
    } else {
        Ok(vec![place.to_owned()])
    }
}

#[cfg(test)]
mod tests {
    use gateway::GatewayConfig;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_others_could_read_is_closed_to_them_and_nothing_foreign_is_touched() {
        let temp = tempfile::tempdir().unwrap();
        let (new, old) = (temp.path().join("new"), temp.path().join("old"));
        open_data_dir(&new).unwrap();
        assert_eq!(mode(&new), 0o700);

        fs::create_dir_all(old.join("log")).unwrap();
        for (name, was) in
            [("repo.db", 0o644), ("log/records.db", 0o666), ("slot-0.epoch", 0o640), ("notes.txt", 0o644)]
        {
            fs::write(old.join(name), "").unwrap();
            fs::set_permissions(old.join(name), Permissions::from_mode(was)).unwrap();
        }
        fs::set_permissions(old.join("log"), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o755)).unwrap();
        open_data_dir(&old).unwrap();
        let modes =
            ["repo.db", "log/records.db", "slot-0.epoch", "log", "notes.txt", "."].map(|name| mode(&old.join(name)));
        assert_eq!(modes, [0o600, 0o600, 0o600, 0o700, 0o644, 0o755]);

        fs::remove_file(old.join("notes.txt")).unwrap();
        open_data_dir(&old).unwrap();
        assert_eq!(mode(&old), 0o700, "it holds nothing else now");
    }

    #[test]
    fn a_disk_below_its_reserve_takes_no_messages() {
        let temp = tempfile::tempdir().unwrap();
        let backlog = Arc::new(Backlog::new(GatewayConfig::default().backlog()));
        let look = |percent| {
            let reserve = Reserve { mib: 1 << 40, percent };
            Room::new(vec![temp.path().to_owned()], reserve, backlog.clone()).look()
        };
        assert_eq!(look(0), State::Ready);
        assert!(!backlog.is_full());
        let State::Failed(why) = look(100) else { panic!("the disk is not empty") };
        assert!(why.contains("less than the reserve") && backlog.is_full(), "{why}");
        assert_eq!(look(0), State::Ready);
        assert!(!backlog.is_full(), "once there is room they are taken again");
    }
}
