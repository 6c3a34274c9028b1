//! What people write and are called, on the page: directions, links, points in time.

use reqwest::Method;
use serde_json::json;
use tests::browser::{Driver, Window};
use tests::page::{open_conversation, sign_in};
use tests::users::{Talker, served};

const HEBREW_NAME: &str = "דנה לוי";
const TEXTS: [&str; 8] = [
    "שלום",
    "שלום, מה שלומך היום? הכול בסדר אצלי",
    "مرحبا كيف حالك اليوم يا صديقي العزيز",
    "שלום abc 123 עולם (test) !",
    "abc שלום עולם 123",
    "זה טקסט ארוך מאוד שנמשך על פני כמה שורות, כדי לבדוק שהשעה לא מודפסת על הטקסט עצמו כאשר הוא נכתב מימין לשמאל, גם כאן",
    "first line\nשורה שנייה\nthird",
    "Left to right, and long enough to take more than one line of its bubble, so that the time stands below it: really.",
];

/// Pairs of a text and its time that lie on each other.
const OVERLAPS: &str = "return [...document.querySelectorAll('.bubble')].filter((bubble) => { \
    const time = bubble.querySelector('.meta').getBoundingClientRect(); const range = document.createRange(); \
    range.selectNodeContents(bubble.querySelector('.message-text')); \
    return [...range.getClientRects()].some((line) => line.width > 0 && line.left < time.right - 1 && line.right > time.left + 1 \
      && line.top < time.bottom - 1 && line.bottom > time.top + 1); }).map((bubble) => bubble.textContent)";

async fn links_lead_where_they_say(window: &Window) {
    let links = window
        .run("return [...document.querySelectorAll('.message-text a')].map((a) => [a.textContent, a.href])")
        .await;
    let expected = json!([
        ["https://example.org/wiki/Rust_(language)", "https://example.org/wiki/Rust_(language)"],
        ["www.example.org", "https://www.example.org/"],
        ["ann@example.org", "mailto:ann@example.org"],
        ["https://аpple.com", "https://xn--pple-43d.com/"],
    ]);
    assert_eq!(links, expected);
    window.shows("message-text", "(xn--pple-43d.com)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_either_direction_is_shown_with_its_links_and_the_readers_time() {
    let (server, api, [ann, bob, carl]) = served(["ann", "bob", "carl"]).await;
    let driver = Driver::start().await;
    for user in [&bob, &carl] {
        api.ok(Method::PATCH, "/api/users/me", user, Some(json!({"displayName": HEBREW_NAME}))).await;
    }
    let group = api.group(&ann, "קבוצה 7", std::slice::from_ref(&bob.user_id)).await;
    let members = format!("/api/groups/{}/members", group.trim_start_matches("group_"));
    api.ok(Method::POST, &members, &ann, Some(json!({"userIds": [carl.user_id]}))).await;
    let mut talkers = Talker::all(&server, [&bob, &ann]).await;
    for talker in &mut talkers {
        for text in TEXTS {
            talker.say(&group, text).await;
        }
    }
    let text = "(see https://example.org/wiki/Rust_(language)), www.example.org, ann@example.org! \
                https://аpple.com. javascript:alert(1)";
    talkers[0].say(&group, text).await;

    let window = driver.open(&server.url("/")).await;
    window.devtools("Emulation.setTimezoneOverride", json!({"timezoneId": "Asia/Kolkata"})).await;
    window.devtools("Emulation.setLocaleOverride", json!({"locale": "de-DE"})).await;
    window.goto(&server.url("/")).await;
    sign_in(&window, "ann", false).await;
    open_conversation(&window, &group).await;
    window.shows("message-text", "javascript:alert(1)").await;
    for (width, height) in [(1200, 800), (390, 780)] {
        window.screen(width, height, 1.0, false).await;
        window.until(&format!("innerWidth === {width}")).await;
        assert_eq!(window.run(OVERLAPS).await, json!([]), "at {width}");
        assert_eq!(window.run("return document.documentElement.scrollWidth - innerWidth").await, 0, "at {width}");
    }
    window.screen(1200, 800, 1.0, false).await;
    // A name keeps its direction to itself: in the log, the title, a system line and the list.
    let isolated = format!(
        "return ['.sender', '.chat-title h2', '.system', '.conversation-title', '.conversation-preview'].filter((css) => \
         ![...document.querySelectorAll(css + ' bdi')].some((name) => ['{HEBREW_NAME}', 'קבוצה 7'].includes(name.textContent)))"
    );
    window.shows("message-sender", HEBREW_NAME).await;
    assert_eq!(window.run(&isolated).await, json!([]));
    links_lead_where_they_say(&window).await;

    // Half past the hour, in India; in the words of a German reader.
    let times = window
        .run(
            "const time = document.querySelector('.message time'); const there = new Date(Date.parse(time.dateTime) + 19800000); \
             return [time.textContent === there.toISOString().slice(11, 16), time.title.includes(String(there.getUTCFullYear())), \
             /^(Heute|Gestern)$/.test(document.querySelector('.day').textContent), /T.*Z$/.test(time.dateTime)]",
        )
        .await;
    assert_eq!(times, json!([true, true, true, true]));
    window.close().await;
}
