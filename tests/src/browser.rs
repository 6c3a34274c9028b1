//! Headless Chromium, driven through chromedriver.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::wd::{WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Method, Url};
use serde_json::{Value, json};
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

    /// What a piece of JavaScript returns.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    /// What a promise becomes, to which `script` evaluates.
    pub async fn resolve(&self, script: &str) -> Value {
        let waiting = format!("const done = arguments[0]; ({script}).then(done, (error) => done(String(error)));");
        self.client.execute_async(&waiting, Vec::new()).await.unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    /// Waits until this JavaScript expression is true.
    pub async fn until(&self, expression: &str) {
        let deadline = Instant::now() + SHOWN_TIME_MAX;
        let script = format!("return Boolean(({expression}));");
        // While a page is being loaded there is nothing to ask.
        while self.client.execute(&script, Vec::new()).await.ok() != Some(Value::Bool(true)) {
            if Instant::now() >= deadline {
                panic!("not so: {expression}\n{}", self.client.source().await.unwrap_or_default());
            }
        }
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let focused = self.client.active_element().await.expect("something has the focus");
        focused.send_keys(keys).await.unwrap_or_else(|e| panic!("{keys:?} can't be pressed: {e}"));
    }

    /// The name of an element, as a screen reader says it.
    pub async fn label(&self, css: &str) -> String {
        let element = self.find(css).await.element_id().to_string();
        let found = self.client.issue_cmd(Label { element }).await.expect("the element has a name");
        found.as_str().unwrap_or_default().to_owned()
    }

    /// A command of the Chrome DevTools Protocol: what a screen, a network or a user's settings are like.
    pub async fn devtools(&self, command: &'static str, params: Value) {
        let done = self.client.issue_cmd(DevTools { command, params }).await;
        done.unwrap_or_else(|e| panic!("{command}: {e}"));
    }

    /// Makes the window look like that of another screen.
    pub async fn screen(&self, width: u32, height: u32, pixel_ratio: f64, is_phone: bool) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": pixel_ratio, "mobile": is_phone});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        self.devtools("Emulation.setTouchEmulationEnabled", json!({"enabled": is_phone})).await;
    }

    /// Goes to an address.
    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.expect("the page loads");
    }

    /// Opens a further tab at an address, and turns to it; returns it and the one before.
    pub async fn open_tab(&self, url: &str) -> (WindowHandle, WindowHandle) {
        let before = self.client.window().await.expect("a tab");
        let tab = self.client.new_window(true).await.expect("a further tab").handle;
        self.turn_to(&tab).await;
        self.goto(url).await;
        (tab, before)
    }

    /// Turns to a tab.
    pub async fn turn_to(&self, tab: &WindowHandle) {
        self.client.switch_to_window(tab.clone()).await.expect("the tab is there");
    }

    /// Closes the window.
    pub async fn close(self) {
        self.client.close().await.expect("it closes");
    }
}

/// A command of the Chrome DevTools Protocol, as chromedriver takes it.
#[derive(Debug)]
struct DevTools {
    command: &'static str,
    params: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({"cmd": self.command, "params": self.params}).to_string()))
    }
}

/// Asks for the accessible name of an element, which fantoccini has no call for.
#[derive(Debug)]
struct Label {
    element: String,
}

impl WebDriverCompatibleCommand for Label {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/element/{}/computedlabel", session.unwrap_or_default(), self.element))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::GET, None)
    }
}
