//! The load: so many messages a second whatever happens, a fifth of them sent twice.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::observe::Shared;

/// Part of the messages that is sent twice.
const TWICE: f64 = 0.2;
/// What is said and not acknowledged; over it the load waits, and the rate is no longer kept.
const UNACKED_MESSAGES_MAX: u64 = 60_000;
const TICK: Duration = Duration::from_millis(10);

/// A load under way.
pub struct Load {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// Starts saying `rate` messages a second.
    pub fn start(shared: Arc<Shared>, rate: u32, seed: u64) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { task: tokio::spawn(say(shared, rate, seed, stopped)), stop }
    }

    /// Says nothing more.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.expect("the load ends");
    }
}

async fn say(shared: Arc<Shared>, rate: u32, seed: u64, stopped: watch::Receiver<bool>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut ticks = tokio::time::interval(TICK);
    let (mut before, mut due) = (Instant::now(), 0.0);
    while !*stopped.borrow() {
        ticks.tick().await;
        let now = Instant::now();
        due += now.duration_since(before).as_secs_f64() * f64::from(rate);
        before = now;
        let mut books = shared.books.lock().await;
        while due >= 1.0 {
            due -= 1.0;
            if books.unacked() >= UNACKED_MESSAGES_MAX {
                books.held_back += 1;
                continue;
            }
            let (speaker, room) = shared.cast.next(&mut random);
            let number = books.said(speaker, room);
            let twice = random.random_bool(TWICE);
            books.copies += if twice { 2 } else { 1 };
            shared.clients[speaker].say(shared.cast.say(speaker, number, room, twice));
        }
    }
}
