//! Two people chat on the page, in a real browser, also after the server was killed and started again.

use tests::browser::{Driver, Window};
use tests::server::Server;

async fn sign_up(driver: &Driver, server: &Server, name: &str) -> Window {
    let window = driver.open(&server.url("/")).await;
    window.click("show-signup").await;
    window.type_into("signup-username", name).await;
    window.type_into("signup-password", "correct horse").await;
    window.click("signup-submit").await;
    window.shows("connection-state", "online").await;
    window
}

async fn say(window: &Window, text: &str) {
    window.type_into("composer", text).await;
    window.click("send").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_chat_on_the_page_also_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let driver = Driver::start().await;
    let ann = sign_up(&driver, &server, "ann").await;
    let bob = sign_up(&driver, &server, "bob").await;

    ann.type_into("new-chat-username", "bob").await;
    ann.click("new-chat-submit").await;
    say(&ann, "hello bob").await;
    ann.shows("message-text", "hello bob").await;
    ann.find("[data-testid='message'][data-state='stored']").await;

    bob.click_on("[data-testid='conversation-item'][data-conversation-id^='single_']").await;
    bob.shows("message-text", "hello bob").await;
    say(&bob, "hello ann").await;
    ann.shows("message-text", "hello ann").await;

    let (http, grpc) = (server.http, server.grpc);
    server.kill().await;
    let server = Server::start_at(data.path(), http, grpc).await;
    ann.shows("connection-state", "online").await;
    bob.shows("connection-state", "online").await;
    say(&ann, "still there?").await;
    bob.shows("message-text", "still there?").await;
    say(&bob, "still here").await;
    ann.shows("message-text", "still here").await;

    // Nothing came twice, nothing is missing.
    for window in [&ann, &bob] {
        assert_eq!(window.count("[data-testid='message'][data-seq]").await, 4);
    }
    ann.close().await;
    bob.close().await;
    assert!(server.stop().await.success());
}
