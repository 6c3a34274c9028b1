//! The tools over a real installation, beside the running process and without it: looking at topics,
//! dead letters and putting them back under kill -9, the check, and rebuilding the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::{MessageId, Seq};
use schemas::records::Sequenced;
use serde_json::Value;
use tests::api::Api;
use tests::server::{Refused, Server, any_port, binary, refusal, tool};
use tests::stopped::append;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::Instant;
use topics::catalogue::{Keyed, SEQUENCED, UPSTREAM};
use topics::codec::Encoder;
use topics::headers::Headers;
use topics::log::Outgoing;

/// More than three commits of a redrive.
const LETTERS: usize = 1_600;
const KILLS: usize = 6;
const SEED: u64 = 4;
const WAIT: Duration = Duration::from_secs(60);

/// Runs a tool that must succeed; what it wrote.
pub async fn ok(data: &Path, args: &[&str]) -> String {
    let (code, out, err) = tool(&[args, &["--data", data.to_str().unwrap()]].concat()).await;
    assert_eq!(code, Some(0), "{args:?}: {out}{err}");
    out
}

/// `gochat check`, beside the running processes, finds that every guarantee holds, and looked at each.
pub async fn holds(installation: &[&str]) {
    let (code, out, err) = tool(&[&["check"], installation].concat()).await;
    println!("{out}");
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(!out.contains("not looked at"), "{out}");
}

