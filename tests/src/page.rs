//! The web page as its users see it, in a browser.

use crate::api::Account;
use crate::browser::{Driver, Window};
use crate::server::Server;

/// The password of everybody in tests.
pub const PASSWORD: &str = "correct horse";

/// A new user in a window of their own.
pub async fn sign_up(driver: &Driver, server: &Server, name: &str) -> Window {
    let window = driver.open(&server.url("/")).await;
    window.click("show-signup").await;
    window.type_into("signup-username", name).await;
    window.type_into("signup-password", PASSWORD).await;
    window.click("signup-submit").await;
    window.shows("connection-state", "online").await;
    window
}

/// Signs a user in, on the page that a window shows.
pub async fn sign_in(window: &Window, name: &str, stay: bool) {
    window.type_into("signin-username", name).await;
    window.type_into("signin-password", PASSWORD).await;
    if stay {
        window.click("signin-stay").await;
    }
    window.click("signin-submit").await;
    window.shows("connection-state", "online").await;
}

/// A user's window, signed in and online.
pub async fn window_of(driver: &Driver, server: &Server, account: &Account) -> Window {
    let window = driver.open(&server.url("/")).await;
    sign_in(&window, &account.username, false).await;
    window
}

/// Turns a window to a conversation of the list.
pub async fn open_conversation(window: &Window, conversation: &str) {
    window.click_on(&format!("[data-conversation-id='{conversation}']")).await;
    window.find(".log li").await;
}

/// Types a message and sends it.
pub async fn write(window: &Window, text: &str) {
    window.type_into("composer", text).await;
    window.click("send").await;
}

/// Types a message and sends it, and waits until it is stored.
pub async fn write_stored(window: &Window, text: &str) {
    write(window, text).await;
    window.find("[data-testid='message'][data-state='stored']").await;
}
