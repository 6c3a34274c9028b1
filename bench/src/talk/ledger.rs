//! What is to be said, and what became of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::latency::Latency;
use crate::threads::ThreadsTook;
use crate::usage::Took;

/// What is said, and when.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Begins every clientMsgId, so that no two runs share one.
    pub run: String,
    /// Messages a second, of all pairs together, evenly spaced.
    pub rate_a_second: u64,
    /// For how long nothing is counted yet.
    pub warm_up: Duration,
    /// For how long messages are counted after that.
    pub measured: Duration,
    /// Bytes of content in a message.
    pub content_bytes: usize,
}

impl Plan {
    /// When a message is due, from the start of the warm-up on.
    pub fn due(&self, message: u64) -> Duration {
        Duration::from_nanos(message * 1_000_000_000 / self.rate_a_second)
    }

    /// The first message that counts.
    pub fn first(&self) -> u64 {
        self.warm_up.as_secs() * self.rate_a_second
    }

    /// One past the last message.
    pub fn end(&self) -> u64 {
        (self.warm_up + self.measured).as_secs() * self.rate_a_second
    }

    /// The message that a clientMsgId names, when it is one of this run.
    pub fn message(&self, client_msg_id: &str) -> Option<u64> {
        let number = client_msg_id.strip_prefix(&*self.run)?.strip_prefix('-')?.parse().ok()?;
        (number < self.end()).then_some(number)
    }
}

/// What became of the messages that counted.
#[derive(Debug)]
pub struct Outcome {
    /// How many were due, and sent.
    pub sent: u64,
    /// How many of them the sender heard to be durable.
    pub acked: u64,
    /// How many arrived at the other's socket.
    pub delivered: u64,
    /// How many arrived there again.
    pub repeated: u64,
    /// How often something was refused, and the words of the first refusal.
    pub refused: (u64, Option<String>),
    /// From when a message was due until it was written to the socket: how late this program was.
    pub late: Latency,
    /// From when it was due until its `message-ack`.
    pub ack: Latency,
    /// From when it was due until it arrived.
    pub delivery: Latency,
    /// When each message arrived, by its number, from the start of the warm-up on.
    pub arrived: Vec<Option<Duration>>,
    /// What this process took meanwhile.
    pub took: Took,
    /// The same by threads.
    pub threads: ThreadsTook,
}

/// When what happened to each message, in µs from the start on; 0: not yet.
pub(super) struct Ledger {
    pub plan: Arc<Plan>,
    pub start: Instant,
    sent: Vec<AtomicU64>,
    acked: Vec<AtomicU64>,
    delivered: Vec<AtomicU64>,
    repeated: AtomicU64,
    refused: AtomicU64,
    first_refusal: Mutex<Option<String>>,
    /// Messages that count and have not arrived yet.
    awaited: AtomicU64,
    pub all_arrived: Notify,
}

impl Ledger {
    pub fn new(plan: Arc<Plan>, start: Instant) -> Self {
        let times = || (0..plan.end()).map(|_| AtomicU64::new(0)).collect();
        Self {
            start,
            sent: times(),
            acked: times(),
            delivered: times(),
            repeated: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            first_refusal: Mutex::default(),
            awaited: AtomicU64::new(plan.end() - plan.first()),
            all_arrived: Notify::new(),
            plan,
        }
    }

    /// Notes that it happened now; returns whether it had not happened before.
    fn note(&self, times: &[AtomicU64], message: u64) -> bool {
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
        let place = usize::try_from(message).ok().and_then(|at| times.get(at));
        place.is_some_and(|time| time.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok())
    }

    /// It was written to a socket.
    pub fn sent(&self, message: u64) {
        self.note(&self.sent, message);
    }

    /// It was acknowledged.
    pub fn acked(&self, message: u64) {
        self.note(&self.acked, message);
    }

    /// It came to the other's socket.
    pub fn arrived(&self, message: u64) {
        let first_time = self.note(&self.delivered, message);
        if message < self.plan.first() {
            return;
        }
        if !first_time {
            self.repeated.fetch_add(1, Ordering::Relaxed);
        } else if self.awaited.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.all_arrived.notify_one();
        }
    }

    /// An `error` frame came.
    pub fn refused(&self, frame: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.first_refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| frame.to_owned());
    }

    /// What became of them all.
    pub fn outcome(&self, took: Took, threads: ThreadsTook) -> Outcome {
        let at = |times: &[AtomicU64], message: u64| {
            let time = usize::try_from(message).ok().and_then(|at| times.get(at))?.load(Ordering::Relaxed);
            (time > 0).then(|| Duration::from_micros(time))
        };
        let counted = self.plan.first()..self.plan.end();
        let since_due = |times: &[AtomicU64]| -> Latency {
            let took = |message| at(times, message).map(|time| time.saturating_sub(self.plan.due(message)));
            counted.clone().filter_map(took).collect()
        };
        let (late, ack, delivery) = (since_due(&self.sent), since_due(&self.acked), since_due(&self.delivered));
        let words = self.first_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Outcome {
            sent: late.count(),
            acked: ack.count(),
            delivered: delivery.count(),
            repeated: self.repeated.load(Ordering::Relaxed),
            refused: (self.refused.load(Ordering::Relaxed), words),
            late,
            ack,
            delivery,
            arrived: (0..self.plan.end()).map(|message| at(&self.delivered, message)).collect(),
            took,
            threads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            run: "r".into(),
            rate_a_second: 4,
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(2),
            content_bytes: 1,
        }
    }

    #[test]
    fn messages_are_due_by_their_number_alone() {
        let plan = plan();
        assert_eq!((plan.first(), plan.end(), plan.due(6)), (4, 12, Duration::from_millis(1_500)));
        assert_eq!(plan.message("r-11"), Some(11));
        assert_eq!([plan.message("r-12"), plan.message("r11"), plan.message("s-1")], [None; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_charged_to_every_message_that_was_due_meanwhile() {
        let plan = Arc::new(plan());
        let ledger = Ledger::new(plan.clone(), Instant::now());
        // Everything arrives at once, at the end; the last is not acknowledged, and the first comes twice.
        tokio::time::sleep(Duration::from_secs(3)).await;
        for message in 0..plan.end() {
            ledger.sent(message);
            ledger.arrived(message);
        }
        (0..plan.end() - 1).for_each(|message| ledger.acked(message));
        ledger.arrived(plan.first());
        tokio::time::timeout(Duration::from_secs(1), ledger.all_arrived.notified()).await.unwrap();
        let outcome = ledger.outcome(Took::default(), ThreadsTook::default());
        let counts = (outcome.sent, outcome.acked, outcome.delivered, outcome.repeated, outcome.refused.0);
        assert_eq!(counts, (8, 7, 8, 1, 0));
        let near = |share: f64, ms: u128| {
            let found = outcome.delivery.quantile(share).as_millis();
            assert!(found.abs_diff(ms) <= 2, "{share}: {found} ms, not {ms}");
        };
        near(1.0, 2_000);
        near(0.5, 1_000);
        near(0.0, 250);
    }
}
