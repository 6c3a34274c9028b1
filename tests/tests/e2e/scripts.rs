//! The project's scripts: help that does nothing else, and services that start again whatever happened before.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tests::ports::Ports;
use tests::service::{Infra, script};
use tokio::process::Command;
use tokio::time::timeout;

/// How long a script that only prints may take: far less than anything it would build or install.
const PRINT_TIME_MAX: Duration = Duration::from_secs(20);
const START_TIME_MAX: Duration = Duration::from_secs(120);
/// Redis's port, counted from the base.
const OF_REDIS: u16 = 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

async fn run(program: &Path, args: &[&str], limit: Duration) -> Output {
    let ended = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    timeout(limit, ended).await.unwrap_or_else(|_| panic!("{} {args:?} goes on", program.display())).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn every_script_shows_its_help_and_refuses_what_it_does_not_know_without_doing_anything() {
    let of_tests = ["run.sh", "coverage.sh", "faults.sh", "simulate.sh", "foreign/python.sh"];
    let of_tests = of_tests.map(|name| root().join("tests").join(name));
    let of_deployment = ["start-infra.sh", "cleanup.sh", "health-check.sh", "kafka-tool.sh"].map(script);
    for program in of_tests.into_iter().chain(of_deployment).chain([root().join(".ci/run")]) {
        for option in ["--help", "-h"] {
            let Output { status, stdout, stderr } = run(&program, &[option], PRINT_TIME_MAX).await;
            let (said, wrong) = (text(&stdout), text(&stderr));
            assert!(status.success() && wrong.is_empty(), "{}: {wrong}", program.display());
            assert!(said.contains("Usage:") && said.contains("Example"), "{}: {said}", program.display());
        }
        let Output { status, stdout, stderr } = run(&program, &["--no-such-option"], PRINT_TIME_MAX).await;
        let said = text(&stderr);
        assert!(!status.success() && stdout.is_empty(), "{}: {}", program.display(), text(&stdout));
        assert!(said.starts_with("error: ") && said.contains("--no-such-option"), "{}: {said}", program.display());
        assert_eq!(said.lines().count(), 1, "{}: {said}", program.display());
    }
}

#[tokio::test]
async fn the_help_of_faults_has_every_option_of_the_program() {
    let program = tests::server::binary().with_file_name("faults");
    let known = text(&run(&program, &["--help"], PRINT_TIME_MAX).await.stdout);
    let shown = text(&run(&root().join("tests/faults.sh"), &["--help"], PRINT_TIME_MAX).await.stdout);
    let options = |help: &str| {
        let words = help.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with("--")));
        let mut options: Vec<_> = words.filter(|&option| option != "--help").map(str::to_owned).collect();
        options.sort();
        options.dedup();
        options
    };
    let of_usage = |help: &str| options(help.split("Examples:").next().unwrap());
    assert_eq!(of_usage(&shown), of_usage(&known), "{shown}\n{known}");
}

/// Redis's port there.
fn port(infra: &Infra) -> u16 {
    infra.ports.base() + OF_REDIS
}

/// Runs a script on a directory of servers; whether it succeeded, and what it said.
async fn run_on(infra: &Infra, name: &str, args: &[&str]) -> (bool, String) {
    let args = [&["--dir", infra.dir.to_str().unwrap()], args].concat();
    let Output { status, stdout, stderr } = run(&script(name), &args, START_TIME_MAX).await;
    (status.success(), text(&stdout) + &text(&stderr))
}

async fn start_at(infra: &Infra, base: u16) -> (bool, String) {
    run_on(infra, "start-infra.sh", &["--services", "redis", "--port-base", &base.to_string()]).await
}

#[tokio::test]
async fn ports_are_looked_at_before_anything_is_made() {
    let infra = Infra::reserve();
    let taken = TcpListener::bind(("127.0.0.1", port(&infra))).unwrap();
    let (started, said) = start_at(&infra, infra.ports.base()).await;
    assert!(!started && said.contains(&format!("port {}", port(&infra))), "{said}");
    assert!(said.contains(&format!("by pid {}", std::process::id())), "who has it is told: {said}");
    assert!(!infra.dir.exists(), "nothing was made");
    drop(taken);

    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let (started, said) = start_at(&infra, first).await;
    assert!(!started && said.contains("outgoing connections") && said.contains("--port-base"), "{said}");
    assert!(!infra.dir.exists(), "nothing was made");

    let (started, said) = start_at(&infra, infra.ports.base()).await;
    assert!(started, "{said}");
    let (started, said) = start_at(&infra, infra.ports.base() + 1).await;
    assert!(!started && said.contains("runs already") && said.contains(&port(&infra).to_string()), "{said}");
    assert!(start_at(&infra, infra.ports.base()).await.0, "as it was it is left alone");
}

