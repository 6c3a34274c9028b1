//! What happens to the disk: full for some seconds, files cut short, bytes changed. Each time to a small
//! installation of its own, since it takes a file system of its own, or copies of all data.
//!
//! A damaged file must be refused with an error that names it, or the damage must show where it is read;
//! or nothing of it may matter. What may not be is that something is missing and nobody says so.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use tokio::sync::Mutex;
use topics::clock::Clock;
use topics::embedded::EmbeddedLog;

use super::auditor;
use super::books::Books;
use super::cast::{Cast, Size};
use super::fault::{Kind, StoreKind};
use super::report::Report;
use super::scene::{Play, Scene, read_histories};
use super::stand::Stand;
use super::topics_hold;
use crate::server::{Launch, Starting, any_port};

const SIZE: Size = Size { users: 6, large_group: false };
const RATE: u32 = 200;
/// A disk that a scene like this one does not fill by itself.
const DISK_MIB: u32 = 128;
const FULL_TIME: Duration = Duration::from_secs(5);

/// What was found beside the main scene.
pub struct Aside {
    kind: Kind,
    count: u32,
    books: Books,
    notes: Vec<String>,
}

impl Aside {
    /// Adds it to the report.
    pub fn enter(self, report: &mut Report) {
        let Self { kind, count, books, notes } = self;
        report.injected(kind, count, books.pauses.longest(Some(kind)));
        report.take_findings(&books, &kind.to_string());
        for note in notes {
            if !report.notes.contains(&note) {
                report.notes.push(note);
            }
        }
    }
}

/// The disk under an installation is full for some seconds.
pub async fn disk_full(dir: &Path, number: usize, seed: u64) -> Aside {
    let dir = dir.join(format!("disk-{number}"));
    let disk = Disk::mount(&dir.join("data"));
    let stand = Stand::embedded(&dir, StoreKind::Sqlite, false, &[]).await;
    let mut scene = Scene::begin(stand, Play { size: SIZE, rate: RATE, seed }).await;
    scene.go_on(Duration::from_secs(2)).await;
    scene.shared.books.lock().await.pauses.fault(Kind::DiskFull, Clock::system().now_ms());
    let ballast = disk.fill();
    scene.go_on(FULL_TIME).await;
    fs::remove_file(ballast).expect("the ballast is there");
    scene.recover(Clock::system().now_ms(), "a full disk").await;
    scene.go_on(Duration::from_secs(2)).await;
    let (stand, shared) = scene.end().await;
    let mut books = shared.books.lock().await.clone();
    if books.held_off == 0 {
        books.failures.push("nobody was asked to try again while the disk was full: was it?".into());
    }
    drop(stand);
    Aside { kind: Kind::DiskFull, count: 0, books, notes: Vec::new() }
}

