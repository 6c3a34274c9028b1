//! Settings of a real process: what is refused and how, the window that clients are told, where things are
//! kept and found.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::json;
use tests::api::Api;
use tests::client::{connect, receive, receive_type, send};
use tests::server::{Launch, Refused, Server, Starting, any_port, binary, tool};
use tokio::process::Command;
use tokio::time::timeout;

/// The longest wait for what must happen.
const WAIT_MAX: Duration = Duration::from_secs(60);

fn windowed(seconds: u64) -> Launch {
    Launch::new(&[], &[("GOCHAT__STAGES__DEDUPE_WINDOW_SECONDS", &seconds.to_string())])
}

async fn launch(data: &Path, launch: &Launch) -> Result<Server, Refused> {
    Server::launch(data, any_port(), any_port(), launch).await
}

/// What a run of `gochat` that must be refused says, in one line.
async fn refused(launch: &Launch) -> String {
    let data = tempfile::tempdir().unwrap();
    let Refused { code, said } = Starting::new(data.path(), any_port(), any_port(), launch).ended().await;
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "one clear line: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_auditor_hear_of_the_window_that_dedupe_keeps() {
    let data = tempfile::tempdir().unwrap();
    let server = launch(data.path(), &windowed(1)).await.unwrap();
    let api = Api::new(server.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    let mut socket = connect(server.http, &ann.token).await.unwrap();
    let hello = receive_type(&mut socket, "hello").await.unwrap();
    assert_eq!(hello["resendWindowSeconds"], 1, "{hello}");
    let message = json!({"type": "send-message", "data": {"clientMsgId": "again",
        "conversationId": ann.pair_with(&bob), "messageType": "text", "content": "again"}});
    // Within the window each copy is the one message; once it has passed, one is a message of its own.
    let second = async {
        loop {
            send(&mut socket, &message).await.unwrap();
            while let Ok(Ok(frame)) = timeout(Duration::from_millis(200), receive(&mut socket)).await {
                if frame["type"] == "message-stored" && frame["data"]["seqId"] == 2 {
                    return;
                }
            }
        }
    };
    // Sent without a pause the first is refreshed by nothing: the window is counted from what was taken.
    timeout(WAIT_MAX, second).await.expect("the window ends");
    assert!(server.stop().await.success());
    // The tool's own configuration says 600 s.
    let (code, out, err) = tool(&["check", "--data", data.path().to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_made_for_another_window_is_refused() {
    let data = tempfile::tempdir().unwrap();
    assert!(launch(data.path(), &windowed(2)).await.unwrap().stop().await.success());
    let Err(Refused { code, said }) = launch(data.path(), &Launch::default()).await else { panic!("it starts") };
    assert_eq!(code, Some(1), "{said}");
    for words in ["stages.dedupe_window_seconds", "2 s", "600 s"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(launch(data.path(), &windowed(2)).await.unwrap().stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_no_setting_or_has_no_fit_value_is_named() {
    for (name, value, words) in [
        ("GOCHAT_DATA_DIR", "x", "GOCHAT__DATA_DIR"),
        ("GOCHAT__GATEWAY__LIMITS__HEARTBEAT_S", "18446744073709551615", "gateway.limits.heartbeat_s"),
        ("GOCHAT__GATEWAY__LIMITS__HEADS_EVERY_S", "0", "gateway.limits.heads_every_s"),
        ("GOCHAT__STAGES__TASKS_PER_STAGE", "1.5", "stages.tasks_per_stage"),
    ] {
        let said = refused(&Launch::new(&[], &[(name, value)])).await;
        assert!(said.contains(name) && said.contains(words), "{said}");
    }
    let said = refused(&Launch::new(&["--slot", "99"], &[])).await;
    assert!(said.contains("--slot") && said.contains("gateway.slot"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_named_and_one_that_does_not_resolve_is_told() {
    let data = tempfile::tempdir().unwrap();
    let named = Launch::new(&["--metrics", "localhost:0"], &[("GOCHAT__REPO__LISTEN", "localhost:0")]);
    let server = launch(data.path(), &named).await.unwrap();
    assert!(server.stop().await.success());
    let nowhere = "no-such-host.invalid:9465";
    let said = refused(&Launch::new(&["--metrics", nowhere], &[])).await;
    assert!(said.contains(nowhere) && said.contains("does not resolve"), "{said}");
    // Where another process's repo is.
    let said = refused(&Launch::new(&["--roles", "gateway"], &[("GOCHAT__REPO__ADDRESS", nowhere)])).await;
    assert!(said.contains(nowhere) && said.contains("repo.address"), "{said}");
}

async fn run_in(dir: &Path, args: &[&str]) -> Output {
    let command = Command::new(binary()).current_dir(dir).args(args).kill_on_drop(true).output();
    timeout(WAIT_MAX, command).await.expect("it ends in time").unwrap()
}

/// Directories that SQLite would take for URIs, or for no file.
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_kept_in_the_directory_that_was_named() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["file:rel?mode=memory", "file:a#b%41 c", ":memory:"] {
        let launch = Launch::default();
        let data = Path::new(name);
        let server = Starting::in_dir(dir.path(), data, any_port(), any_port(), &launch).ready().await.unwrap();
        let api = Api::new(server.http);
        let ann = api.register("ann").await;
        api.group(&ann, "group", &[]).await;
        assert!(server.stop().await.success());
        let kept = dir.path().join(name);
        for file in ["repo.db", "log/synced.db", "signing.key"] {
            assert!(kept.join(file).is_file(), "{name}: {file}");
        }
        let checked = run_in(dir.path(), &["check", "--data", name]).await;
        assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "and nowhere else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_a_variable_is_read_as_what_it_lists() {
    let data = tempfile::tempdir().unwrap();
    let writers = |ids| Launch::new(&[], &[("GOCHAT__GATEWAY__LIMITS__WORLD_WRITERS", ids)]);
    assert!(launch(data.path(), &writers("12, 34")).await.unwrap().stop().await.success());
    let said = refused(&writers("ann")).await;
    assert!(said.contains("\"ann\" is not a valid id") && said.contains("WORLD_WRITERS"), "{said}");
}
