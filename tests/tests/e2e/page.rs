//! Two people chat on the page, in a real browser, also after the server was killed and started again.

use tests::browser::Driver;
use tests::page::{sign_up, write};
use tests::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn two_people_chat_on_the_page_also_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let driver = Driver::start().await;
    let ann = sign_up(&driver, &server, "ann").await;
    let bob = sign_up(&driver, &server, "bob").await;

    ann.type_into("new-chat-username", "bob").await;
    ann.click("new-chat-submit").await;
    write(&ann, "hello bob").await;
    ann.shows("message-text", "hello bob").await;
    ann.find("[data-testid='message'][data-state='stored']").await;

    bob.click_on("[data-testid='conversation-item'][data-conversation-id^='single_']").await;
    bob.shows("message-text", "hello bob").await;
    write(&bob, "hello ann").await;
    ann.shows("message-text", "hello ann").await;

    let (http, grpc) = (server.http, server.grpc);
    server.kill().await;
    let server = Server::start_at(data.path(), http, grpc).await;
    ann.shows("connection-state", "online").await;
    bob.shows("connection-state", "online").await;
    write(&ann, "still there?").await;
    bob.shows("message-text", "still there?").await;
    write(&bob, "still here").await;
    ann.shows("message-text", "still here").await;

    // Nothing came twice, nothing is missing.
    for window in [&ann, &bob] {
        assert_eq!(window.count("[data-testid='message'][data-seq]").await, 4);
    }
    ann.close().await;
    bob.close().await;
    assert!(server.stop().await.success());
}