#[tokio::test]
async fn what_a_failed_start_left_refuses_no_later_one() {
    let infra = Infra::reserve();
    let home = infra.dir.join("redis");
    std::fs::create_dir_all(&home).unwrap();
    // Of a process that is gone, and whose pid another one has.
    std::fs::write(home.join("pid"), std::process::id().to_string()).unwrap();
    std::fs::write(infra.dir.join("redis.endpoints"), "redis://127.0.0.1:1").unwrap();
    std::fs::write(home.join("redis.conf"), "half a set").unwrap();
    let (started, said) = start_at(&infra, infra.ports.base()).await;
    assert!(started, "{said}");
    let endpoint = std::fs::read_to_string(infra.dir.join("redis.endpoints")).unwrap();
    assert_eq!(endpoint.trim(), format!("redis://127.0.0.1:{}", port(&infra)));

    let (healthy, said) = run_on(&infra, "health-check.sh", &[]).await;
    assert!(healthy && said.contains("redis: ok"), "{said}");
    assert!(run_on(&infra, "cleanup.sh", &["--keep-data"]).await.0);
    let (healthy, said) = run_on(&infra, "health-check.sh", &[]).await;
    assert!(!healthy && said.contains("nothing runs in"), "{said}");
    let (cleaned, said) = run_on(&infra, "cleanup.sh", &[]).await;
    assert!(cleaned && !infra.dir.exists(), "{said}");
    let (healthy, said) = run_on(&infra, "health-check.sh", &[]).await;
    assert!(!healthy && said.contains("nothing was started in"), "{said}");
}

#[tokio::test]
async fn a_start_of_kafka_that_was_killed_refuses_no_later_one_with_other_ports() {
    let (infra, other) = (Infra::reserve(), Ports::reserve());
    let (dir, port) = (infra.dir.clone(), infra.ports.base().to_string());
    let mut killed = Command::new(script("start-infra.sh"))
        .args(["--services", "kafka", "--port-base", &port, "--dir", dir.to_str().unwrap()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let formatted = async {
        while !dir.join("kafka-1/pid").exists() {
            assert_eq!(killed.try_wait().unwrap(), None, "it is killed before it is ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(START_TIME_MAX, formatted).await.unwrap();
    killed.kill().await.unwrap();
    let port = other.base().to_string();
    let (started, said) = run_on(&infra, "start-infra.sh", &["--services", "kafka", "--port-base", &port]).await;
    assert!(started && said.contains(&format!("answers at 127.0.0.1:{port}")), "{said}");
    let (started, said) =
        run_on(&infra, "start-infra.sh", &["--services", "kafka", "--nodes", "3", "--port-base", &port]).await;
    assert!(!started && said.contains("nodes=1"), "one that was ready keeps its shape: {said}");
}

#[tokio::test]
async fn a_cleanup_says_which_data_it_makes_stale() {
    let infra = Infra::reserve();
    let remains = |files: &[&str]| {
        std::fs::create_dir_all(&infra.dir).unwrap();
        for file in files {
            std::fs::create_dir_all(infra.dir.join(file)).unwrap();
        }
        std::fs::write(infra.dir.join(".gochat-infra"), "").unwrap();
    };
    remains(&["postgres/data"]);
    let (_, said) = run_on(&infra, "cleanup.sh", &["--keep-data"]).await;
    assert!(!said.contains("gone"), "nothing is removed: {said}");
    let (_, said) = run_on(&infra, "cleanup.sh", &[]).await;
    assert!(said.contains("databases are gone") && said.contains("gochat rebuild store"), "{said}");
    remains(&[]);
    std::fs::write(infra.dir.join("kafka.shape"), "nodes=1").unwrap();
    let (_, said) = run_on(&infra, "cleanup.sh", &[]).await;
    assert!(said.contains("topics are gone") && said.contains("data_dir"), "{said}");
}

#[tokio::test]
async fn a_tool_of_kafka_says_at_once_that_no_broker_is_there() {
    let (ports, tool) = (Ports::reserve(), script("kafka-tool.sh"));
    let away = format!("127.0.0.1:{}", ports.base());
    for (args, words) in [
        (&["topics", "--bootstrap-server", &away, "--list"][..], "nothing listens at"),
        (&["topics", "--list"], "needs --bootstrap-server"),
        (&["topics", "--bootstrap-server", "here", "--list"], "HOST:PORT"),
        (&["topic"], "there is no tool topic"),
    ] {
        let Output { status, stderr, .. } = run(&tool, args, PRINT_TIME_MAX).await;
        let said = text(&stderr);
        assert!(!status.success() && said.contains(words) && said.lines().count() == 1, "{args:?}: {said}");
    }
}
