//! The tools with input that is wrong, and beside services that are away: one line that names the cause, an exit
//! code that says so, and nothing is made by looking.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rusqlite::Connection;
use tests::server::{Refused, Server, any_port, binary, refusal, tool};
use tests::service::Service;
use tests::stopped::append;
use tokio::process::Command;
use tokio::time::timeout;
use topics::catalogue::UPSTREAM;
use topics::headers::Headers;
use topics::log::Outgoing;

use crate::tools::{lines, ok, with_two_groups};

const WAIT: Duration = Duration::from_secs(60);

/// Runs a command in a directory, with further environment.
async fn run_in(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    command.args(args).current_dir(dir).envs(env.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(WAIT, command.output()).await.expect("it ends in time").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// It failed, and says why on one line that has these words.
fn is_one_line(what: &str, (code, out, err): &(Option<i32>, String, String), words: &[&str]) {
    assert!(code.is_some_and(|code| code != 0), "{what}: {code:?} {out}{err}");
    assert_eq!((out.as_str(), err.trim().lines().count()), ("", 1), "{what}: {out}{err}");
    for word in words {
        assert_eq!(err.matches(word).count(), 1, "{what}: {word:?} stands once in {err}");
    }
}

fn closed_port() -> String {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    nobody.local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_printed_as_text_and_chosen_as_they_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_two_groups(dir.path()).await;
    let all = lines(&ok(dir.path(), &["topics", "tail", "sequenced-messages"]).await);
    let value = |name: &str| &all[1]["value"][name];
    assert!(value("seq_id").is_number() && all[1]["offset"].is_number());
    for name in ["message_id", "sender_id"] {
        let printed = value(name).as_str().unwrap_or_else(|| panic!("{name} is text: {}", all[1]));
        assert!(printed.parse::<i64>().unwrap() > 1 << 53, "one that jq would round: {printed}");
    }
    for (topic, field) in [
        ("sequenced-messages", "message_id"),
        ("persisted-messages", "message_id"),
        ("conversation-heads", "message_id"),
        ("upstream-messages", "conversation_id"),
    ] {
        let condition = format!("{field}={}", value(field).as_str().unwrap());
        let chosen = lines(&ok(dir.path(), &["topics", "tail", topic, "--where", &condition]).await);
        assert!(!chosen.is_empty(), "{topic} --where {condition}");
        assert!(chosen.iter().all(|record| record["value"][field] == *value(field)), "{topic} --where {condition}");
    }
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_nothing_by_mistake_is_refused_with_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    assert!(with_two_groups(dir.path()).await.stop().await.success());
    let data = dir.path().to_str().unwrap();
    let tail = ["topics", "tail", "sequenced-messages", "--data", data];
    for (args, words) in [
        (
            &["--where", "senderid=3"][..],
            &["no field senderid", "did you mean sender_id?", "client_msg_id, content"][..],
        ),
        (&["--where", "seq_id=one"], &["seq_id of sequenced-messages is never \"one\""]),
        (&["--where", "conversation_id=wrld"], &["is never \"wrld\"", "group_{id} or world"]),
        (&["--partition", "99"], &["there is no partition 99"]),
        (&["--partition", "0", "--from", "99999"], &["partition 0", "99999 is not among them"]),
        (&["--from", "99999", "--follow"], &["99999 is not among them"]),
    ] {
        is_one_line(&format!("{args:?}"), &tool(&[&tail[..], args].concat()).await, words);
    }
    for command in ["list", "show", "redrive"] {
        let refused = tool(&["topics", "dead-letters", command, "--offset", "7", "--data", data]).await;
        is_one_line(command, &refused, &["no dead letter is at offset 7"]);
    }
    // What clap refuses has its form: what is wrong, then a tip.
    for (args, words) in [
        (&["topics", "tail", "sequenced-mesages"][..], "'sequenced-messages'"),
        (&["topics", "describe", "dead-leters"], "'dead-letters'"),
        (&["topics", "dead-letters", "list", "--reason", "not-an-objekt"], "'not-an-object'"),
        (&["topics", "tail", "presence", "--limit", "-5"], "'-5'"),
        (&["topics", "tail", "presence", "--partition", "-1"], "'-1'"),
        (&["check", "--every", "0s"], "1s at least"),
        (&["topics", "tial", "presence"], "'tail'"),
        (&["check", "--jsn"], "'--json'"),
    ] {
        let (code, out, err) = tool(args).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains(words), "{args:?}: {err}");
    }
    let empty = ok(dir.path(), &["topics", "tail", "group-tasks"]).await;
    assert_eq!(empty, "", "a topic without records has none to show");
    let list = ok(dir.path(), &["topics", "list"]).await;
    let row = list.lines().find(|row| row.starts_with("upstream-messages")).unwrap();
    assert!(list.contains("LAG OF GROUPS") && row.ends_with("dedupe 0"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_an_installation_is_said_to_be_one_and_left_empty() {
    let dir = tempfile::tempdir().unwrap();
    let redis = [("GOCHAT__REPO__CACHE__KIND", "redis")];
    for (args, words) in [
        (&["check"][..], "no log and no store in ./data: pass --data or --config"),
        (&["rebuild", "store"], "no log and no store in ./data: pass --data or --config"),
        (&["rebuild", "cache"], "no store in ./data: pass --data or --config"),
        (&["topics", "list"], "no log and no store in ./data: pass --data or --config"),
        (&["topics", "tail", "presence"], "no log and no store in ./data: pass --data or --config"),
        (&["topics", "dead-letters", "list"], "no log and no store in ./data: pass --data or --config"),
        (&["topics", "dead-letters", "redrive", "--apply"], "no log and no store in ./data: pass --data or --config"),
        (&["check", "--data", "/nowhere"], "no log and no store in /nowhere: pass --data or --config"),
        (&["check", "--config", "none.toml"], "none.toml"),
    ] {
        is_one_line(&format!("{args:?}"), &run_in(dir.path(), args, &redis).await, &[words]);
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    is_one_line("a file", &run_in(dir.path(), &["check", "--data", "file"], &[]).await, &["./file"]);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["file"], "looking makes nothing");

    assert!(with_two_groups(&dir.path().join("whole")).await.stop().await.success());
    std::fs::rename(dir.path().join("whole/repo.db"), dir.path().join("moved.db")).unwrap();
    let check = run_in(dir.path(), &["check", "--data", "whole"], &[]).await;
    is_one_line("a lost store", &check, &["no store in ./whole: pass --data or --config"]);
    assert!(!dir.path().join("whole/repo.db").exists(), "looking makes no store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_read_is_named_with_the_place_and_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    assert!(with_two_groups(dir.path()).await.stop().await.success());
    let letter = |n: u8| Outgoing {
        topic: &UPSTREAM.spec,
        partition: Some(0),
        key: "k".into(),
        value: vec![n; 64].into(),
        headers: Headers::default(),
    };
    for n in 0..3 {
        append(dir.path(), vec![letter(n)]).await;
    }
    let file = dir.path().join("log/synced.db");
    let damage = |sql: &str| Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    damage("UPDATE batches SET body = zeroblob(length(body)) WHERE instr(hex(body), '01010101010101010101') > 0");
    let (code, _, err) = tool(&["topics", "tail", "upstream-messages", "--partition", "0", "--data", data]).await;
    assert_eq!((code, err.trim().lines().count()), (Some(1), 1), "{err}");
    assert!(err.contains("upstream-messages partition 0 offset") && err.contains("checksum"), "{err}");
    let (code, out, err) = tool(&["check", "--data", data]).await;
    assert!(code == Some(2) && err.contains("the log is damaged at topic upstream-messages"), "{out}{err}");
    assert_eq!(err.matches("checksum").count(), 1, "each cause once: {err}");

    damage("PRAGMA user_version = 99");
    let newer = tool(&["topics", "list", "--data", data]).await;
    is_one_line("another version's log", &newer, &["its format is version 99"]);
    std::fs::write(&file, "something else altogether, and long enough to be looked into by SQLite").unwrap();
    is_one_line("no log", &tool(&["topics", "list", "--data", data]).await, &["synced.db", "not a database"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_is_one_line_with_its_address_and_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    assert!(with_two_groups(&dir.path().join("data")).await.stop().await.success());
    let away = closed_port();
    for command in [&["topics", "list"][..], &["check"], &["rebuild", "store"], &["topics", "dead-letters", "redrive"]]
    {
        let refused = run_in(dir.path(), &[command, &["--brokers", &away]].concat(), &[]).await;
        is_one_line(&format!("{command:?}"), &refused, &["Connection refused", "no Kafka broker answered at"]);
        assert!(refused.2.contains(&away), "{}", refused.2);
    }
    for store in [format!("postgres://gochat:secret@{away}/gochat"), format!("mysql://gochat:secret@{away}/gochat")] {
        for command in [&["check"][..], &["rebuild", "store"]] {
            let refused = run_in(dir.path(), command, &[("GOCHAT__REPO__STORE__URL", &store)]).await;
            is_one_line(&format!("{command:?} {store}"), &refused, &["Connection refused", &away]);
            assert!(!refused.2.contains("secret"), "{}", refused.2);
        }
    }
    let url = format!("redis://{away}");
    let env = [("GOCHAT__REPO__CACHE__KIND", "redis"), ("GOCHAT__REPO__CACHE__REDIS__URL", url.as_str())];
    is_one_line("redis", &run_in(dir.path(), &["rebuild", "cache"], &env).await, &["Connection refused", &away]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_once_before_any_advice_by_tools_and_by_a_start() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Service::start("postgres").await);
    assert!(with_two_groups(dir.path()).await.stop().await.success());
    let wrong = database.url().replace("gochat:gochat@", "gochat:wrong@");
    let cause = "password authentication failed for user \"gochat\"";
    let config = dir.path().join("wrong.toml");
    std::fs::write(&config, format!("[repo.store]\nurl = {wrong:?}\n")).unwrap();
    let args = ["--config", config.to_str().unwrap(), "--data", dir.path().to_str().unwrap()];
    for command in [&["check"][..], &["rebuild", "store"]] {
        let refused = tool(&[command, &args].concat()).await;
        is_one_line(&format!("{command:?}"), &refused, &[cause, "check its address"]);
        assert!(refused.2.find(cause) < refused.2.find("check its address"), "{}", refused.2);
    }
    let launch =
        tests::server::Launch { args: args[..2].iter().map(|&arg| arg.to_owned()).collect(), ..Default::default() };
    let Err(Refused { code, said }) = Server::launch(dir.path(), any_port(), any_port(), &launch).await else {
        panic!("it starts with a wrong password")
    };
    is_one_line("a start", &(code, String::new(), said), &[cause, "check its address"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_tells_its_cause_once() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let Refused { code, said } = refusal(dir.path(), taken.local_addr().unwrap(), any_port()).await;
    is_one_line("a port in use", &(code, String::new(), said), &["Address already in use"]);
    std::fs::write(dir.path().join("signing.key"), "no key").unwrap();
    let Refused { code, said } = refusal(dir.path(), any_port(), any_port()).await;
    is_one_line("no key", &(code, String::new(), said), &["does not hold a signing key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_names_commit_and_features_and_shells_get_completions() {
    let (code, out, err) = tool(&["--version"]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with(&format!("gochat {} (", env!("CARGO_PKG_VERSION"))) && out.contains("features kafka"),
        "{out}"
    );
    let git = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output().await;
    if let Some(head) = git.ok().filter(|git| git.status.success()) {
        let commit = out.split("commit ").nth(1).and_then(|rest| rest.split(',').next()).expect(&out);
        // The binary may be of a commit before this one, where nothing of it has changed since.
        assert!(commit.len() == 12 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{out} {head:?}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, err) = tool(&["completions", shell]).await;
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.contains("gochat") && out.contains("dead-letters"), "{shell}");
    }
    let mut bash = Command::new("bash");
    bash.arg("-c").arg("source <(\"$0\" completions bash) && complete -p gochat").arg(binary());
    assert!(bash.output().await.unwrap().status.success(), "bash takes what is printed");
    let (code, out, err) = tool(&["completions", "tcsh"]).await;
    assert!(code == Some(2) && out.is_empty() && err.contains("bash"), "{err}");
}
