//! Many clients of an installation that is measured: signed up and connected, a few at a time.

use std::time::Duration;

use futures::{Stream, StreamExt, stream};
pub use outside::api::Account;
use outside::api::Api;
pub use outside::socket::Socket;
use outside::socket::{connect, receive_type};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Sign-ups and connections under way at once.
const AT_ONCE: usize = 16;
/// How long a server that is busy is asked again.
const BUSY_MAX: Duration = Duration::from_secs(60);
/// How long to wait before a busy server is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
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
    /// A socket could not be opened, or did not say `hello`.
    #[error("no socket could be opened to {address}: {why}")]
    Connect { address: String, why: String },
}

/// An installation, as clients reach it.
#[derive(Debug, Clone)]
pub struct Installation {
    api: Api,
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
            Some(authority) => Ok(Self { api: Api::new(authority), authority: authority.to_owned() }),
            None => Err(ClientError::Address { address: address.to_owned() }),
        }
    }

    /// New users of these names, in their order, a few at a time.
    pub fn sign_ups(&self, names: Vec<String>) -> impl Stream<Item = Result<Account, ClientError>> + Send + use<'_> {
        stream::iter(names).map(|name| self.sign_up(name)).buffered(AT_ONCE)
    }

    async fn sign_up(&self, username: String) -> Result<Account, ClientError> {
        let address = || self.authority.clone();
        let unanswered = |source| ClientError::Unanswered { address: address(), source };
        let body = json!({"username": username, "password": "correct horse battery staple"});
        let deadline = Instant::now() + BUSY_MAX;
        loop {
            let call = self.api.try_call(Method::POST, "/api/auth/register", None, Some(body.clone()));
            let (status, answer) = call.await.map_err(unanswered)?;
            if status == StatusCode::CREATED {
                return Ok(Account::from_answer(&answer, &username));
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
        let failed = |why| ClientError::Connect { address: self.authority.clone(), why };
        let mut socket = connect(&self.authority, &account.token).await.map_err(failed)?;
        receive_type(&mut socket, "hello").await.map_err(failed)?;
        Ok(socket)
    }
}
