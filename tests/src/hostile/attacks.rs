//! The attacks, all from one address of loopback that nobody else uses.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use futures::{SinkExt, StreamExt};
use outside::api::{Account, Api};
use outside::server::Server;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::Attack;
use crate::users::{Talker, text};

const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Messages of a history that is synced, and bytes of each.
const HISTORY_MESSAGES: usize = 200;
const LONG_BYTES: usize = 8_000;
const SHORT_BYTES: usize = 20;
const FOLLOWED: usize = 30;
const ASKED_FOR: usize = 500;
const ID_CHARS: usize = 61_000;
const SOCKETS_A_USER: usize = 32;
/// A connection that is refused is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
const STEP_MAX: Duration = Duration::from_secs(5);

/// What is attacked, and by whom.
pub(super) struct Target {
    at: SocketAddr,
    /// As many as it takes: a user has so many sockets.
    accounts: Vec<Account>,
    history: String,
    count: usize,
}

impl Target {
    /// Signs the attacker up, and gives them a history to ask for.
    pub(super) async fn prepare(server: &Server, api: &Api, attack: Attack, count: usize) -> Self {
        let mut accounts = Vec::new();
        let sockets_an_account = if attack == Attack::Burst { 1 } else { SOCKETS_A_USER };
        for n in 0..count.div_ceil(sockets_an_account) {
            accounts.push(api.register(&format!("mallory{n}")).await);
        }
        // Each of the writers stays within what a user may say in a burst.
        let writers = [api.register("writer0").await, api.register("writer1").await];
        let others = accounts[1..].iter().chain(&writers);
        let others: Vec<_> = others.map(|account| account.user_id.clone()).collect();
        let history = api.group(&accounts[0], "long", &others).await;
        for writer in &writers {
            let mut talker = Talker::connect(server, writer).await;
            for _ in 0..HISTORY_MESSAGES / writers.len() {
                talker.say(&history, &"x".repeat(LONG_BYTES)).await;
            }
        }
        Self { at: server.http, accounts, history, count }
    }

    /// Attacks until it is dropped.
    pub(super) async fn attack(self, attack: Attack) {
        let one = |n: usize| {
            let target = &self;
            async move {
                loop {
                    // What the server refuses or closes is tried again.
                    let _ = target.step(attack, n).await;
                    sleep(AGAIN_AFTER).await;
                }
            }
        };
        join_all((0..self.count).map(one)).await;
    }

    async fn step(&self, attack: Attack, n: usize) -> Result<(), Box<dyn std::error::Error>> {
        match attack {
            Attack::Connections => self.unfinished(n).await,
            Attack::Followers => self.follow(n, FOLLOWED).await,
            Attack::Presence => self.follow(n, ASKED_FOR).await,
            Attack::Sync => {
                let mut socket = self.socket(n).await?;
                let sync = json!({"type": "sync", "data": {"positions": {&self.history: 0}, "limit": 200}});
                for _ in 0..20 {
                    timeout(STEP_MAX, socket.send(Message::text(sync.to_string()))).await??;
                }
                // It reads nothing, for as long as it may.
                sleep(Duration::from_secs(3_600)).await;
                Ok(())
            }
            Attack::Ids => {
                let ids: Vec<_> = (1..=ASKED_FOR).map(|id| id.to_string()).collect();
                let frame = json!({"type": "subscribe-presence", "id": "i".repeat(ID_CHARS), "data": {"userIds": ids}});
                let small = json!({"type": "ping", "id": "i".repeat(ID_CHARS), "data": {}});
                self.repeat(n, &[frame, small]).await
            }
            Attack::Registrations => {
                let name = format!("m{}", rand::random::<u64>());
                let body = json!({"username": name, "password": "correct horse"});
                self.request("POST", "/api/auth/register", &body.to_string()).await
            }
            Attack::Logins => {
                let name = format!("n{}", rand::random::<u32>());
                let body = json!({"username": name, "password": "wrong horse"});
                self.request("POST", "/api/auth/login", &body.to_string()).await
            }
            Attack::Pages => {
                let path = ["/", "/health/live", "/health/ready", "/assets/app.js"][n % 4];
                self.request("GET", path, "").await
            }
            Attack::Flood => self.say(n, "world", LONG_BYTES).await,
            Attack::Burst => {
                let account = &self.accounts[n];
                self.say(n, &account.pair_with(account), SHORT_BYTES).await
            }
            Attack::Pings => {
                let mut socket = self.socket(n).await?;
                loop {
                    for _ in 0..64 {
                        timeout(STEP_MAX, socket.feed(Message::Pong(vec![0; 8].into()))).await??;
                        timeout(STEP_MAX, socket.feed(Message::Ping(vec![0; 8].into()))).await??;
                    }
                    timeout(STEP_MAX, socket.flush()).await??;
                    while let Ok(Some(frame)) = timeout(Duration::ZERO, socket.next()).await {
                        frame?;
                    }
                }
            }
        }
    }

