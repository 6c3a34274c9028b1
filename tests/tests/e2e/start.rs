//! Starting: fast, and clear about what stands in the way.

use std::net::{SocketAddr, TcpListener};

use tests::api::Api;
use tests::client::{connect, receive, receive_type};
use tests::server::{Launch, Refused, Server, Starting, refusal};
use tests::stopped::append;
use topics::catalogue::{ACCEPTED, PERSISTED};
use topics::headers::Headers;
use topics::log::Outgoing;

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_within_a_second_and_stops_in_good_order() {
    let data = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let server = Server::start(data.path()).await;
        assert!(server.startup_ms < 1_000, "ready after {} ms", server.startup_ms);
        let ready = reqwest::get(server.url("/health/ready")).await.unwrap();
        assert_eq!(ready.status(), 200, "{}", ready.text().await.unwrap());
        let metrics = reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap();
        assert!(metrics.contains("gochat_"), "{metrics}");
        assert!(server.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_stops_it_in_good_order() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let account = Api::new(server.http).register("ann").await;
    let mut socket = connect(server.http, &account.token).await.unwrap();
    receive_type(&mut socket, "hello").await.unwrap();
    server.signal("HUP").await;
    let end = loop {
        if let Err(end) = receive(&mut socket).await {
            break end;
        }
    };
    assert_eq!(end, "closed: 1001");
    assert!(server.ends().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_can_be_scraped_without_a_gateway() {
    let data = tempfile::tempdir().unwrap();
    let launch = Launch { args: vec!["--metrics".into(), any().to_string()], ..Launch::default() };
    let mut starting = Starting::new(data.path(), any(), any(), &launch);
    let url = starting.says("metrics can be scraped").await["metrics"].as_str().unwrap().to_owned();
    let server = starting.ready().await.unwrap_or_else(|refused| panic!("{}", refused.said));
    assert_ne!(url, server.url("/metrics"));
    let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("gochat_queue_limit"), "{metrics}");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_log_was_removed_is_refused_and_goes_on_once_it_is_back() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    // Users are in no log: they alone tie the store to it.
    Api::new(server.http).register("ann").await;
    assert!(server.stop().await.success());
    let (log, aside) = (data.path().join("log"), data.path().join("log.aside"));
    std::fs::rename(&log, &aside).unwrap();

    let Refused { code, said } = refusal(data.path(), any(), any()).await;
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "one clear line: {said}");
    for words in ["belongs to another log", &*log.display().to_string(), "restore", "repo.store.url", "empty both"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();
    let server = Server::start(data.path()).await;
    let again = serde_json::json!({"username": "ann", "password": "correct horse"});
    let (status, answer) =
        Api::new(server.http).call(reqwest::Method::POST, "/api/auth/register", None, Some(again)).await;
    assert_eq!(status, 409, "ann is known: {answer}");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_the_option_that_changes_it() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(any()).unwrap();
    let address = taken.local_addr().unwrap();
    for (http, grpc, option) in [(address, any(), "--http"), (any(), address, "--grpc")] {
        let Refused { code, said } = refusal(data.path(), http, grpc).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&address.to_string()) && said.contains(option), "{said}");
        assert_eq!(said.trim().lines().count(), 1, "one clear line: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let Refused { code, said } = refusal(data.path(), any(), any()).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another process") && said.contains(&data.path().display().to_string()), "{said}");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_is_none_or_foreign_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let foreign = dir.path().join("foreign");
    std::fs::create_dir_all(foreign.join("log")).unwrap();
    std::fs::write(foreign.join("log/log.db"), "not a database, but somebody's").unwrap();
    for data in [&file, &foreign] {
        let Refused { code, said } = refusal(data, any(), any()).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&data.display().to_string()), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(foreign.join("log/log.db")).unwrap(), "not a database, but somebody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn fused_stages_are_refused_while_records_wait_between_them() {
    for (topic, setting) in [(&ACCEPTED.spec, "DEDUPE_AND_ID_ASSIGN"), (&PERSISTED.spec, "PERSIST_AND_FAN_OUT")] {
        let data = tempfile::tempdir().unwrap();
        Server::start(data.path()).await.stop().await;
        let (key, value) = ("k".into(), "v".into());
        append(data.path(), vec![Outgoing { topic, partition: Some(0), key, value, headers: Headers::default() }])
            .await;
        let setting = format!("GOCHAT__STAGES__FUSE_{setting}");
        let with = |value: &str| Launch { env: vec![(setting.clone(), value.into())], ..Launch::default() };
        let Err(Refused { code, said }) = Server::launch(data.path(), any(), any(), &with("true")).await else {
            panic!("it starts while records wait in {}", topic.name)
        };
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(topic.name) && said.contains(&format!("{setting}=false")), "{said}");
        let server = Server::launch(data.path(), any(), any(), &with("false")).await.unwrap();
        assert!(server.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_would_do_nothing_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let args = vec!["--roles".into(), "id-assign,repo".into()];
    let launch = Launch { args, ..Launch::default() };
    let Err(Refused { code, said }) = Server::launch(data.path(), any(), any(), &launch).await else {
        panic!("it starts")
    };
    assert_eq!(code, Some(1), "{said}");
    for part in ["id-assign runs in the tasks of dedupe", "GOCHAT__STAGES__FUSE_DEDUPE_AND_ID_ASSIGN=false"] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_partition_count_is_refused() {
    let data = tempfile::tempdir().unwrap();
    assert!(Server::start(data.path()).await.stop().await.success());
    let config = data.path().join("other.toml");
    std::fs::write(&config, "[log]\nchain_partitions = 3\n").unwrap();
    let output = tokio::process::Command::new(tests::server::binary())
        .arg("--config")
        .arg(&config)
        .arg("--data")
        .arg(data.path())
        .args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("partitions"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_setting_is_named() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("typo.toml");
    std::fs::write(&config, "[gateway]\nlisten_adress = \"127.0.0.1:1\"\n").unwrap();
    let output =
        tokio::process::Command::new(tests::server::binary()).arg("--config").arg(&config).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("listen_adress"), "{said}");
}
