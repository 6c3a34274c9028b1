//! Where the log of a conversation stands on the page: at the first unread message, at its end, inside its frame.

use reqwest::Method;
use serde_json::{Value, json};
use tests::api::{Account, Api};
use tests::browser::{Driver, Window};
use tests::page::{open_conversation, window_of, write_stored};
use tests::users::{Talker, served};

/// What was said before, and read.
const READ: usize = 40;
const UNREAD: usize = 120;

/// Whether the last message is whole, above the lower edge of the log.
const NEWEST_IS_SEEN: &str = "[...document.querySelectorAll('.message')].at(-1)?.getBoundingClientRect().bottom \
    <= document.querySelector('.log-scroll').getBoundingClientRect().bottom + 1";

async fn unread_on_server(api: &Api, reader: &Account, conversation: &str) -> i64 {
    api.conversation(reader, conversation).await["unread"].as_i64().unwrap()
}

/// Scrolls the log to what is loaded of its end, until the server knows that everything is read.
async fn read_to_the_end(window: &Window) {
    window
        .until(
            "document.querySelector('.log-scroll').scrollTop = 1e9, \
             document.querySelector('.conversation[aria-current] .unread').hidden",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_opens_at_the_first_unread_message_and_what_is_seen_is_read() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let driver = Driver::start().await;
    let pair = ann.pair_with(&bob);
    let mut talker = Talker::connect(&server, &bob).await;
    for n in 1..=READ + UNREAD {
        talker.say(&pair, &format!("line {n}")).await;
    }
    let mark = Some(json!({"seqId": READ}));
    api.ok(Method::POST, &format!("/api/conversations/{pair}/read"), &ann, mark).await;
    while unread_on_server(&api, &ann, &pair).await > UNREAD as i64 {}

    let window = window_of(&driver, &server, &ann).await;
    open_conversation(&window, &pair).await;
    window.shows("unread-line", "120 unread").await;
    let place = window
        .run(
            "const top = (css) => document.querySelector(css).getBoundingClientRect().top; \
             return top('.unread-line') - top('.log-scroll');",
        )
        .await;
    assert!((0.0..200.0).contains(&place.as_f64().unwrap()), "the line stands at {place}");
    let first = window.run("return document.querySelector('.unread-line + .message').dataset.seq").await;
    assert_eq!(first, (READ + 1).to_string());
    // What can be seen is read, and no more.
    while unread_on_server(&api, &ann, &pair).await == UNREAD as i64 {}
    let left = unread_on_server(&api, &ann, &pair).await;
    assert!(left > UNREAD as i64 / 2, "{left} are left");

    jumps_to_the_newest(&window, &mut talker, &pair).await;
    while unread_on_server(&api, &ann, &pair).await > 0 {}
    // Nothing is missing, and nothing came twice.
    window
        .until(
            "(document.querySelector('.log-scroll').scrollTop = 0, document.querySelector(\".message[data-seq='1']\"))",
        )
        .await;
    let seqs =
        window.run("return [...document.querySelectorAll('.message')].map((row) => Number(row.dataset.seq))").await;
    assert_eq!(seqs, json!((1..=READ + UNREAD + 1).collect::<Vec<_>>()));
    window.close().await;
}

/// The button to the newest message counts what is below, belongs to its conversation, and goes.
async fn jumps_to_the_newest(window: &Window, talker: &mut Talker, pair: &str) {
    window.until("!document.querySelector('.jump').hidden").await;
    let count = "document.querySelector('[data-testid=jump-count]').textContent";
    let before = window.run(&format!("return {count}")).await;
    assert_eq!(
        before,
        window.run("return document.querySelector('.conversation[aria-current] .unread').firstChild.data").await
    );
    window.click_on("[data-conversation-id='world']").await;
    window.shows("chat-title", "World").await;
    window.until("document.querySelector('.jump').hidden").await;
    open_conversation(window, pair).await;
    window.until("!document.querySelector('.jump').hidden").await;
    read_to_the_end(window).await;
    window.until("document.querySelector('.jump').hidden").await;

    window.run("document.querySelector('.log-scroll').scrollTop = 0").await;
    window.until("!document.querySelector('.jump').hidden").await;
    talker.say(pair, "one more").await;
    window.until(&format!("{count} === '1'")).await;
    window.click("jump").await;
    window.until(&format!("document.querySelector('.jump').hidden && {NEWEST_IS_SEEN}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_message_and_its_tools_stay_in_view_on_a_phone() {
    let (server, _, [ann, bob]) = served(["ann", "bob"]).await;
    let driver = Driver::start().await;
    let pair = ann.pair_with(&bob);
    let mut talker = Talker::connect(&server, &bob).await;
    for n in 1..=30 {
        talker.say(&pair, &format!("line {n}, which is long enough to take two rows on a phone")).await;
    }
    let window = window_of(&driver, &server, &ann).await;
    window.screen(390, 780, 2.0, true).await;
    open_conversation(&window, &pair).await;
    read_to_the_end(&window).await;
    the_end_stays_in_view(&window).await;
    tools_open_inside_the_log(&window).await;
    an_empty_composer_has_no_scrollbar(&window).await;
    window.close().await;
}

async fn the_end_stays_in_view(window: &Window) {
    window.until(NEWEST_IS_SEEN).await;
    // The keyboard takes half of the page.
    window.screen(390, 420, 2.0, true).await;
    window.until(&format!("innerHeight === 420 && {NEWEST_IS_SEEN}")).await;
    // What one writes takes more.
    window.type_into("composer", "a\u{e008}\u{e007}b\u{e007}c\u{e007}d\u{e000}").await;
    window.until(&format!("document.querySelector('textarea').offsetHeight > 100 && {NEWEST_IS_SEEN}")).await;
    window.screen(390, 780, 2.0, true).await;
    window.until(&format!("innerHeight === 780 && {NEWEST_IS_SEEN}")).await;
    window.run("const field = document.querySelector('textarea'); field.value = ''; field.dispatchEvent(new Event('input'))").await;
    // Safari lays the keyboard over the page, and tells only the visual viewport.
    let cover = |height: u32| {
        format!(
            "Object.defineProperty(visualViewport, 'height', {{value: {height}, configurable: true}}); \
             visualViewport.dispatchEvent(new Event('resize'));"
        )
    };
    window.run(&cover(400)).await;
    window
        .until(&format!(
            "document.querySelector('.composer').getBoundingClientRect().bottom <= 400 && {NEWEST_IS_SEEN}"
        ))
        .await;
    window.run(&cover(780)).await;
    window
        .until(&format!("document.querySelector('.composer').getBoundingClientRect().bottom > 700 && {NEWEST_IS_SEEN}"))
        .await;
}

/// Taps on the newest and the oldest message that can be seen, and on their reactions.
async fn tools_open_inside_the_log(window: &Window) {
    let inside = |css: &str| {
        format!(
            "(() => {{ const [at, frame] = [document.querySelector('{css}'), document.querySelector('.log-frame')] \
             .map((node) => node?.getBoundingClientRect()); return at && at.height > 0 && at.top >= frame.top && \
             at.bottom <= frame.bottom && at.left >= frame.left && at.right <= frame.right; }})()"
        )
    };
    for which in [
        "at(-1)",
        "find((row) => row.getBoundingClientRect().top > document.querySelector('.log-scroll').getBoundingClientRect().top)",
    ] {
        window
            .run(&format!("[...document.querySelectorAll('.message')].{which}.querySelector('.bubble').click()"))
            .await;
        window.until(&inside(".is-touched .toolbar")).await;
        window.until("getComputedStyle(document.querySelector('.is-touched .toolbar')).opacity === '1'").await;
        window.click_on(".is-touched [data-testid='message-react']").await;
        window.until(&inside(".picker:not([hidden])")).await;
    }
}

async fn an_empty_composer_has_no_scrollbar(window: &Window) {
    for ratio in [1.0, 1.25, 1.5, 2.0, 2.75] {
        window.screen(1100, 700, ratio, false).await;
        window.until(&format!("devicePixelRatio === {ratio}")).await;
        let style = "const field = document.querySelector('textarea'); field.dispatchEvent(new Event('input')); \
                     return [getComputedStyle(field).overflowY, field.offsetWidth - field.clientWidth <= 2]";
        assert_eq!(window.run(style).await, json!(["hidden", true]), "at {ratio}");
    }
    let full = "const field = document.querySelector('textarea'); field.value = 'line\\n'.repeat(60); \
                field.dispatchEvent(new Event('input')); return getComputedStyle(field).overflowY";
    assert_eq!(window.run(full).await, Value::from("auto"), "what does not fit can be scrolled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_nobody_looks_stays_unread() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let driver = Driver::start().await;
    let pair = ann.pair_with(&bob);
    let mut talker = Talker::connect(&server, &bob).await;
    talker.say(&pair, "line 0").await;
    let window = window_of(&driver, &server, &ann).await;
    open_conversation(&window, &pair).await;
    write_stored(&window, "I look").await;

    window.run("document.hasFocus = () => false").await;
    for n in 1..=40 {
        talker.say(&pair, &format!("line {n}")).await;
    }
    window.shows("unread-line", "40 unread").await;
    window.shows("message-text", "line 40").await;
    assert_eq!(unread_on_server(&api, &ann, &pair).await, 40);
    window.run("delete document.hasFocus; window.dispatchEvent(new Event('focus'))").await;
    while unread_on_server(&api, &ann, &pair).await == 40 {}
    let left = unread_on_server(&api, &ann, &pair).await;
    assert!(left > 10, "only what is on the screen was read, but {left} are left");
    window.close().await;
}