pub fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// An installation with two groups, whose first messages have gone through the chain.
pub async fn with_two_groups(data: &Path) -> Server {
    let server = Server::start(data).await;
    let api = Api::new(server.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    for name in ["first", "second"] {
        let conversation = api.group(&ann, name, std::slice::from_ref(&bob.user_id)).await;
        let deadline = Instant::now() + WAIT;
        while api.history(&bob, &conversation).await.is_empty() {
            assert!(Instant::now() < deadline, "the group's own message is stored");
        }
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_looked_at_beside_the_running_process_and_the_check_holds() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let server = with_two_groups(data).await;
    let list: Value = serde_json::from_str(&ok(data, &["topics", "list", "--json"]).await).unwrap();
    let sequenced = list.as_array().unwrap().iter().find(|topic| topic["topic"] == "sequenced-messages").unwrap();
    assert_eq!((&sequenced["offsets"], &sequenced["groups"][0]["group"]), (&2.into(), &"persist".into()));

    let all = lines(&ok(data, &["topics", "tail", "sequenced-messages"]).await);
    assert_eq!(all.len(), 2, "{all:?}");
    let conversation = all[1]["value"]["conversation_id"].as_str().unwrap();
    let chosen = format!("conversation_id={conversation}");
    // What is stored is passed on a moment later.
    let deadline = Instant::now() + WAIT;
    let one = loop {
        let one = lines(&ok(data, &["topics", "tail", "persisted-messages", "--where", &chosen]).await);
        if !one.is_empty() || Instant::now() > deadline {
            break one;
        }
    };
    assert_eq!((one.len(), &one[0]["value"]), (1, &all[1]["value"]));
    assert_eq!(lines(&ok(data, &["topics", "tail", "sequenced-messages", "--key", conversation]).await).len(), 1);
    assert_eq!(ok(data, &["topics", "tail", "sequenced-messages", "--from", "latest"]).await, "");
    let described = ok(data, &["topics", "describe", "sequenced-messages"]).await;
    assert!(described.contains("persist") && described.contains("Sequenced"), "{described}");

    let found: Value = serde_json::from_str(&ok(data, &["check", "--json"]).await).unwrap();
    let gapless = found["invariants"].as_array().unwrap().iter().find(|one| one["invariant"] == "GAPLESS").unwrap();
    assert!(gapless["looked_at"].as_u64().unwrap() >= 4, "both records and both rows: {gapless}");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_or_cannot_be_looked_at_has_an_exit_code_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    assert!(with_two_groups(data).await.stop().await.success());
    let tail = lines(&ok(data, &["topics", "tail", "sequenced-messages", "--limit", "1"]).await);
    let field = |name: &str| tail[0]["value"][name].clone();
    let forged = Sequenced {
        message_id: MessageId(field("message_id").as_str().unwrap().parse::<i64>().unwrap() + 1),
        seq_id: Seq(9),
        ordinal: 0,
        created_at: 0,
        conversation_id: field("conversation_id").as_str().unwrap().parse().unwrap(),
        sender_id: schemas::ids::UserId(1),
        client_msg_id: "forged".into(),
        kind: schemas::kind::Kind::Text,
        content: "".into(),
        target_seq: None,
        remove: false,
    };
    let mut encoder = Encoder::default();
    encoder.put(&SEQUENCED, &forged.key(), &forged, Headers::default()).unwrap();
    append(data, encoder.finish()).await;
    let data = data.to_str().unwrap();
    let (code, out, err) = tool(&["check", "--data", data]).await;
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("GAPLESS is broken, first at sequenced-messages partition"), "{out}");
    assert!(out.contains("has seq 9 next to 1"), "{out}");

    let (code, out, err) = tool(&["check", "--data", "/nowhere"]).await;
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("/nowhere") && err.trim().lines().count() == 1, "one clear line: {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_for_ever_tells_prometheus_what_it_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let server = with_two_groups(data).await;
    let mut checking = Command::new(binary())
        .args(["check", "--follow", "--every", "1s", "--metrics", "127.0.0.1:0", "--data", data.to_str().unwrap()])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut told = BufReader::new(checking.stderr.take().unwrap()).lines();
    let line = tokio::time::timeout(WAIT, told.next_line()).await.unwrap().unwrap().unwrap();
    let url = line.strip_prefix("metrics at ").unwrap_or_else(|| panic!("{line}"));
    let deadline = Instant::now() + WAIT;
    let metrics = loop {
        let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
        let looks = metrics.lines().find_map(|line| line.strip_prefix("gochat_audit_looks_total "));
        if looks.is_some_and(|looks| looks.parse::<u64>().unwrap() >= 2) {
            break metrics;
        }
        assert!(Instant::now() < deadline, "{metrics}");
    };
    for line in
        ["gochat_audit_looked_at_total{invariant=\"GAPLESS\"} ", "gochat_audit_violations_total{invariant=\"ACKED\"} 0"]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let pid = checking.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let ended = tokio::time::timeout(WAIT, checking.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0), "Ctrl-C ends it, and nothing was broken");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_put_back_once_each_however_often_the_tool_is_killed() {
    println!("seed {SEED}");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    assert!(Server::start(data).await.stop().await.success());
    let garbage = |n: usize| Outgoing {
        topic: &UPSTREAM.spec,
        partition: None,
        key: n.to_string().into(),
        value: format!("garbage {n}").into(),
        headers: Headers::default(),
    };
    append(data, (0..LETTERS).map(garbage).collect()).await;

    let server = Server::start(data).await;
    let deadline = Instant::now() + WAIT;
    loop {
        let list: Value = serde_json::from_str(&ok(data, &["topics", "dead-letters", "list", "--json"]).await).unwrap();
        if list["letters"] == LETTERS {
            let group = &list["groups"][0];
            assert_eq!((&group["source"], &group["reason"]), (&"upstream-messages".into(), &"not-an-object".into()));
            break;
        }
        assert!(Instant::now() < deadline, "{list}");
    }
    let shown = ok(data, &["topics", "dead-letters", "show", "0"]).await;
    assert!(shown.contains("67 61 72 62 61 67 65") && shown.contains("garbage"), "{shown}");
    let redrive = ["topics", "dead-letters", "redrive", "--reason", "not-an-object", "--data", data.to_str().unwrap()];
    let (code, _, err) = tool(&[&redrive[..], &["--apply"]].concat()).await;
    assert_eq!(code, Some(1), "the process has the log: {err}");
    assert!(err.contains("in use by another process"), "{err}");
    assert!(server.stop().await.success());
    let (code, plan, _) = tool(&redrive).await;
    assert!(code == Some(0) && plan.contains("1600 would be put back"), "{plan}");

    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..KILLS {
        let mut child = Command::new(binary()).args(redrive).arg("--apply").kill_on_drop(true).spawn().unwrap();
        // Whichever comes first: it ends by itself, or it is killed at a random moment.
        let moment = Duration::from_micros(random.random_range(0..150_000));
        if tokio::time::timeout(moment, child.wait()).await.is_err() {
            child.kill().await.unwrap();
        }
    }
    let (code, done, err) = tool(&[&redrive[..], &["--apply"]].concat()).await;
    assert_eq!(code, Some(0), "{done}{err}");
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for record in lines(&ok(data, &["topics", "tail", "upstream-messages"]).await) {
        if let Some(from) = record["headers"]["redriven-from"].as_str() {
            *times.entry(from.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(times.len(), LETTERS);
    assert!(times.values().all(|&times| times == 1), "one was put back twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_lost_is_rebuilt_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    assert!(with_two_groups(data).await.stop().await.success());
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::remove_file(data.join(format!("repo.db{suffix}"))) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("{e}"),
            Ok(()) | Err(_) => {}
        }
    }
    let Refused { code, said } = refusal(data, any_port(), any_port()).await;
    let store = data.join("repo.db").display().to_string();
    assert!(code == Some(1) && said.contains(&store) && said.contains("gochat rebuild store"), "{said}");
    for _ in 0..2 {
        let said = ok(data, &["rebuild", "store"]).await;
        assert!(
            said.contains("2 records of sequenced-messages were written") && said.contains("reaches back"),
            "{said}"
        );
        assert!(!said.contains("BROKEN") && !data.join("rebuild-store.json").exists(), "{said}");
    }
    ok(data, &["check"]).await;
    assert!(Server::start(data).await.stop().await.success());
}
