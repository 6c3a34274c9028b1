//! Signing in on the page: for a tab or for the whole browser, and what is wrong with a form.

use serde_json::json;
use tests::browser::{Driver, Window};
use tests::page::{PASSWORD, sign_in, sign_up, write_stored};
use tests::users::served;

/// The refresh token of this browser's shared session.
const TOKEN: &str = "return JSON.parse(localStorage['gochat.session']).refreshToken";
/// Makes the token of the shared session old, for all tabs, and reloads the page in the same moment: a tab that is
/// reloaded while it renews the token loses the answer, and with it the sign-in.
const AGE_TOKEN_AND_RELOAD: &str = "const kept = JSON.parse(localStorage['gochat.session']); kept.expiresAt = 0; \
    localStorage['gochat.session'] = JSON.stringify(kept); location.reload()";

/// Does so at a point in time that several tabs agree on, and some milliseconds after it.
fn later(what: &str, after_ms: u32) -> String {
    format!("setTimeout(() => {{ {what} }}, 2000 - (Date.now() % 2000) + 500 + {after_ms})")
}

/// Whether the page was loaded anew since the mark was set, and is online.
const CAME_BACK: &str =
    "!window.before && document.querySelector('[data-testid=connection-state]')?.textContent === 'online'";

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_signed_in_is_so_in_every_tab_and_tabs_renew_one_after_the_other() {
    let (server, _, [_]) = served(["ann"]).await;
    let driver = Driver::start().await;
    let window = driver.open(&server.url("/")).await;
    sign_in(&window, "ann", true).await;
    let (second, first) = window.open_tab(&server.url("/")).await;
    window.shows("current-user", "ann").await;
    window.shows("connection-state", "online").await;

    let old = window.run(TOKEN).await;
    for (tab, reload) in [(&first, later("location.reload()", 20)), (&second, later(AGE_TOKEN_AND_RELOAD, 0))] {
        window.turn_to(tab).await;
        window.run(&format!("window.before = true; {reload}")).await;
    }
    for tab in [&first, &second] {
        window.turn_to(tab).await;
        window.until(CAME_BACK).await;
        window.shows("current-user", "ann").await;
    }
    let renewed = window.run(TOKEN).await;
    assert!(renewed.is_string() && renewed != old, "the token was renewed");
    // The family of tokens goes on: once more, from one tab.
    window.run(&format!("window.before = true; {AGE_TOKEN_AND_RELOAD}")).await;
    window.until(CAME_BACK).await;

    // Signing out in one tab ends it in the other, and for new ones.
    window.click("sign-out").await;
    window.find("[data-testid='signin-username']").await;
    window.turn_to(&first).await;
    window.shows("notice", "signed out in another tab").await;
    window.open_tab(&server.url("/")).await;
    window.find("[data-testid='signin-username']").await;

    // Without it a tab is on its own.
    sign_in(&window, "ann", false).await;
    window.open_tab(&server.url("/")).await;
    window.find("[data-testid='signin-username']").await;
    window.close().await;
}

/// What is said at the field with this test id, once it is: the field names the sentence, and is invalid.
async fn says_at(window: &Window, id: &str, text: &str) {
    window
        .until(&format!(
            "(() => {{ const field = document.querySelector('[data-testid={id}]'); \
             return field.getAttribute('aria-invalid') === 'true' && field === document.activeElement && \
             document.getElementById(field.getAttribute('aria-describedby'))?.textContent.includes('{text}'); }})()"
        ))
        .await;
}

async fn sign_in_forms(window: &Window) {
    window.click("signin-submit").await;
    says_at(window, "signin-username", "Enter your username").await;
    window.type_into("signin-username", "ann").await;
    window.until("!document.querySelector('[aria-invalid=true]') && !document.querySelector('.field-error')").await;
    window.type_into("signin-password", "wrong horse").await;
    window.click("signin-submit").await;
    says_at(window, "signin-password", "").await;

    window.click("show-signup").await;
    window.type_into("signup-username", "a").await;
    window.click("signup-submit").await;
    says_at(window, "signup-username", "3 to 32").await;
    window.type_into("signup-username", "nn").await;
    window.type_into("signup-password", "short").await;
    window.click("signup-submit").await;
    says_at(window, "signup-password", "at least 8").await;
    window.type_into("signup-password", PASSWORD).await;
    window.click("signup-submit").await;
    says_at(window, "signup-username", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_form_is_said_at_its_field() {
    let (server, _, [_]) = served(["ann"]).await;
    let driver = Driver::start().await;
    let stranger = driver.open(&server.url("/")).await;
    sign_in_forms(&stranger).await;
    stranger.close().await;

    let window = sign_up(&driver, &server, "bob").await;
    window.type_into("new-chat-username", "nobody").await;
    window.click("new-chat-submit").await;
    says_at(&window, "new-chat-username", "nobody called “nobody”").await;

    window.click("show-new-group").await;
    window.click("group-submit").await;
    says_at(&window, "group-name", "Give the group a name").await;
    window.type_into("group-name", "tea").await;
    window.type_into("group-members", "ann, nobody").await;
    window.click("group-submit").await;
    says_at(&window, "group-members", "nobody called “nobody”").await;
    window.run("document.querySelector('[data-testid=group-members]').value = ''").await;
    window.type_into("group-members", "ann").await;
    window.click("group-submit").await;
    window.shows("chat-title", "tea").await;

    window.click("group-info").await;
    window.until("document.querySelector('[data-testid=group-rename]') !== null").await;
    window.run("document.querySelector('[data-testid=group-rename]').value = ' '").await;
    window.click("group-rename-submit").await;
    says_at(&window, "group-rename", "Give the group a name").await;
    window.type_into("group-add", "nobody").await;
    window.click("group-add-submit").await;
    says_at(&window, "group-add", "nobody called").await;
    window.click("dialog-close").await;

    window.click("show-profile").await;
    window.until("document.querySelector('[data-testid=profile-name]').value === 'bob'").await;
    window.type_into("profile-picture", "javascript:alert(1)").await;
    window.click("profile-submit").await;
    says_at(&window, "profile-picture", "begins with https://").await;
    window.click("dialog-close").await;

    // Too long a message is told where one writes it.
    let long = "const field = document.querySelector('textarea'); field.value = 'é'.repeat(4100); field.dispatchEvent(new Event('input'))";
    window.run(long).await;
    window.shows("composer-room", "8 bytes too long").await;
    let field = "const field = document.querySelector('textarea'); return [field.getAttribute('aria-invalid'), \
                 document.getElementById(field.getAttribute('aria-describedby')).textContent]";
    assert_eq!(window.run(field).await, json!(["true", "8 bytes too long"]));
    window.run("const field = document.querySelector('textarea'); field.value = ''; field.dispatchEvent(new Event('input'))").await;
    write_stored(&window, "short enough").await;
    window.close().await;
}
