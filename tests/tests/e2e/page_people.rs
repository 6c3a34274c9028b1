//! Who people are on the page: their names and pictures; and being told when they write.

use reqwest::Method;
use serde_json::json;
use tests::browser::{Driver, Window};
use tests::page::{open_conversation, window_of, write_stored};
use tests::users::{Talker, served};

#[tokio::test(flavor = "multi_thread")]
async fn people_are_shown_by_the_names_and_pictures_that_they_choose() {
    let (server, api, [ann, bob, carl]) = served(["ann", "bob", "carl"]).await;
    let driver = Driver::start().await;
    api.ok(Method::PATCH, "/api/users/me", &carl, Some(json!({"displayName": "Carl the Third"}))).await;
    let group = api.group(&bob, "tea", &[ann.user_id.clone(), carl.user_id.clone()]).await;
    Talker::connect(&server, &carl).await.say(&group, "hello").await;

    // Nobody's name was told to the page: it looks them up.
    let window = window_of(&driver, &server, &ann).await;
    let calls = "performance.getEntriesByType('resource').filter((it) => it.name.includes('/users/by-id')).length";
    window.until("document.querySelector('.conversation-preview bdi')?.textContent === 'Carl the Third'").await;
    assert!(window.run(&format!("return {calls}")).await.as_i64().unwrap() <= 3, "names are looked up together");

    // A picture that can be loaded, of this server itself; and one that can't leaves the initials.
    window.click("show-profile").await;
    window.until("document.querySelector('[data-testid=profile-name]').value === 'ann'").await;
    let empty = "const field = document.querySelector('[data-testid=profile-name]'); field.value = ''; \
                 field.dispatchEvent(new Event('input', {bubbles: true}))";
    window.run(empty).await;
    window.type_into("profile-name", "Änn Ämple").await;
    window.type_into("profile-picture", &server.url("/assets/icon.svg")).await;
    window.click("profile-submit").await;
    window.shows("notice", "profile is saved").await;
    window.shows("current-name", "Änn Ämple").await;
    window.until("document.querySelector('.sidebar-foot [data-testid=avatar-image]')?.naturalWidth > 0").await;
    window.click("dialog-close").await;
    let me = api.ok(Method::GET, "/api/users/me", &ann, None).await;
    assert_eq!((&me["displayName"], &me["avatarUrl"]), (&json!("Änn Ämple"), &json!(server.url("/assets/icon.svg"))));
    window.close().await;

    for url in ["https://127.0.0.1:1/none.png", "http://127.0.0.1:1/none.png"] {
        api.ok(Method::PATCH, "/api/users/me", &carl, Some(json!({"avatarUrl": url}))).await;
        let window = window_of(&driver, &server, &bob).await;
        open_conversation(&window, &group).await;
        window.shows("message-sender", "Carl the Third").await;
        let face = "document.querySelector('.message-face .avatar').innerText.trim() === 'CT'";
        window.until(&format!("{face} && !document.querySelector('.message-face img')")).await;
        window.close().await;
    }
    for bad in ["javascript:alert(1)", "data:image/png;base64,AA", "ftp://example.org/a.png"] {
        let body = Some(json!({"avatarUrl": bad}));
        let (status, _) = api.call(Method::PATCH, "/api/users/me", Some(&carl.token), body).await;
        assert_eq!(status, 400, "{bad}");
    }
}

/// Counts what the browser would show and play.
const RECORD: &str = "window.told = []; window.notes = 0; \
    const Real = window.Notification; \
    window.Notification = class extends Real { constructor(title, options) { super(title, options); window.told.push([title, options.body]); } }; \
    const start = OscillatorNode.prototype.start; \
    OscillatorNode.prototype.start = function (...args) { window.notes += 1; return start.apply(this, args); };";

async fn choose(window: &Window, setting: &str) {
    window.click("show-profile").await;
    window.click(&format!("setting-{setting}")).await;
    window.click("dialog-close").await;
    window.until("!document.querySelector('dialog')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_it_is_told_of_messages_that_are_not_in_view() {
    let (server, _, [ann, bob]) = served(["ann", "bob"]).await;
    let driver = Driver::start().await;
    let pair = ann.pair_with(&bob);
    let mut talker = Talker::connect(&server, &bob).await;
    talker.say(&pair, "before").await;
    let window = window_of(&driver, &server, &ann).await;
    open_conversation(&window, &pair).await;
    window.run(RECORD).await;
    // Told only after a choice of the user, and only when the browser allows it.
    window
        .devtools("Browser.setPermission", json!({"permission": {"name": "notifications"}, "setting": "denied"}))
        .await;
    window.click("show-profile").await;
    window.click("setting-notify").await;
    window.shows("field-error", "blocked").await;
    assert_eq!(window.run("return document.querySelector('[data-testid=setting-notify]').checked").await, false);
    window.click("dialog-close").await;
    window
        .devtools("Browser.setPermission", json!({"permission": {"name": "notifications"}, "setting": "granted"}))
        .await;

    // In view: neither. Out of view: as chosen.
    choose(&window, "notify").await;
    talker.say(&pair, "in view").await;
    window.shows("message-text", "in view").await;
    talker.hears("read-receipt").await;
    window.click_on("[data-conversation-id='world']").await;
    window.shows("chat-title", "World").await;
    talker.say(&pair, "out of view").await;
    window.until("window.told.length === 1").await;
    assert_eq!(window.run("return [window.told, window.notes]").await, json!([[["bob", "out of view"]], 0]));

    choose(&window, "notify").await;
    choose(&window, "sound").await;
    window.until("window.notes === 2").await; // how it sounds
    talker.say(&pair, "heard").await;
    window.until("window.notes === 4").await;
    assert_eq!(window.run("return window.told.length").await, 1);

    // Who looks elsewhere is told too; a click leads there.
    choose(&window, "notify").await;
    window.run("document.hasFocus = () => false; window.focus = () => {}").await;
    open_conversation(&window, &pair).await;
    talker.say(&pair, "behind another window").await;
    window.until("window.told.length === 2").await;
    window.run("delete document.hasFocus").await;
    write_stored(&window, "seen").await;
    window.close().await;
}
