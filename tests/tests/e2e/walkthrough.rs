//! The README's first conversation, as it stands there.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tests::server::Server;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a paste may take, with the Python environment that the first one makes.
const PASTE_TIME_MAX: Duration = Duration::from_secs(180);
const CONVERSATION: &str = "\n## A first conversation, by hand\n";
const SERVER: &str = "127.0.0.1:8080";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The blocks of a section that people paste into bash, one after the other.
fn to_be_pasted(readme: &str, heading: &str) -> String {
    let (_, section) = readme.split_once(heading).expect("the section is there");
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```bash\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_conversation_of_the_readme_can_be_pasted_and_pasted_again() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let script = to_be_pasted(&readme, CONVERSATION);
    assert!(script.contains(SERVER) && script.contains("message-stored"), "{script}");
    assert!(!script.lines().any(|line| line.starts_with("$ ")), "no prompt is pasted: {script}");

    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let script = script.replace(SERVER, &server.http.to_string());
    for times in 1..=2_usize {
        let mut bash = Command::new("bash");
        bash.args(["-uc", &script]).current_dir(root()).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(PASTE_TIME_MAX, bash.output()).await.expect("it ends by itself").unwrap();
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && wrong.is_empty(), "{said}{wrong}");
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let frames: Vec<_> = lines.iter().filter_map(|line| line["type"].as_str()).collect();
        assert!(frames.starts_with(&["hello"]) && frames.contains(&"message-ack"), "{said}");
        assert_eq!(frames.last(), Some(&"message-stored"), "{said}");
        let history: Vec<_> =
            lines.iter().filter(|line| line["content"] == "hello" && line["type"].is_null()).collect();
        assert_eq!(history.len(), times, "each paste says it once more: {said}");
        assert_eq!(history[times - 1]["seqId"], times, "{said}");
    }
    assert!(server.stop().await.success());
}
