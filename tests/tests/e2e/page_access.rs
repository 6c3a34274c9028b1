//! Whether everybody can use the page: axe-core's judgement of each view, and the keyboard alone.

use serde_json::{Value, json};
use tests::browser::{Driver, Window};
use tests::foreign::axe;
use tests::page::{open_conversation, sign_in, window_of, write_stored};
use tests::users::{Talker, served, with};

/// A window that axe-core judges, in one look of the page.
struct Judged {
    window: Window,
    axe: String,
    look: String,
}

impl Judged {
    async fn looks(&mut self, scheme: &str, width: u32, height: u32) {
        self.window.screen(width, height, 1.0, false).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.window.devtools("Emulation.setEmulatedMedia", features).await;
        self.look = format!("{scheme} at {width}");
    }

    /// No finding of axe-core in this view is serious or critical.
    async fn check(&self, view: &str) {
        if self.window.run("return typeof axe").await == "undefined" {
            self.window.run(&self.axe).await;
        }
        // Colours are judged as they are when nothing moves any more.
        let judge = "Promise.all(document.getAnimations().map((it) => it.finished.catch(() => {}))).then(() => axe.run()) \
            .then(({violations}) => violations.filter(({impact}) => ['serious', 'critical'].includes(impact)) \
            .map(({id, nodes}) => [id, nodes.map(({html, failureSummary}) => [html, failureSummary])]))";
        let found = self.window.resolve(judge).await;
        assert_eq!(found, json!([]), "{view}, {}: {found:#}", self.look);
    }

    async fn signed_out(&self) {
        self.check("sign-in").await;
        self.window.click("show-signup").await;
        self.window.click("signup-submit").await;
        self.window.by_id("field-error").await;
        self.check("register, with an error").await;
        self.window.click("show-signin").await;
    }

    async fn dialogs(&self, group: &str) {
        let window = &self.window;
        window.click("show-profile").await;
        window.by_id("profile-dialog").await;
        self.check("profile").await;
        window.click("dialog-close").await;
        window.click("show-new-group").await;
        window.click("group-submit").await;
        window.by_id("field-error").await;
        self.check("new group, with an error").await;
        window.click("dialog-close").await;
        window.run(&format!("location.hash = '{group}'")).await;
        window.click("group-info").await;
        window.by_id("group-member").await;
        self.check("members").await;
        window.click("dialog-close").await;
    }

    async fn conversations(&self, group: &str) {
        let window = &self.window;
        self.check("group").await;
        window.run("[...document.querySelectorAll('.message.mine')].at(-1).focus()").await;
        window.press("\u{e014}").await;
        window.press("\u{e007}").await;
        window.find(".picker:not([hidden])").await;
        self.check("tools of a message").await;
        window.run("location.hash = 'world'").await;
        window.shows("chat-title", "World").await;
        self.check("an empty conversation").await;
        window.run("location.hash = ''").await;
        window.find(&format!("[data-conversation-id='{group}']")).await;
        self.check("list").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_view_has_a_serious_finding_of_axe() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let driver = Driver::start().await;
    let group = api.group(&ann, "tea", std::slice::from_ref(&bob.user_id)).await;
    let mut talkers = Talker::all(&server, [&bob, &ann]).await;
    for talker in &mut talkers {
        for text in ["hello", "see https://example.org", "שלום", "👍"] {
            talker.say(&group, text).await;
        }
    }
    let target = |rest: Value| with(json!({"conversationId": group}), rest);
    talkers[0].put("react", target(json!({"targetSeqId": 6, "emoji": "🎉"}))).await;
    talkers[1].put("edit-message", target(json!({"targetSeqId": 7, "content": "edited"}))).await;
    talkers[1].put("recall-message", target(json!({"targetSeqId": 8}))).await;
    talkers[0].say(&ann.pair_with(&bob), "unread").await;

    let window = driver.open(&server.url("/")).await;
    let mut judged = Judged { window, axe: axe().await, look: String::new() };
    for (scheme, width, height) in [("light", 1200, 800), ("dark", 1200, 800), ("light", 390, 780), ("dark", 390, 780)]
    {
        judged.looks(scheme, width, height).await;
        judged.signed_out().await;
        sign_in(&judged.window, "ann", false).await;
        judged.dialogs(&group).await;
        judged.conversations(&group).await;
        judged.window.click("sign-out").await;
    }
    judged.window.close().await;
}

/// What has the focus, in a word.
const FOCUS: &str = "return document.activeElement.dataset.testid ?? document.activeElement.className";

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_reaches_everything_with_one_stop_for_the_list_and_one_for_the_log() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let driver = Driver::start().await;
    let pair = ann.pair_with(&bob);
    let mut talker = Talker::connect(&server, &bob).await;
    for n in 1..=20 {
        talker.say(&pair, &format!("line {n}, see https://example.org")).await;
    }
    for n in 0..3 {
        api.group(&ann, &format!("group {n}"), &[]).await;
    }
    let window = window_of(&driver, &server, &ann).await;
    row_names(&window, &pair).await;
    open_conversation(&window, &pair).await;
    window
        .until("(document.querySelector('.log-scroll').scrollTop = 1e9, document.querySelector('.jump').hidden)")
        .await;
    write_stored(&window, "mine").await;

    // Backwards from where one writes: the log, its header, the foot, the list.
    let back = "\u{e008}\u{e004}\u{e008}";
    window.run("document.querySelector('textarea').focus()").await;
    let mut stops = Vec::new();
    for _ in 0..5 {
        window.press(back).await;
        stops.push(window.run(FOCUS).await);
    }
    assert_eq!(stops, ["message", "sign-out", "show-profile", "conversation-item", "show-new-group"]);

    // The arrows move among conversations, and among messages, and into what can be done with one.
    window.press("\u{e004}").await;
    let current = "return document.activeElement.dataset.conversationId";
    let before = window.run(current).await;
    window.press("\u{e015}").await;
    let after = window.run(current).await;
    assert!(after.is_string() && after != before, "{before} {after}");
    window.run("document.querySelector('textarea').focus()").await;
    window.press(back).await;
    let text = "return document.activeElement.querySelector('.message-text').textContent";
    assert_eq!(window.run(text).await, "mine");
    window.press("\u{e013}").await;
    assert_eq!(window.run(text).await, "line 20, see https://example.org");
    for (key, focused) in
        [("\u{e014}", ""), ("\u{e014}", "message-react"), ("\u{e00c}", "message"), ("\u{e015}", "message")]
    {
        window.press(key).await;
        let is_link = window.run("return document.activeElement.tagName === 'A'").await == true;
        assert!(if focused.is_empty() { is_link } else { window.run(FOCUS).await == focused }, "{focused}");
    }
    assert_eq!(window.run(text).await, "mine");
    // React by keys alone, and on to where one writes.
    for key in ["\u{e014}", "\u{e007}", "\u{e007}"] {
        window.press(key).await;
    }
    window.by_id("reaction").await;
    window.run("document.querySelector('.message:last-child').focus()").await;
    window.press("\u{e004}").await;
    assert_eq!(window.run(FOCUS).await, "composer");
    window.close().await;
}

/// What a screen reader says of a row: the name, how much is unread, what was said last.
async fn row_names(window: &Window, pair: &str) {
    let name = window.label(&format!("[data-conversation-id='{pair}']")).await;
    assert!(name.starts_with("bob") && name.contains("20 unread") && name.contains("line 20"), "{name:?}");
}
