//! REST as a client uses it.

use std::fmt::Display;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A signed-in user.
#[derive(Debug, Clone)]
pub struct Account {
    /// Id, as JSON writes it.
    pub user_id: String,
    pub username: String,
    pub token: String,
    pub refresh_token: String,
}

/// Calls of one server.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    /// `host:port`.
    at: String,
}

impl Api {
    /// Calls of the server at this address.
    pub fn new(at: impl Display) -> Self {
        Self { http: reqwest::Client::new(), at: at.to_string() }
    }

    /// One call: status and JSON body (`null` when empty).
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        self.try_call(method, path, token, body).await.expect("the server answers")
    }

    /// The same of a server that may not answer.
    ///
    /// # Errors
    /// When it does not.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<(StatusCode, Value), reqwest::Error> {
        let mut request = self.http.request(method, format!("http://{}{path}", self.at));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Ok((status, body))
    }

    /// A call that succeeds.
    pub async fn ok(&self, method: Method, path: &str, account: &Account, body: Option<Value>) -> Value {
        let (status, answer) = self.call(method, path, Some(&account.token), body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// A call that is refused, with this status and code.
    pub async fn refused(
        &self,
        method: Method,
        path: &str,
        account: &Account,
        body: Option<Value>,
        (status, code): (u16, u64),
    ) {
        let (had, answer) = self.call(method, path, Some(&account.token), body).await;
        assert_eq!((had.as_u16(), &answer["error"]["code"]), (status, &json!(code)), "{path}: {answer}");
    }

    /// The value of one of the server's metrics, with its labels; 0 where it was never set.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.call(Method::GET, "/metrics", None, None).await;
        let lines = text.as_str().expect("metrics are text").lines();
        lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).next().unwrap_or(0.0)
    }

    /// Signs a user up.
    pub async fn register(&self, username: &str) -> Account {
        let body = json!({"username": username, "password": "correct horse"});
        let (status, answer) = self.call(Method::POST, "/api/auth/register", None, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        Account::from_answer(&answer, username)
    }

    /// Signs a user in, or not: status and answer.
    pub async fn login(&self, username: &str, password: &str) -> (StatusCode, Value) {
        let body = json!({"username": username, "password": password});
        self.call(Method::POST, "/api/auth/login", None, Some(body)).await
    }

    /// The row of a conversation in its reader's list.
    pub async fn conversation(&self, reader: &Account, conversation: &str) -> Value {
        let list = self.ok(Method::GET, "/api/conversations", reader, None).await;
        let mut rows = list["conversations"].as_array().expect("a list").iter();
        let row = rows.find(|row| row["conversationId"] == conversation);
        row.unwrap_or_else(|| panic!("{conversation} in {list}")).clone()
    }

    /// A group of the owner and these members; its conversation.
    pub async fn group(&self, owner: &Account, name: &str, members: &[String]) -> String {
        let body = json!({"name": name, "memberIds": members});
        let group = self.ok(Method::POST, "/api/groups", owner, Some(body)).await;
        format!("group_{}", group["groupId"].as_str().expect("a group id"))
    }

    /// The whole history of a conversation, oldest first, read page by page.
    pub async fn history(&self, reader: &Account, conversation: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut after = 0;
        loop {
            let path = format!("/api/conversations/{conversation}/messages?afterSeq={after}&limit=200");
            let page = self.ok(Method::GET, &path, reader, None).await;
            let found = page["messages"].as_array().expect("messages").clone();
            after = found.last().map_or(after, |message| message["seqId"].as_i64().expect("a seq"));
            messages.extend(found);
            if page["hasMore"] != true {
                return messages;
            }
        }
    }
}

impl Account {
    /// What register, login and refresh answer.
    pub fn from_answer(answer: &Value, username: &str) -> Self {
        let field = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{name} in {answer}")).to_owned();
        Self {
            user_id: field("userId"),
            username: username.to_owned(),
            token: field("accessToken"),
            refresh_token: field("refreshToken"),
        }
    }

    /// The conversation of two users.
    pub fn pair_with(&self, other: &Account) -> String {
        let id = |account: &Account| account.user_id.parse::<i64>().expect("an id");
        let (a, b) = (id(self), id(other));
        format!("single_{}_{}", a.min(b), a.max(b))
    }
}
