//! `bench connections`: sockets that one gateway holds, and what memory each of them takes.

use std::time::Duration;

use crate::client::{Account, ClientError, Installation, Socket};
use crate::held::{greet, still_served};
use crate::limits::{open_files_max, resident_bytes};
use crate::report::Report;
use futures::{Stream, TryStreamExt};
use outside::server::{Launch, Server, any_port};
use tokio::time::{Instant, sleep};
use topics::clock::Clock;

use super::CommandError;
use crate::args::ConnectionsBenchArgs;
use pipeline::commands::output;

/// Resident memory of the server that a socket may take.
const SOCKET_BYTES_MAX: u64 = 8 * 1_024;
/// Open files of a process beside its sockets.
const OTHER_FILES: u64 = 200;
/// After so many it is said how far things are.
const PROGRESS_EVERY: usize = 2_000;

/// Holds sockets, and prints what they took.
///
/// # Errors
/// When the system allows too few open files, a socket takes too much, or is not served.
pub async fn connections(args: &ConnectionsBenchArgs) -> Result<(), CommandError> {
    let connections = args.connections.next_multiple_of(2);
    check_open_files(u64::from(connections) + OTHER_FILES)?;
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    // Passwords are worth nothing here. It says where it listens in a line of its log.
    let settings = [
        ("GOCHAT__REPO__LIMITS__PASSWORD_MEMORY_KIB", "8"),
        ("GOCHAT__REPO__LIMITS__PASSWORD_PASSES", "1"),
        ("GOCHAT__REPO__LIMITS__ACCESS_TOKEN_SECONDS", "86400"),
        ("GOCHAT__TELEMETRY__FILTER", "info"),
        ("GOCHAT__TELEMETRY__FORMAT", "json"),
    ];
    let started = Server::launch(dir.path(), any_port(), any_port(), &Launch::new(&[], &settings)).await;
    let server = started.map_err(|refused| format!("the server did not start: {}", refused.said))?;
    let process = server.pid().ok_or("the server ended as soon as it was ready")?;
    let installation = Installation::at(&server.url(""))?;
    let run = format!("{:x}", Clock::system().now_ms());
    let names = (0..connections).map(|n| format!("bench-{run}-{n}")).collect();
    let accounts: Vec<Account> = all("users signed up", installation.sign_ups(names)).await?;

    let before = resident_bytes(process)?;
    let started = Instant::now();
    let sockets: Vec<Socket> = all("sockets connected", installation.connects(&accounts)).await?;
    let (connecting, connected) = (started.elapsed(), resident_bytes(process)?);
    output::note("each says something to its neighbour …");
    let mut sockets = greet(accounts.into_iter().zip(sockets).collect(), &run).await?;
    output::note(format_args!("holding them for {} s …", args.hold_seconds));
    sleep(Duration::from_secs(args.hold_seconds)).await;
    let served = still_served(&mut sockets).await?;
    let after = resident_bytes(process)?;
    drop(sockets);
    let ended = server.stop().await;
    if !ended.success() {
        return Err(format!("the server ended with {ended}").into());
    }

    let a_socket = after.saturating_sub(before) / u64::from(connections);
    let mut report = Report::new("bench connections");
    report
        .setting("sockets, each of which has sent and received", connections)
        .setting("still served in the end", served)
        .setting("connected in, s", format!("{:.1}", connecting.as_secs_f64()))
        .setting("held for, s", args.hold_seconds)
        .setting("resident memory of the server before, KiB", before / 1_024)
        .setting("with them, before they said anything, KiB", connected / 1_024)
        .setting("with them in the end, messages and all, KiB", after / 1_024)
        .setting("a socket, bytes", a_socket)
        .setting("at most, bytes", SOCKET_BYTES_MAX);
    output::line(&report)?;
    if a_socket > SOCKET_BYTES_MAX {
        return Err(format!("a socket takes {a_socket} bytes; {SOCKET_BYTES_MAX} are allowed").into());
    }
    Ok(())
}

/// Both this process and the server need one for each socket; the server inherits the limit.
fn check_open_files(needed: u64) -> Result<(), CommandError> {
    match open_files_max()? {
        Some(max) if max < needed => Err(format!(
            "this takes {needed} open files, and {max} are allowed: run `ulimit -n {needed}` first, or use fewer with \
             --connections {}",
            max.saturating_sub(OTHER_FILES)
        )
        .into()),
        Some(_) | None => Ok(()),
    }
}

/// Collects a stream, and tells how far it is.
async fn all<T>(what: &str, stream: impl Stream<Item = Result<T, ClientError>>) -> Result<Vec<T>, ClientError> {
    let mut done = Vec::new();
    let mut stream = std::pin::pin!(stream);
    while let Some(one) = stream.try_next().await? {
        done.push(one);
        if done.len() % PROGRESS_EVERY == 0 {
            output::note(format_args!("{} {what} …", done.len()));
        }
    }
    Ok(done)
}
