//! Programs that know nothing of GoChat: Kafka's own tools, kcat, Python, axe-core.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::service::script;

/// The longest that one of them may take, on a machine that does other things too.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);

/// Runs one of Kafka's own tools, and returns what it prints.
pub async fn kafka_tool(tool: &str, args: &[&str]) -> String {
    let mut command = Command::new(script("kafka-tool.sh"));
    command.arg(tool).args(args);
    output(command, "").await
}

/// Runs kcat, and returns what it prints.
pub async fn kcat(args: &[&str]) -> String {
    let mut command = Command::new("kcat");
    command.args(args);
    output(command, "").await
}

/// Runs a script of `tests/foreign` with this on its standard input, and returns what it prints.
pub async fn python(name: &str, input: &str) -> String {
    let python = output(Command::new(beside("python.sh")), "").await;
    let mut command = Command::new(python.trim());
    command.arg(beside(name));
    output(command, input).await
}

/// The script of axe-core, which judges in a browser whether everybody can use a page.
pub async fn axe() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("axe/axe.sh");
    let path = output(Command::new(script), "").await;
    std::fs::read_to_string(path.trim()).expect("axe.sh prints where it is")
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign").join(name)
}

async fn output(mut command: Command, input: &str) -> String {
    let name = format!("{:?}", command.as_std());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}; tests/run.sh installs it"));
    // One that ends without reading all of it says why.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input.as_bytes()).await;
    let ended = timeout(RUN_TIME_MAX, child.wait_with_output()).await;
    let ended = ended.unwrap_or_else(|_| panic!("{name} takes longer than {RUN_TIME_MAX:?}")).expect("it ends");
    let (printed, said) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{name}: {}\n{said}{printed}", ended.status);
    printed.into_owned()
}
