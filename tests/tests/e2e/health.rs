//! What a process says of itself and of what it depends on, while real services go away and come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use tests::api::Api;
use tests::broker::Broker;
use tests::client::{connect, receive_type, send};
use tests::installation::{Installation, Part, Settings};
use tests::redis::Redis;
use tests::server::{Launch, Server, Starting, any_port};
use tests::service::Service;
use tokio::time::{Instant, sleep};

/// How long it may take until a process has noticed what happened.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a process is: the HTTP status, and each component's line.
struct Health {
    status: u16,
    components: BTreeMap<String, Value>,
}

impl Health {
    async fn of(base: &str) -> Self {
        let answer = reqwest::get(format!("{base}/health/ready")).await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        let mut components = BTreeMap::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let component = line["component"].as_str().unwrap().to_owned();
            assert!(components.insert(component, line).is_none(), "each component has one line: {text}");
        }
        Self { status, components }
    }

    fn state(&self, component: &str) -> &str {
        self.components.get(component).and_then(|line| line["state"].as_str()).unwrap_or("not listed")
    }

    fn reason(&self, component: &str) -> &str {
        self.components[component]["reason"].as_str().unwrap_or_default()
    }
}

/// Waits until a component is in this state, and the whole process answers with this status.
async fn until(base: &str, component: &str, state: &str, status: u16) -> Health {
    let deadline = Instant::now() + NOTICED_WITHIN;
    loop {
        let health = Health::of(base).await;
        if (health.state(component), health.status) == (state, status) {
            return health;
        }
        assert!(Instant::now() < deadline, "{component} is not {state} with {status}: {:?}", health.components);
        sleep(LOOK_EVERY).await;
    }
}

fn base(server: &Server) -> String {
    server.url("")
}

/// What a process logged that is no news of its start: warnings and errors, and what works again.
fn told(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = events.skip_while(|event| event["message"] != "ready");
    let is_told = |event: &Value| event["level"] != "INFO" || event["message"].as_str().unwrap().contains("again");
    events.filter(is_told).collect()
}

/// Waits until a process has logged that a component works again: one line before that says that it does not, and why.
async fn one_line_each(log: &Path, component: &str, cause: &str) {
    let deadline = Instant::now() + NOTICED_WITHIN;
    let lines = loop {
        let lines = told(log);
        if lines.last().is_some_and(|line| line["message"].as_str().unwrap().contains("works again")) {
            break lines;
        }
        assert!(Instant::now() < deadline, "{lines:?}");
        sleep(LOOK_EVERY).await;
    };
    let [away, back] = &lines[..] else { panic!("one line each: {lines:#?}") };
    assert_eq!((&away["level"], &away["component"]), (&"WARN".into(), &component.into()), "{away}");
    assert!(away["cause"].as_str().unwrap().contains(cause), "{away}");
    assert!(away["address"].as_str().is_some_and(|address| !address.is_empty()), "{away}");
    assert_eq!((&back["level"], &back["component"]), (&"INFO".into(), &component.into()), "{back}");
    assert!(back["away_ms"].as_i64().unwrap() > 0, "{back}");
}

async fn launched(data: &Path, args: &[&str], env: &[(&str, &str)]) -> (Server, PathBuf) {
    std::fs::create_dir_all(data).unwrap();
    let log = data.join("process.log");
    let launch = Launch { log: Some(log.clone()), ..Launch::new(args, env) };
    let server = Server::launch(data, any_port(), any_port(), &launch).await.unwrap_or_else(|r| panic!("{r:?}"));
    (server, log)
}

