//! An installation with clients that talk, and the books about them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use stages::invariants::Queue;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::books::Books;
use super::cast::{Cast, Size};
use super::load::Load;
use super::observe::{self, Shared};
use super::stand::Stand;
use super::topics_hold;
use crate::api::Api;
use crate::client::{Client, Network};

/// How long it may take after a fault until everybody hears something new again.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(60);
/// How long it may take after the last message until everybody has everything.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a scene is played.
#[derive(Debug, Clone, Copy)]
pub struct Play {
    pub size: Size,
    /// Messages a second.
    pub rate: u32,
    /// Of what is said.
    pub seed: u64,
}

/// An installation under load.
pub struct Scene {
    pub stand: Stand,
    /// Clients and books.
    pub shared: Arc<Shared>,
    load: Option<Load>,
    /// A process has ended by itself: there is nothing to wait for any more.
    pub broken: bool,
    observer: JoinHandle<()>,
}

impl Scene {
    /// Signs everybody up, connects them, and starts the load.
    pub async fn begin(stand: Stand, play: Play) -> Self {
        let cast = Arc::new(Cast::gather(&stand, play.size).await);
        let gateways = stand.gateways();
        let connect = |(n, account)| {
            let (later, first) = gateways.split_at(n % gateways.len());
            let network = if n == cast.unlucky() { Network::DropsEverySecond } else { Network::Sound };
            Client::start_on(network, n as u64, [first, later].concat(), account)
        };
        let clients = cast.accounts.iter().enumerate().map(connect).collect();
        let books = Mutex::new(Books::new(cast.clone()));
        let shared = Arc::new(Shared { cast, clients, books });
        let observer = observe::start(shared.clone());
        let load = Load::start(shared.clone(), play.rate, play.seed);
        Self { stand, shared, load: Some(load), broken: false, observer }
    }

