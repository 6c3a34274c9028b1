//! Clients of an installation that is measured: accounts over REST, sockets that have said `hello`.

use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// A WebSocket of a client.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Sign-ups and connections under way at once.
const AT_ONCE: usize = 16;
/// How long a server that is busy is asked again.
const BUSY_MAX: Duration = Duration::from_secs(60);
/// How long to wait before a busy server is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long a socket may take to say `hello`.
const HELLO_MAX: Duration = Duration::from_secs(30);
/// What a client reads and writes at once: thousands of them live in one process.
const BUFFER_BYTES: usize = 4 * 1_024;

/// What a client could not do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one of plain HTTP.
    #[error("{address} is not an address like http://127.0.0.1:8080")]
    Address {
        /// What was given.
        address: String,
    },
    /// The server did not answer a call.
    #[error("{address} did not answer: is GoChat running there?")]
    Unanswered {
        address: String,
        #[source]
        source: reqwest::Error,
    },
    /// The server refused to sign a user up.
    #[error("{address} refused to sign {username} up: {status} {answer}")]
    Refused {
        address: String,
        username: String,
        /// With what status.
        status: StatusCode,
        /// And what words.
        answer: Value,
    },
    /// A socket could not be opened.
    #[error("no socket could be opened to {address}")]
    Connect {
        address: String,
        #[source]
        source: Box<SocketError>,
    },
    /// A socket was opened, and then did not say `hello` in time.
    #[error("a socket to {address} did not say hello within {} s", HELLO_MAX.as_secs())]
    NoHello { address: String },
}

/// A user who is signed in.
#[derive(Debug, Clone)]
pub struct Account {
    pub user_id: i64,
    /// The access token.
    pub token: String,
}

/// An installation, as clients reach it.
#[derive(Debug, Clone)]
pub struct Installation {
    http: reqwest::Client,
    /// `host:port`.
    authority: String,
}

impl Installation {
    /// The one at `http://host:port`.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn at(address: &str) -> Result<Self, ClientError> {
        let authority = address.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match authority.filter(|authority| !authority.is_empty() && !authority.contains('/')) {
            Some(authority) => Ok(Self { http: reqwest::Client::new(), authority: authority.to_owned() }),
            None => Err(ClientError::Address { address: address.to_owned() }),
        }
    }

    /// New users of these names, in their order, a few at a time.
    pub fn sign_ups(&self, names: Vec<String>) -> impl Stream<Item = Result<Account, ClientError>> + Send + use<'_> {
        stream::iter(names).map(|name| self.sign_up(name)).buffered(AT_ONCE)
    }

    async fn sign_up(&self, username: String) -> Result<Account, ClientError> {
        let url = format!("http://{}/api/auth/register", self.authority);
        let address = || self.authority.clone();
        let unanswered = |source| ClientError::Unanswered { address: address(), source };
        let body = json!({"username": username, "password": "correct horse battery staple"});
        let deadline = Instant::now() + BUSY_MAX;
        loop {
            let answer = self.http.post(&url).json(&body).send().await.map_err(unanswered)?;
            let status = answer.status();
            let answer: Value = answer.json().await.unwrap_or_default();
            let user_id = answer["userId"].as_str().and_then(|id| id.parse().ok());
            if let (StatusCode::CREATED, Some(user_id), Some(token)) = (status, user_id, answer["accessToken"].as_str())
            {
                return Ok(Account { user_id, token: token.to_owned() });
            }
            let busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            if !busy || Instant::now() >= deadline {
                return Err(ClientError::Refused { address: address(), username, status, answer });
            }
            sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// A socket for each of these accounts, in their order, a few at a time.
    pub fn connects<'a>(
        &'a self,
        accounts: &'a [Account],
    ) -> impl Stream<Item = Result<Socket, ClientError>> + Send + use<'a> {
        stream::iter(accounts).map(|account| self.connect(account)).buffered(AT_ONCE)
    }

    /// A socket that has said `hello`: from now on messages arrive.
    async fn connect(&self, account: &Account) -> Result<Socket, ClientError> {
        let url = format!("ws://{}/ws?token={}&device=bench", self.authority, account.token);
        let buffers = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
        let address = || self.authority.clone();
        // With Nagle's algorithm a frame would wait for the acknowledgement of the one before.
        let (mut socket, _) = connect_async_with_config(url, Some(buffers), true)
            .await
            .map_err(|source| ClientError::Connect { address: address(), source: Box::new(source) })?;
        match timeout(HELLO_MAX, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) if text.starts_with(r#"{"type":"hello""#) => Ok(socket),
            Ok(Some(Err(source))) => Err(ClientError::Connect { address: address(), source: Box::new(source) }),
            Ok(Some(Ok(_)) | None) | Err(_) => Err(ClientError::NoHello { address: address() }),
        }
    }
}