/// Somebody who signs up and reads meanwhile, whatever comes of it.
async fn bustle(server: &Server) {
    let client = reqwest::Client::new();
    for n in 0..5 {
        let body = format!("{{\"username\":\"user{n}\",\"password\":\"correct horse\"}}");
        let ask = client.post(server.url("/api/auth/register")).header("content-type", "application/json").body(body);
        ask.send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_takes_a_process_out_of_service_until_it_is_released() {
    let data = tempfile::tempdir().unwrap();
    let (server, log) = launched(data.path(), &[], &[]).await;
    let health = until(&base(&server), "store", "ready", 200).await;
    let listed = ["dedupe", "fan-out", "gateway", "large-group", "log", "outbox", "persist", "repo", "slot", "store"];
    assert!(listed.iter().all(|component| health.state(component) == "ready"), "{:?}", health.components);

    let other = Connection::open(data.path().join("repo.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let health = until(&base(&server), "store", "failed", 503).await;
    assert!(health.reason("store").contains("no answer"), "{}", health.reason("store"));
    assert_eq!(health.state("log"), "ready");
    bustle(&server).await;
    other.execute_batch("ROLLBACK").unwrap();
    until(&base(&server), "store", "ready", 200).await;
    one_line_each(&log, "store", "no answer").await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_killed_is_told_of_once_with_its_cause_and_once_when_it_is_back() {
    let (data, postgres) = (tempfile::tempdir().unwrap(), Service::start("postgres").await);
    let (server, log) = launched(data.path(), &[], &[("GOCHAT__REPO__STORE__URL", &postgres.url())]).await;
    until(&base(&server), "store", "ready", 200).await;
    postgres.signal("KILL").await;
    let health = until(&base(&server), "store", "failed", 503).await;
    assert!(!health.reason("store").is_empty());
    bustle(&server).await;
    postgres.start_again().await;
    until(&base(&server), "store", "ready", 200).await;
    one_line_each(&log, "store", "").await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_leaves_a_process_in_service() {
    let (data, redis) = (tempfile::tempdir().unwrap(), Redis::start().await);
    let env = [("GOCHAT__REPO__CACHE__KIND", "redis"), ("GOCHAT__REPO__CACHE__REDIS__URL", redis.url())];
    let (server, log) = launched(data.path(), &[], &env).await;
    until(&base(&server), "cache", "ready", 200).await;
    redis.signal("STOP");
    let health = until(&base(&server), "cache", "degraded", 200).await;
    assert!(health.components["cache"]["since"].as_str().unwrap().ends_with('Z'));
    bustle(&server).await;
    redis.signal("CONT");
    until(&base(&server), "cache", "ready", 200).await;
    one_line_each(&log, "cache", "redis").await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_not_ready_while_a_stage_runs_nowhere() {
    let data = tempfile::tempdir().unwrap();
    let (server, _) = launched(data.path(), &["--roles", "gateway,repo,dedupe,fan-out"], &[]).await;
    let health = until(&base(&server), "dedupe", "ready", 503).await;
    for missing in ["persist", "large-group"] {
        assert_eq!(health.reason(missing), "no process runs it", "{missing}: {:?}", health.components);
    }
    assert_eq!(health.state("id-assign"), "not listed", "dedupe does its work");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_over_its_memory_is_not_ready_and_takes_neither_messages_nor_sockets() {
    let data = tempfile::tempdir().unwrap();
    let (server, _) = launched(data.path(), &[], &[]).await;
    until(&base(&server), "memory", "ready", 200).await;
    assert_eq!(server.metric(r#"gochat_memory_share_bytes{part="send-queues"}"#).await, f64::from(256 << 20));
    assert!(server.metric("gochat_memory_bytes").await < server.metric("gochat_memory_bytes_max").await);
    let account = Api::new(server.http).register("ann").await;
    assert!(server.stop().await.success());

    // A password takes 128 MiB, which the process keeps for the next one.
    let env = [("GOCHAT__MEMORY_MIB_MAX", "64"), ("GOCHAT__REPO__LIMITS__PASSWORD_MEMORY_KIB", "131072")];
    let (server, _) = launched(data.path(), &[], &env).await;
    let api = Api::new(server.http);
    let mut socket = connect(server.http, &account.token).await.unwrap();
    api.register("ben").await;
    let health = until(&base(&server), "memory", "failed", 503).await;
    assert!(health.reason("memory").contains("more than 64"), "{}", health.reason("memory"));
    let data = json!({"clientMsgId": "a", "conversationId": "world", "messageType": "text", "content": "hi"});
    send(&mut socket, &json!({"type": "send-message", "data": data})).await.unwrap();
    assert_eq!(receive_type(&mut socket, "error").await.unwrap()["code"], 1008);
    let refused = connect(server.http, &account.token).await.err().unwrap();
    assert!(refused.contains("503"), "{refused}");
    assert!(server.stop().await.success());
}

/// A process of persist alone, and where it tells its health.
async fn persist_alone(data: &Path, env: &[(&str, &str)]) -> (Server, String) {
    let any = any_port().to_string();
    let launch = Launch::new(&["--roles", "persist", "--metrics", &any], env);
    let mut starting = Starting::new(data, any_port(), any_port(), &launch);
    let metrics = starting.says("metrics can be scraped").await["metrics"].as_str().unwrap().to_owned();
    let server = starting.ready().await.unwrap_or_else(|refused| panic!("{}", refused.said));
    (server, metrics.trim_end_matches("/metrics").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn persist_depends_on_the_repo_where_fan_out_runs_in_its_tasks() {
    let data = tempfile::tempdir().unwrap();
    let (server, base) = persist_alone(data.path(), &[("GOCHAT__STAGES__FUSE_PERSIST_AND_FAN_OUT", "true")]).await;
    until(&base, "repo", "failed", 503).await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_a_gateway_tells_its_health_at_its_metrics_address() {
    let data = tempfile::tempdir().unwrap();
    let (server, base) = persist_alone(data.path(), &[]).await;
    let health = until(&base, "store", "ready", 200).await;
    for (component, state) in [("stages", "ready"), ("gateway", "not listed"), ("repo", "not listed")] {
        assert_eq!(health.state(component), state, "{component}: {:?}", health.components);
    }
    assert_eq!(reqwest::get(format!("{base}/health/live")).await.unwrap().status(), 200);
    assert_eq!(reqwest::get(format!("{base}/nothing")).await.unwrap().status(), 404);

    let other = Connection::open(data.path().join("repo.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    until(&base, "store", "failed", 503).await;
    other.execute_batch("ROLLBACK").unwrap();
    until(&base, "store", "ready", 200).await;
    assert!(server.stop().await.success());
}

const REPO: Part = Part::new("repo", 0);
const STAGES: Part = Part::new("dedupe,id-assign,persist,fan-out,large-group", 1);
const GATEWAY: Part = Part::new("gateway", 2);

#[tokio::test(flavor = "multi_thread")]
async fn kafka_a_gateway_alone_knows_of_stages_repo_and_brokers() {
    let broker = Broker::start().await;
    let installation = Installation::new(Settings::on(broker.address()));
    let repo = installation.start(REPO, any_port(), any_port()).await;
    let grpc: SocketAddr = repo.grpc;
    let gateway = installation.start(GATEWAY, any_port(), grpc).await;
    let base = base(&gateway);
    let health = until(&base, "repo", "ready", 503).await;
    assert_eq!(health.reason("persist"), "no process runs it", "{:?}", health.components);
    assert_eq!(health.state("store"), "not listed", "it is the repo's");

    let stages = installation.start(STAGES, any_port(), grpc).await;
    until(&base, "persist", "ready", 200).await;
    stages.kill().await;
    until(&base, "persist", "failed", 503).await;
    let stages = installation.start(STAGES, any_port(), grpc).await;
    until(&base, "persist", "ready", 200).await;

    repo.kill().await;
    let health = until(&base, "repo", "failed", 503).await;
    assert!(health.reason("repo").contains("refused"), "{}", health.reason("repo"));
    let repo = installation.start(REPO, any_port(), grpc).await;
    until(&base, "repo", "ready", 200).await;

    broker.kill().await;
    let health = until(&base, "log", "failed", 503).await;
    assert!(!health.reason("log").is_empty());
    broker.start_again().await;
    until(&base, "persist", "ready", 200).await;
    Api::new(gateway.http).register("ann").await;
    Server::stop_all([gateway, stages, repo]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_brokers_that_are_killed_are_told_of_once_and_once_when_they_are_back() {
    let broker = Broker::start().await;
    let installation = Installation::new(Settings::on(broker.address()));
    let config = installation.config().display().to_string();
    let (server, log) = launched(&installation.data(), &["--config", &config], &[]).await;
    until(&base(&server), "persist", "ready", 200).await;
    broker.kill().await;
    until(&base(&server), "log", "failed", 503).await;
    bustle(&server).await;
    broker.start_again().await;
    until(&base(&server), "log", "ready", 200).await;
    one_line_each(&log, "log", "127.0.0.1").await;
    assert!(server.stop().await.success());
}
