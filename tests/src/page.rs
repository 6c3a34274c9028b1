//! The web page as its users see it, in a browser; and what others say meanwhile, over a socket.

use serde_json::{Value, json};

use crate::api::Account;
use crate::browser::{Driver, Window};
use crate::client::{Socket, connect, receive_type, send};
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

/// Somebody who talks without a page.
pub struct Talker {
    socket: Socket,
    said: usize,
}

impl Talker {
    pub async fn connect(server: &Server, account: &Account) -> Self {
        let mut socket = connect(server.http, &account.token).await.expect("it connects");
        receive_type(&mut socket, "hello").await.expect("hello first");
        Self { socket, said: 0 }
    }

    /// Says something; it is stored then, and its seq is returned.
    pub async fn say(&mut self, conversation: &str, content: &str) -> i64 {
        self.put("send-message", json!({"conversationId": conversation, "messageType": "text", "content": content}))
            .await
    }

    /// Sends a frame of the chain, and returns the seq that it got.
    pub async fn put(&mut self, kind: &str, mut data: Value) -> i64 {
        self.said += 1;
        data["clientMsgId"] = json!(format!("said-{}", self.said));
        send(&mut self.socket, &json!({"type": kind, "data": data})).await.expect("it is connected");
        let stored = receive_type(&mut self.socket, "message-stored").await.expect("it is stored");
        stored["seqId"].as_i64().expect("a seq")
    }

    /// Waits for a frame of this type.
    pub async fn hears(&mut self, kind: &str) -> Value {
        receive_type(&mut self.socket, kind).await.expect("the frame comes")
    }
}