    /// Goes on for some time, and looks whether all processes do.
    pub async fn go_on(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            tokio::time::sleep_until(end.min(Instant::now() + LOOK_EVERY)).await;
            self.look_for_deaths().await;
        }
    }

    async fn look_for_deaths(&mut self) {
        let ended = self.stand.ended();
        if ended.is_empty() {
            return;
        }
        self.broken = true;
        self.shared.books.lock().await.failures.extend(ended);
        if let Some(load) = self.load.take() {
            load.stop().await;
        }
    }

    /// Waits until everybody is connected and has heard something new since `healed_ms`. Says so in the
    /// books when that takes too long.
    pub async fn recover(&mut self, healed_ms: i64, after: &str) {
        let deadline = Instant::now() + RECOVERY_TIME_MAX;
        loop {
            self.look_for_deaths().await;
            if self.broken {
                return;
            }
            let online = self.shared.all_online().await;
            let mut books = self.shared.books.lock().await;
            let heard_ms = books.pauses.all_seen_since(self.shared.cast.unlucky());
            if online && heard_ms > healed_ms {
                return;
            }
            if Instant::now() > deadline {
                let silent_ms = healed_ms - heard_ms;
                books.failures.push(format!(
                    "{RECOVERY_TIME_MAX:?} after {after} not all have heard something new: everybody online: {online}, \
                     a client or partition silent since {silent_ms} ms before the end of the fault"
                ));
                return;
            }
            drop(books);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Reads on in the history of every conversation.
    pub async fn read_histories(&self) {
        let read = read_histories(self.stand.gateways()[0], &self.shared.cast, &self.shared.books).await;
        if let Err(refused) = read {
            self.shared.books.lock().await.failures.push(refused);
        }
    }

    /// Looks at the queues that a process says it has.
    pub async fn look_at_queues(&self) {
        for text in self.metrics().await {
            let mut books = self.shared.books.lock().await;
            queues(&text).into_iter().for_each(|queue| books.queue(queue));
        }
    }

    /// Records that wait before the store, as gateways have seen it.
    pub async fn lag(&self) -> u64 {
        let lag = |text: &String| {
            let lag = text.lines().find_map(|line| line.strip_prefix("gochat_chain_lag_records "))?;
            Some(lag.trim().parse::<f64>().ok()? as u64)
        };
        self.metrics().await.iter().filter_map(lag).max().unwrap_or_default()
    }

    /// The metrics of each gateway that answers.
    async fn metrics(&self) -> Vec<String> {
        let mut pages = Vec::new();
        for gateway in self.stand.gateways() {
            let Ok(answer) = reqwest::get(format!("http://{gateway}/metrics")).await else { continue };
            pages.extend(answer.text().await);
        }
        pages
    }

    /// Ends the load, waits until everybody has everything, reads all there is once more, stops the
    /// installation and reads its topics. What is found stands in the books.
    pub async fn end(mut self) -> (Stand, Arc<Shared>) {
        self.fall_silent().await;
        if !self.broken {
            self.newcomer().await;
            self.shared.books.lock().await.read_again();
            self.read_histories().await;
            self.look_at_queues().await;
        }
        self.observer.abort();
        self.shared.clients.iter().for_each(Client::leave);
        self.shared.observe().await;
        let Self { mut stand, shared, .. } = self;
        let statuses = stand.stop().await;
        let mut books = shared.books.lock().await;
        for status in statuses.iter().filter(|status| !status.success()) {
            books.failures.push(format!("a process did not stop in good order: {status}"));
        }
        topics_hold::read(&stand, &mut books).await;
        books.judge_acked();
        drop(books);
        (stand, shared)
    }

    /// Ends the load, and waits until everybody has everything.
    pub async fn fall_silent(&mut self) {
        if let Some(load) = self.load.take() {
            load.stop().await;
        }
        self.wait_for_the_last().await;
    }

    /// Waits until everything said is acknowledged, and seen by everybody whom it concerns.
    async fn wait_for_the_last(&mut self) {
        let deadline = Instant::now() + CATCH_UP_TIME_MAX;
        loop {
            self.look_for_deaths().await;
            self.shared.observe().await;
            if self.broken {
                return;
            }
            if self.shared.books.lock().await.unacked() == 0 {
                self.read_histories().await;
            }
            let mut books = self.shared.books.lock().await;
            let unacked = books.unacked();
            let behind = (0..self.shared.clients.len()).find_map(|client| self.behind(&books, client));
            if unacked == 0 && behind.is_none() {
                return;
            }
            if Instant::now() > deadline {
                books.failures.push(format!(
                    "{CATCH_UP_TIME_MAX:?} after the last message {unacked} are not acknowledged, and {behind:?}"
                ));
                return;
            }
            drop(books);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn behind(&self, books: &Books, client: usize) -> Option<String> {
        self.shared.cast.rooms_of(client).into_iter().find_map(|room| {
            let (has, known) = books.position(client, room);
            let id = self.shared.cast.rooms[room].id;
            (has < known).then(|| format!("client {client} has {id} up to {has} of {known}"))
        })
    }

    /// A new device of the first user, which knows nothing: it learns of everything by `heads` and fetches
    /// it with `sync`.
    async fn newcomer(&self) {
        let (cast, number) = (&self.shared.cast, self.shared.clients.len() as u64);
        let mut client = Client::start(number, self.stand.gateways(), &cast.accounts[0]);
        let deadline = Instant::now() + CATCH_UP_TIME_MAX;
        loop {
            let mut books = self.shared.books.lock().await;
            let mut ledger = client.ledger.lock().await;
            std::mem::take(&mut ledger.told).iter().for_each(|message| books.told(message));
            std::mem::take(&mut ledger.synced).iter().for_each(|answer| books.synced(answer));
            ledger.seen.clear();
            let behind = cast.rooms_of(0).into_iter().find_map(|room| {
                let (has, (_, known)) = (ledger.position(cast.rooms[room].id).0, books.position(0, room));
                (has < i64::from(known)).then(|| format!("{} up to {has} of {known}", cast.rooms[room].id))
            });
            drop(ledger);
            let Some(behind) = behind else { break };
            if tokio::time::timeout_at(deadline, client.news.changed()).await.is_err() {
                books.failures.push(format!("a new device has only {behind} after {CATCH_UP_TIME_MAX:?}"));
                break;
            }
        }
        client.leave();
    }
}

/// Reads on in the history of every conversation.
///
/// # Errors
/// The first answer that is none.
pub async fn read_histories(gateway: SocketAddr, cast: &Cast, books: &Mutex<Books>) -> Result<(), String> {
    let api = Api::new(gateway);
    for (number, room) in cast.rooms.iter().enumerate() {
        let reader = &cast.accounts[room.members[0]];
        loop {
            let after = books.lock().await.stored(number);
            let path = format!("/api/conversations/{}/messages?afterSeq={after}&limit=200", room.id);
            let answer = api.try_call(Method::GET, &path, Some(&reader.token), None).await;
            let (status, page) = answer.map_err(|e| format!("the history of {} can't be read: {e}", room.id))?;
            if !status.is_success() {
                return Err(format!("the history of {} behind seq {after} can't be read: {status} {page}", room.id));
            }
            let messages = page["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
            books.lock().await.history(number, messages);
            if page["hasMore"] != Value::Bool(true) {
                break;
            }
        }
    }
    Ok(())
}

/// The queues in a page of metrics: every `gochat_queue_length` beside its `gochat_queue_limit`.
fn queues(metrics: &str) -> Vec<Queue> {
    let gauges = |name: &str| -> Vec<(String, usize)> {
        let of = |line: &str| {
            let (queue, value) = line.strip_prefix(name)?.strip_prefix("{queue=\"")?.split_once("\"} ")?;
            Some((queue.to_owned(), value.trim().parse::<f64>().ok()? as usize))
        };
        metrics.lines().filter_map(of).collect()
    };
    let longest = gauges("gochat_queue_length");
    let limit = |name: &str| gauges("gochat_queue_limit").into_iter().find(|(queue, _)| queue == name);
    let queue = |(name, longest): (String, usize)| limit(&name).map(|(_, limit)| Queue { name, longest, limit });
    longest.into_iter().filter_map(queue).collect()
}
