//! What one hostile client costs all others: they talk from one address, it attacks from another, and what they and
//! the server notice is compared with the time before.

mod attacks;
mod others;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use outside::api::Api;
use outside::server::{Launch, Server, any_port};

use self::attacks::Target;
use self::others::{Figures, Others};
use crate::broker;
use crate::faults::fault::LogKind;
use crate::installation::{Installation, Settings};

/// What others' median may rise to: twice that of before, and some for the attacker's own work on this machine.
const MEDIAN_TIMES_MAX: u32 = 2;
const MEDIAN_SLACK: Duration = Duration::from_millis(30);
/// The same where others wait for what was said before them: a part of what waits before shares are given.
const MEDIAN_SLACK_OF_A_BURST: Duration = Duration::from_millis(500);
/// The slowest of a hundred, whatever it was before.
const P99_MAX: Duration = Duration::from_secs(2);
/// Lines that the server may log of it.
const LOG_LINES_MAX: usize = 100;

/// What the hostile client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Connections that never finish: silence, half a head, half a body, unfinished upgrades.
    Connections,
    /// Many sockets follow the same users, again and again.
    Followers,
    /// Many sockets ask for the presence of 500 users.
    Presence,
    /// Sockets that sync long histories and read nothing.
    Sync,
    /// Frames with an id of 61,000 characters.
    Ids,
    /// Many register at once.
    Registrations,
    /// One account floods the world with long messages.
    Flood,
    /// Many accounts say as much as they may, each in a conversation of its own.
    Burst,
    /// Pings and pongs as fast as they go.
    Pings,
    /// Pages and health as fast as they go.
    Pages,
    /// Logins of many names that fail.
    Logins,
}

/// How large an attack is: as many as a test has time for, or as many as it once took to bring the service down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Bounded,
    Full,
}

impl Size {
    /// How long others are measured before the attack, and while it lasts.
    fn times(self) -> (Duration, Duration) {
        let (before, during) = match self {
            Self::Bounded => (3, 6),
            Self::Full => (5, 12),
        };
        (Duration::from_secs(before), Duration::from_secs(during))
    }
}

/// What an attack may cost, and how much there is of it.
struct Row {
    /// Sockets, connections or callers at once.
    bounded: usize,
    full: usize,
    /// MiB that the server may grow by.
    memory_mib_max: u64,
}

impl Attack {
    fn row(self) -> Row {
        let (bounded, full, memory_mib_max) = match self {
            Self::Connections => (600, 2_100, 64),
            Self::Followers => (240, 960, 96),
            Self::Presence => (240, 1_500, 160),
            Self::Sync => (32, 96, 96),
            Self::Ids => (4, 16, 64),
            Self::Registrations => (30, 70, 64),
            Self::Flood => (1, 4, 160),
            Self::Burst => (20, 60, 256),
            Self::Pings => (4, 16, 64),
            Self::Pages => (8, 64, 64),
            Self::Logins => (8, 64, 64),
        };
        Row { bounded, full, memory_mib_max }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Plays an attack on an installation of its own; a row of the table, and what went beyond its bound.
pub async fn play(attack: Attack, size: Size, log: LogKind) -> (String, Vec<String>) {
    let row = attack.row();
    let count = match size {
        Size::Bounded => row.bounded,
        Size::Full => row.full,
    };
    let dir = tempfile::tempdir().expect("a directory");
    let log_file = dir.path().join("server.log");
    let (server, _installation) = start(log, dir.path(), &log_file).await;
    let api = Api::new(server.http);
    let mut others = Others::at(&server, &api).await;
    let target = Target::prepare(&server, &api, attack, count).await;
    let pid = server.pid().expect("it runs");
    let (time_before, time_during) = size.times();
    let before = others.measure(time_before).await;
    let (rss, lines) = (rss_mib(pid), lines_of(&log_file));
    let attacking = tokio::spawn(target.attack(attack));
    let during = others.measure(time_during).await;
    attacking.abort();
    let grown = peak_mib(pid).saturating_sub(rss);
    let logged = lines_of(&log_file).saturating_sub(lines);

    let slack = if attack == Attack::Burst { MEDIAN_SLACK_OF_A_BURST } else { MEDIAN_SLACK };
    let mut broken = during.beyond(&before, slack);
    if grown > row.memory_mib_max {
        broken.push(format!("the server grew by {grown} MiB, more than {}", row.memory_mib_max));
    }
    if logged > LOG_LINES_MAX {
        broken.push(format!("it logged {logged} lines, more than {LOG_LINES_MAX}"));
    }
    let mut shown = String::new();
    let _ = write!(shown, "| {} | {count} | {before} | {during} | {grown} | {logged} |", attack.name());
    server.stop().await;
    (shown, broken.into_iter().map(|what| format!("{}: {what}", attack.name())).collect())
}

/// The head of the table of [`play`]'s rows.
pub const HEAD: &str = "\
| attack | at once | REST p50/p99 before, ms | stored | sign-in p99 | refused | REST during | stored | sign-in p99 | refused | MiB more | lines logged |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

async fn start(log: LogKind, dir: &Path, log_file: &Path) -> (Server, Option<Installation>) {
    // The defaults, where other tests raise them.
    let env = [
        ("GOCHAT__GATEWAY__LIMITS__CONNECTIONS_A_SECOND_AN_ADDRESS", "500"),
        ("GOCHAT__GATEWAY__LIMITS__REQUESTS_A_SECOND_AN_ADDRESS", "5000"),
        ("GOCHAT__GATEWAY__LIMITS__SIGN_INS_A_SECOND_AN_ADDRESS", "200"),
        ("GOCHAT__GATEWAY__LIMITS__LATE_MESSAGES_A_SECOND_A_USER", "20"),
    ];
    let launch = Launch { log: Some(log_file.to_owned()), ..Launch::new(&[], &env) };
    match log {
        LogKind::Embedded => {
            let server = Server::launch(&dir.join("data"), any_port(), any_port(), &launch).await;
            (server.expect("it starts"), None)
        }
        LogKind::Kafka => {
            let installation = Installation::new(Settings::on(broker::shared()));
            let whole = crate::installation::EVERYTHING;
            let server = installation.start_as(whole, any_port(), launch).await;
            (server, Some(installation))
        }
    }
}

fn lines_of(log: &Path) -> usize {
    std::fs::read_to_string(log).map_or(0, |text| text.lines().count())
}

fn rss_mib(pid: u32) -> u64 {
    crate::faults::usage::kib(pid, "VmRSS:").unwrap_or(0) / 1_024
}

fn peak_mib(pid: u32) -> u64 {
    crate::faults::usage::kib(pid, "VmHWM:").unwrap_or(0) / 1_024
}

impl Figures {
    /// What is worse than it may be.
    fn beyond(&self, before: &Self, slack: Duration) -> Vec<String> {
        let mut broken = Vec::new();
        for (what, now, then) in [("REST", &self.rest, &before.rest), ("stored", &self.stored, &before.stored)] {
            let (max, median) = (then.median() * MEDIAN_TIMES_MAX + slack, now.median());
            if median > max {
                broken.push(format!("half of {what} took {median:?} and longer, more than {max:?}"));
            }
            if now.p99() > P99_MAX {
                broken.push(format!("one of a hundred of {what} took {:?}, more than {P99_MAX:?}", now.p99()));
            }
        }
        if self.refused > 0 {
            broken.push(format!("{} calls of others were refused or had no answer", self.refused));
        }
        broken
    }
}
