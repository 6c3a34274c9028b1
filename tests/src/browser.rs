//! Headless Chromium, driven through chromedriver.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long the page may take to show something.
const SHOWN_TIME_MAX: Duration = Duration::from_secs(20);

/// A running chromedriver.
pub struct Driver {
    _child: Child,
    port: u16,
}

/// A browser window of its own, with a profile of its own.
pub struct Window {
    client: Client,
    _profile: TempDir,
}

impl Driver {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is installed: tests/run.sh does that");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let port = loop {
            let line = lines.next_line().await.expect("text").expect("chromedriver says its port");
            if let Some(port) = line.strip_prefix("ChromeDriver was started successfully on port ") {
                break port.trim_end_matches('.').parse().expect("a port");
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { _child: child, port }
    }

    /// Opens a window at an address.
    pub async fn open(&self, url: &str) -> Window {
        let profile = tempfile::tempdir().expect("a directory");
        let options = json!({"args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--window-size=1200,800",
            format!("--user-data-dir={}", profile.path().display()),
        ]});
        let capabilities = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{}", self.port))
            .await
            .expect("chromium starts");
        client.goto(url).await.expect("the page loads");
        Window { client, _profile: profile }
    }
}

impl Window {
    /// The first element that the selector finds, once it is there.
    pub async fn find(&self, css: &str) -> Element {
        let wait = self.client.wait().at_most(SHOWN_TIME_MAX);
        match wait.for_element(Locator::Css(css)).await {
            Ok(element) => element,
            Err(e) => panic!("{css} is not on the page: {e}\n{}", self.client.source().await.unwrap_or_default()),
        }
    }

    /// The first element with this test id.
    pub async fn by_id(&self, id: &str) -> Element {
        self.find(&format!("[data-testid='{id}']")).await
    }

    /// Types into a field, once it takes text: a field that is not shown yet, or was drawn anew in
    /// between, refuses all of it.
    pub async fn type_into(&self, id: &str, text: &str) {
        let deadline = Instant::now() + SHOWN_TIME_MAX;
        while let Err(e) = self.by_id(id).await.send_keys(text).await {
            assert!(Instant::now() < deadline, "{id} takes no text: {e}");
        }
    }

    /// Clicks.
    pub async fn click(&self, id: &str) {
        self.click_on(&format!("[data-testid='{id}']")).await;
    }

    /// Clicks what the selector finds; again when the page drew it anew in between.
    pub async fn click_on(&self, css: &str) {
        let deadline = Instant::now() + SHOWN_TIME_MAX;
        while let Err(e) = self.find(css).await.click().await {
            assert!(Instant::now() < deadline, "{css} can't be clicked: {e}");
        }
    }

    /// Waits until an element with this test id shows this text.
    pub async fn shows(&self, id: &str, text: &str) {
        let path = format!("//*[@data-testid='{id}'][contains(normalize-space(.), '{text}')]");
        let wait = self.client.wait().at_most(SHOWN_TIME_MAX);
        if let Err(e) = wait.for_element(Locator::XPath(&path)).await {
            panic!("{id} does not show {text:?}: {e}\n{}", self.client.source().await.unwrap_or_default());
        }
    }

    /// How many elements the selector finds now.
    pub async fn count(&self, css: &str) -> usize {
        self.client.find_all(Locator::Css(css)).await.expect("a page").len()
    }

    /// Closes the window.
    pub async fn close(self) {
        self.client.close().await.expect("it closes");
    }
}