    /// Says things as fast as they go, and reads what comes meanwhile.
    async fn say(&self, n: usize, conversation: &str, bytes: usize) -> Result<(), Box<dyn std::error::Error>> {
        let mut message = text(conversation, &"x".repeat(bytes));
        let mut socket = self.socket(n).await?;
        loop {
            message["clientMsgId"] = json!(format!("f{}", rand::random::<u64>()));
            let frame = json!({"type": "send-message", "data": message});
            timeout(STEP_MAX, socket.send(Message::text(frame.to_string()))).await??;
            while let Ok(Some(frame)) = timeout(Duration::ZERO, socket.next()).await {
                frame?;
            }
        }
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((FROM, 0)))?;
        timeout(STEP_MAX, socket.connect(self.at)).await?
    }

    async fn socket(&self, n: usize) -> Result<WebSocketStream<TcpStream>, Box<dyn std::error::Error>> {
        let url = format!("ws://{}/ws?token={}", self.at, self.accounts[n % self.accounts.len()].token);
        let stream = self.connect().await?;
        Ok(timeout(STEP_MAX, client_async(url, stream)).await??.0)
    }

    /// One that is left open in the middle of something.
    async fn unfinished(&self, n: usize) -> Result<(), Box<dyn std::error::Error>> {
        let mut stream = self.connect().await?;
        let head = "GET / HTTP/1.1\r\nHost: x\r\n";
        let begun = match n % 5 {
            0 => String::new(),
            1 => head.into(),
            2 => "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{".into(),
            3 => format!("{head}\r\n"),
            _ => format!("{head}X-Long: {}", "x".repeat(200_000)),
        };
        timeout(STEP_MAX, stream.write_all(begun.as_bytes())).await??;
        // Until the server ends it.
        stream.readable().await?;
        let mut bytes = [0; 4_096];
        while stream.try_read(&mut bytes).map_or(true, |read| read > 0) {
            stream.readable().await?;
        }
        Ok(())
    }

    async fn follow(&self, n: usize, users: usize) -> Result<(), Box<dyn std::error::Error>> {
        let ids: Vec<_> = (1..=users).map(|id| id.to_string()).collect();
        self.repeat(n, &[json!({"type": "subscribe-presence", "data": {"userIds": ids}})]).await
    }

    /// Sends these again and again on one socket, and reads what comes.
    async fn repeat(&self, n: usize, frames: &[Value]) -> Result<(), Box<dyn std::error::Error>> {
        let mut socket = self.socket(n).await?;
        loop {
            for frame in frames {
                timeout(STEP_MAX, socket.send(Message::text(frame.to_string()))).await??;
            }
            while let Ok(Some(frame)) = timeout(AGAIN_AFTER, socket.next()).await {
                frame?;
            }
        }
    }

    async fn request(&self, method: &str, path: &str, body: &str) -> Result<(), Box<dyn std::error::Error>> {
        let client = reqwest::Client::builder().local_address(std::net::IpAddr::from(FROM)).build()?;
        let url = format!("http://{}{path}", self.at);
        let request =
            client.request(method.parse()?, url).header("content-type", "application/json").body(body.to_owned());
        timeout(STEP_MAX, request.send()).await??.bytes().await?;
        Ok(())
    }
}
