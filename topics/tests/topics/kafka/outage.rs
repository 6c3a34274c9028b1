//! A broker that dies and comes back, while records are appended and worked on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;
use topics::catalogue::{ACCEPTED, UPSTREAM};
use topics::kafka::{KafkaConfig, KafkaLog, Timeouts};
use topics::log::{Class, Log};

use super::LAYOUT;
use super::ports::Ports;
use super::transactions::copy;
use crate::contract::drive::{member_spec, placed, read_all, values};

/// How long a broker that was killed may take to be gone.
const DEATH_TIME_MAX: Duration = Duration::from_secs(30);

/// A broker for one test alone, which may kill it.
struct Broker {
    dir: TempDir,
    ports: Ports,
}

impl Broker {
    fn start() -> Self {
        let broker = Self { dir: TempDir::new().unwrap(), ports: Ports::reserve() };
        broker.start_again();
        broker
    }

    fn start_again(&self) {
        let arguments = ["--native", "--services", "kafka", "--port-base", &self.ports.base().to_string()];
        let output = self.script("start-infra.sh", &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns when it is gone: a dying one may still take a record.
    fn kill(&self) {
        let pid = std::fs::read_to_string(self.dir.path().join("kafka-1/pid")).unwrap();
        assert!(Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap().success());
        let status = format!("/proc/{}/status", pid.trim());
        // As a zombie it is gone once its last thread is.
        let is_alive = || {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            field("State:").is_some_and(|state| !state.starts_with('Z') || field("Threads:") != Some("1"))
        };
        let killed = tokio::time::Instant::now();
        while is_alive() {
            assert!(killed.elapsed() < DEATH_TIME_MAX, "a broker that was killed is gone");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn script(&self, name: &str, arguments: &[&str]) -> std::process::Output {
        let scripts: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deployment/scripts");
        let mut command = Command::new(scripts.join(name));
        command.args(arguments).arg("--dir").arg(self.dir.path()).stdin(Stdio::null());
        command.output().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _best_effort = self.script("cleanup.sh", &[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_copied_exactly_once_although_the_broker_dies() {
    let broker = Broker::start();
    let timeouts =
        Timeouts { delivery: Duration::from_secs(2), request: Duration::from_secs(3), ..Timeouts::default() };
    let config = KafkaConfig { timeouts, ..KafkaConfig::new(format!("127.0.0.1:{}", broker.ports.base()), LAYOUT) };
    let log: Arc<dyn Log> = KafkaLog::connect(config).await.unwrap();
    let worker = tokio::spawn(copy(Arc::clone(&log), member_spec(&UPSTREAM.spec, "copier")));
    let mut acknowledged = Vec::new();
    let mut put = async |value: String| {
        let answer = log.append(vec![placed(&UPSTREAM.spec, 1, &value)]).await;
        if answer.is_ok() {
            acknowledged.push(value);
        }
        answer
    };
    for n in 0..300 {
        put(format!("before {n}")).await.unwrap();
    }
    broker.kill();
    let refused = put("while it is away".into()).await.expect_err("nobody is there to take it");
    assert_eq!(refused.class(), Class::Retry, "{refused}");
    broker.start_again();
    let goes_on = async { while put("again".into()).await.is_err() {} };
    timeout(Duration::from_secs(30), goes_on).await.expect("appends never go on");
    for n in 0..300 {
        put(format!("after {n}")).await.unwrap();
    }
    let done = async {
        let appended = read_all(&log, &UPSTREAM.spec, 1).await.len();
        while read_all(&log, &ACCEPTED.spec, 1).await.len() < appended {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), done).await.expect("the worker never goes on");
    worker.abort();
    let appended = values(&log, &UPSTREAM.spec, 1).await;
    assert_eq!(values(&log, &ACCEPTED.spec, 1).await, appended);
    assert!(acknowledged.iter().all(|value| appended.contains(value)), "an acknowledged record is gone");
}