/// A file system of its own, in memory; gone when it is dropped.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).expect("the directory can be made");
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "gochat-faults"]).arg(at).status();
        let mounted = mounted.expect("mount is there").success();
        assert!(mounted, "a small tmpfs can't be mounted at {}: run the harness as root", at.display());
        Self { at: at.to_owned() }
    }

    /// Leaves no byte free.
    fn fill(&self) -> PathBuf {
        let path = self.at.join("ballast");
        let mut file = fs::File::create(&path).expect("there is room for a name");
        let mut piece = vec![0; 1 << 20];
        while !piece.is_empty() {
            match file.write(&piece) {
                Ok(written) if written == piece.len() => {}
                Ok(_) | Err(_) => piece.truncate(piece.len() / 2),
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// When the copy of the data was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// The process was killed: newest data are in write-ahead logs.
    Killed,
    /// It was stopped in good order, and everything is in the databases.
    Stopped,
}

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum How {
    /// It ends at this part of its length.
    Cut(f64),
    /// A byte at this part of its length is changed.
    Flip(f64),
    /// A byte of a message's text is changed.
    FlipText,
    /// It is gone.
    Remove,
}

const CASES: &[(From, &str, How)] = &[
    (From::Stopped, "log/synced.db", How::Cut(0.0)),
    (From::Stopped, "log/synced.db", How::Cut(0.5)),
    (From::Stopped, "log/synced.db", How::Cut(0.98)),
    (From::Stopped, "log/synced.db", How::Flip(0.0)),
    (From::Stopped, "log/synced.db", How::Flip(0.6)),
    (From::Stopped, "log/synced.db", How::FlipText),
    (From::Stopped, "log/synced.db", How::Remove),
    (From::Killed, "log/synced.db-wal", How::Cut(0.5)),
    (From::Killed, "log/synced.db-wal", How::Flip(0.5)),
    (From::Killed, "log/synced.db-wal", How::Remove),
    (From::Stopped, "log/records-written", How::Cut(0.5)),
    (From::Stopped, "log/records-written", How::Remove),
    (From::Stopped, "repo.db", How::Cut(0.5)),
    (From::Stopped, "repo.db", How::Cut(0.98)),
    (From::Stopped, "repo.db", How::Flip(0.0)),
    (From::Stopped, "repo.db", How::FlipText),
    (From::Stopped, "repo.db", How::Remove),
    (From::Killed, "repo.db-wal", How::Cut(0.5)),
    (From::Killed, "repo.db-wal", How::Flip(0.5)),
    (From::Killed, "repo.db-wal", How::Remove),
    (From::Stopped, "signing.key", How::Cut(0.5)),
    (From::Stopped, "slot-0.epoch", How::Cut(0.0)),
];

/// How damage shows.
enum Outcome {
    /// It does not start, and says this.
    Refused(String),
    /// It starts; reading says this.
    Detected(String),
    /// It starts and answers; `gochat check`, which compares the store with the topics, says this.
    Audited(String),
    /// Nothing is missing and nothing has changed.
    Whole,
    /// Something is missing, or differs, and nobody says so.
    Silent(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(said) => write!(f, "refused at start: {said}"),
            Self::Detected(said) => write!(f, "noticed when it is read: {said}"),
            Self::Audited(differs) => write!(f, "noticed by gochat check: {differs}"),
            Self::Whole => f.write_str("nothing is missing"),
            Self::Silent(missing) => write!(f, "NOBODY NOTICES that {missing}"),
        }
    }
}

/// Every kind of damage, each to a copy of the data.
pub async fn files(dir: &Path, number: usize, seed: u64) -> Aside {
    let dir = dir.join(format!("damage-{number}"));
    fs::create_dir_all(&dir).expect("the directory can be made");
    let mut random = StdRng::seed_from_u64(seed);
    let mut scene =
        Scene::begin(Stand::embedded(&dir, StoreKind::Sqlite, false, &[]).await, Play { size: SIZE, rate: RATE, seed })
            .await;
    scene.go_on(Duration::from_secs(5)).await;
    scene.fall_silent().await;
    scene.stand.kill(0).await;
    copy(scene.stand.data(), &dir.join("killed"));
    scene.stand.start(0).await;
    let (stand, shared) = scene.end().await;
    copy(stand.data(), &dir.join("stopped"));
    for file in ["log/synced.db", "repo.db"] {
        settle(&dir.join("stopped").join(file));
    }
    let mut books = shared.books.lock().await.clone();
    let mut notes = Vec::new();
    for &(from, file, how) in CASES {
        let data = dir.join("damaged");
        copy(&dir.join(if from == From::Killed { "killed" } else { "stopped" }), &data);
        damage(&data.join(file), how, &mut random);
        let outcome = judge(&data, &shared.cast, books.of_a_copy()).await;
        let what = format!("{file}, process {from:?}, {how:?}");
        match &outcome {
            Outcome::Silent(missing) => books.failures.push(format!("{what}: nobody notices that {missing}")),
            Outcome::Refused(said) if !said.contains(&data.display().to_string()) => {
                books.failures.push(format!("{what}: the refusal does not name the file: {said}"));
            }
            // Only a byte that changed inside a row of the store, which is a view of the log, may wait for an audit.
            Outcome::Audited(_) if !matches!((file, how), ("repo.db", How::FlipText)) => {
                books.failures.push(format!("{what}: only an audit notices it"));
            }
            Outcome::Refused(_) | Outcome::Detected(_) | Outcome::Audited(_) | Outcome::Whole => {}
        }
        notes.push(format!("{what}: {outcome}").replace(&data.display().to_string(), "DATA"));
        fs::remove_dir_all(&data).expect("the copy is there");
    }
    Aside { kind: Kind::DamagedFiles, count: CASES.len() as u32 - 1, books, notes }
}

async fn judge(data: &Path, cast: &Cast, books: Books) -> Outcome {
    let config = data.with_file_name("gochat.toml");
    let args = vec!["--config".to_owned(), config.display().to_string()];
    let launch = Launch { args, log: Some(data.with_extension("log")), ..Launch::default() };
    let mut server = match Starting::new(data, any_port(), any_port(), &launch).ready().await {
        Ok(server) => server,
        Err(refused) => return Outcome::Refused(refused.said.trim().to_owned()),
    };
    let books = Mutex::new(books);
    let histories = read_histories(server.http, cast, &books).await;
    if server.ended().is_some() {
        return Outcome::Detected("it stops by itself".into());
    }
    server.kill().await;
    let mut books = books.into_inner();
    match histories {
        // What does not exist is missing, like what is not in a history.
        Err(refused) if refused.contains("404") => books.failures.push(refused),
        Err(refused) => return Outcome::Detected(refused),
        Ok(()) => books.judge_acked(),
    }
    let in_store = books.first_finding().map(str::to_owned);
    let read = match EmbeddedLog::open_read_only(data.join("log")) {
        Ok(log) => topics_hold::read_log(log.as_ref(), false, &mut books).await,
        Err(e) => Err(e),
    };
    let missing = match (in_store, read) {
        (None, Err(e)) => return Outcome::Detected(e.to_string()),
        (Some(missing), _) => missing,
        (None, Ok(())) => match books.first_finding() {
            Some(missing) => missing.to_owned(),
            None => return Outcome::Whole,
        },
    };
    match auditor::check(data, &config).await {
        Ok(()) => Outcome::Silent(missing),
        Err(said) => Outcome::Audited(said),
    }
}

fn damage(file: &Path, how: How, random: &mut StdRng) {
    let mut bytes = fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let at = |part: f64| ((bytes.len() as f64 * part) as usize).min(bytes.len() - 1);
    match how {
        How::Cut(part) => bytes.truncate(at(part)),
        How::Flip(part) => {
            let at = at(part);
            bytes[at] ^= 1 << random.random_range(0..8);
        }
        How::FlipText => {
            const TEXT: &[u8] = b"to be found as it was said";
            let places: Vec<_> = bytes.windows(TEXT.len()).enumerate().filter(|(_, w)| *w == TEXT).collect();
            let (at, _) = places[random.random_range(0..places.len())];
            bytes[at] ^= 1;
        }
        How::Remove => {
            fs::remove_file(file).expect("it is there");
            return;
        }
    }
    fs::write(file, bytes).expect("it can be written");
}

/// Moves what a write-ahead log holds into its database.
fn settle(file: &Path) {
    let settled = Connection::open(file).and_then(|db| {
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))?;
        db.close().map_err(|(_, e)| e)
    });
    settled.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").args(["-r", "--sparse=always"]).arg(from).arg(to).status().expect("cp is there");
    assert!(copied.success(), "{} can be copied", from.display());
}
