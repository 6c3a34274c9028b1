//! Users of a server: signed up, and each talking over a socket.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use schemas::pb::CreateUserRequest;
use serde_json::{Value, json};
use stages::repo::client::user_repo_client::UserRepoClient;

use crate::api::{Account, Api};
use crate::client::{Socket, connect, receive_type, send};
use crate::server::Server;

/// A server with data of its own, and these users.
pub async fn served<const N: usize>(names: [&str; N]) -> (Server, Api, [Account; N]) {
    let server = Server::fresh().await;
    let api = Api::new(server.http);
    let accounts = registered(&api, names).await;
    (server, api, accounts)
}

/// New users of these names.
pub async fn registered<const N: usize>(api: &Api, names: [&str; N]) -> [Account; N] {
    let mut accounts = Vec::new();
    for name in names {
        accounts.push(api.register(name).await);
    }
    accounts.try_into().expect("an account a name")
}

/// Ids of users who are in the store and never sign in: those of these numbers.
pub async fn quiet_users(repo: SocketAddr, numbers: Range<usize>) -> Vec<String> {
    let mut repo = UserRepoClient::connect(format!("http://{repo}")).await.expect("the repo answers");
    let mut ids = Vec::new();
    for n in numbers {
        let request = CreateUserRequest { username: format!("quiet{n}"), ..CreateUserRequest::default() };
        let user = repo.create_user(request).await.expect("a user is made").into_inner();
        ids.push(user.user_id.to_string());
    }
    ids
}

/// A user at a socket.
pub struct Talker {
    pub socket: Socket,
}

/// Numbers what is said, so that no two messages have one clientMsgId.
static SAID: AtomicU64 = AtomicU64::new(1);

impl Talker {
    /// One who was greeted.
    pub async fn connect(server: &Server, account: &Account) -> Self {
        let mut talker = Self { socket: connect(server.http, &account.token).await.expect("it connects") };
        let hello = talker.hears("hello").await;
        assert_eq!((&hello["userId"], &hello["protocol"]), (&json!(account.user_id), &json!(1)), "{hello}");
        talker
    }

    /// These users, each at a socket.
    pub async fn all<const N: usize>(server: &Server, accounts: [&Account; N]) -> [Self; N] {
        let mut talkers = Vec::new();
        for account in accounts {
            talkers.push(Self::connect(server, account).await);
        }
        talkers.try_into().ok().expect("a talker an account")
    }

    /// Sends a frame.
    pub async fn send(&mut self, kind: &str, data: Value) {
        send(&mut self.socket, &json!({"type": kind, "data": data})).await.expect("it is connected");
    }

    /// Says something; it is stored then, as is returned.
    pub async fn say(&mut self, conversation: &str, content: &str) -> Value {
        self.put("send-message", text(conversation, content)).await
    }

    /// Sends a frame of the chain, under a clientMsgId of its own unless it has one, and returns how it is stored.
    pub async fn put(&mut self, kind: &str, mut data: Value) -> Value {
        if data["clientMsgId"].is_null() {
            data["clientMsgId"] = json!(format!("said-{}", SAID.fetch_add(1, Ordering::Relaxed)));
        }
        self.send(kind, data).await;
        self.hears("message-stored").await
    }

    /// What an `error` says about a frame.
    pub async fn refused(&mut self, kind: &str, data: Value) -> Value {
        self.send(kind, data).await;
        self.hears("error").await
    }

    /// Waits for a frame of this type.
    pub async fn hears(&mut self, kind: &str) -> Value {
        receive_type(&mut self.socket, kind).await.unwrap_or_else(|e| panic!("{kind}: {e}"))
    }
}

/// The data of `send-message`, but for its clientMsgId.
pub fn text(conversation: &str, content: &str) -> Value {
    json!({"conversationId": conversation, "messageType": "text", "content": content})
}

/// The fields of both objects.
pub fn with(mut data: Value, more: Value) -> Value {
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    data
}
