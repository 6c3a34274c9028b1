//! The outbox relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use schemas::ids::{GroupId, UserId};
use schemas::kind::Kind;
use schemas::records::{GroupEvent, Upstream};
use stages::repo::model::{Act, GroupChange};
use stages::repo::outbox::{OutboxError, relay};
use stages::repo::store::Store;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topics::catalogue::UPSTREAM;
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::headers::Headers;
use topics::log::{Log, LogError};

use crate::fixtures::{ANN, BEN, NOW, TestStore, new_group, sqlite_store, with_users};
use crate::hooked_log::{Hook, HookedLog};
use crate::served::{SOON, log_in, upstream, upstream_count};

struct Fixture {
    files: TestStore,
    log: Arc<dyn Log>,
    clock: Clock,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
}

impl Fixture {
    async fn new() -> Self {
        let clock = Clock::manual(NOW);
        Self::with_clocks(clock.clone(), &clock).await
    }

    /// The repo has a clock, and the log one of its own.
    async fn with_clocks(clock: Clock, of_log: &Clock) -> Self {
        let files = sqlite_store().await;
        with_users(&files.store).await;
        let log = log_in(files.dir.path(), of_log);
        Self { files, log, clock, wake: Arc::new(Notify::new()), shutdown: CancellationToken::new() }
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.files.store
    }

    fn start(&self) -> JoinHandle<Result<(), OutboxError>> {
        let (store, log, clock) = (Arc::clone(self.store()), Arc::clone(&self.log), self.clock.clone());
        tokio::spawn(relay(store, log, clock, Arc::clone(&self.wake), self.shutdown.clone()))
    }

    async fn stop(&self, running: JoinHandle<Result<(), OutboxError>>) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, running).await.unwrap().unwrap().unwrap();
    }

    fn act(&self, n: i64) -> Act {
        Act { actor: ANN, at: self.clock.now_ms(), event_id: format!("outbox-{n}") }
    }

    async fn group(&self, id: i64) {
        self.store().create_group(&new_group(GroupId(id), &[BEN], 10), &self.act(id * 100)).await.unwrap();
    }

    async fn rename(&self, id: i64, n: i64) {
        let change = GroupChange::Rename { name: Some(format!("Tea {n}")), description: None };
        self.store().change_group(GroupId(id), &change, &self.act(id * 100 + n)).await.unwrap();
        self.wake.notify_one();
    }

    /// As the relay does, up to where a crash interrupts it: the row stays.
    async fn append_as_before_a_crash(&self, row: usize) {
        let row = self.store().outbox(100).await.unwrap().remove(row);
        let event = Upstream {
            conversation_id: row.conversation_id,
            sender_id: row.actor,
            client_msg_id: row.client_msg_id.into(),
            kind: row.kind,
            content: row.content.into(),
            target_seq: None,
            remove: false,
        };
        let mut encoder = Encoder::default();
        encoder.put(&UPSTREAM, &event.conversation_id, &event, Headers::default()).unwrap();
        self.log.append(encoder.finish()).await.unwrap();
    }
}

/// The versions that the events of a group tell of, in the order of the topic.
fn versions(events: &[(Upstream, Headers)], group: i64) -> Vec<i64> {
    let events = events.iter().map(|(event, _)| serde_json::from_str::<GroupEvent>(&event.content).unwrap());
    events.filter(|event| event.group_id == GroupId(group)).map(|event| event.version).collect()
}

#[tokio::test]
async fn group_events_reach_the_chain_in_order_with_a_fixed_key() {
    let test = Fixture::new().await;
    test.group(1).await;
    test.group(2).await;
    let running = test.start();
    for n in 1..=20 {
        test.rename(1 + n % 2, n).await;
    }
    let events = upstream(&test.log, 22).await;
    assert_eq!(versions(&events, 1), (1..=11).collect::<Vec<_>>());
    assert_eq!(versions(&events, 2), (1..=11).collect::<Vec<_>>());
    let created = events.iter().find(|(event, _)| event.kind == Kind::GroupCreated).unwrap();
    assert_eq!((created.0.sender_id, created.1.hops.is_some()), (UserId(11), true));
    assert!(created.0.client_msg_id.starts_with("outbox-"));
    test.stop(running).await;
    assert!(test.store().outbox(10).await.unwrap().is_empty());
    assert_eq!(upstream_count(&test.log).await, 22);
}

#[tokio::test]
async fn what_was_published_before_a_crash_is_not_published_again() {
    let test = Fixture::new().await;
    test.group(1).await;
    for n in 1..=3 {
        test.rename(1, n).await;
    }
    test.append_as_before_a_crash(0).await;
    test.append_as_before_a_crash(1).await;
    // Long after the dedupe window.
    test.clock.advance_ms(24 * 3_600_000);
    let running = test.start();
    let events = upstream(&test.log, 4).await;
    assert_eq!(versions(&events, 1), [1, 2, 3, 4]);
    test.rename(1, 4).await;
    assert_eq!(versions(&upstream(&test.log, 5).await, 1), [1, 2, 3, 4, 5]);
    test.stop(running).await;
    assert!(test.store().outbox(10).await.unwrap().is_empty());
    assert_eq!(upstream_count(&test.log).await, 5);
}

#[tokio::test]
async fn what_was_published_is_found_whatever_the_clocks_of_repo_and_log_are_apart() {
    const HOUR: i64 = 3_600_000;
    for ahead_ms in [HOUR, -HOUR] {
        let (clock, of_log) = (Clock::manual(NOW + ahead_ms), Clock::manual(NOW));
        let test = Fixture::with_clocks(clock, &of_log).await;
        test.group(1).await;
        test.append_as_before_a_crash(0).await;
        test.rename(1, 1).await;
        [&test.clock, &of_log].into_iter().for_each(|clock| clock.advance_ms(12 * HOUR));
        let running = test.start();
        assert_eq!(versions(&upstream(&test.log, 2).await, 1), [1, 2]);
        test.stop(running).await;
        assert_eq!(upstream_count(&test.log).await, 2, "{ahead_ms} ms ahead");
    }
}

#[tokio::test]
async fn a_relay_that_is_started_again_goes_on_where_it_stopped() {
    let mut test = Fixture::new().await;
    test.group(1).await;
    let running = test.start();
    upstream(&test.log, 1).await;
    test.stop(running).await;
    test.rename(1, 1).await;
    test.shutdown = CancellationToken::new();
    let running = test.start();
    assert_eq!(versions(&upstream(&test.log, 2).await, 1), [1, 2]);
    test.stop(running).await;
    assert_eq!(upstream_count(&test.log).await, 2);
}

/// The first append is there although it says that it failed.
#[derive(Default)]
struct Unsure {
    failed: AtomicBool,
}

impl Hook for Unsure {
    fn appended(&self) -> Result<(), LogError> {
        if self.failed.swap(true, Ordering::SeqCst) { Ok(()) } else { Err(LogError::DiskFull { path: "log".into() }) }
    }
}

#[tokio::test]
async fn an_append_that_failed_half_way_is_looked_for_before_the_next() {
    let mut test = Fixture::new().await;
    test.log = Arc::new(HookedLog { log: Arc::clone(&test.log), hook: Unsure::default() });
    test.group(1).await;
    let running = test.start();
    upstream(&test.log, 1).await;
    assert_eq!(test.store().outbox(10).await.unwrap().len(), 1, "what may have failed stays in the outbox");
    test.rename(1, 1).await;
    assert_eq!(versions(&upstream(&test.log, 2).await, 1), [1, 2]);
    test.stop(running).await;
    assert!(test.store().outbox(10).await.unwrap().is_empty());
    assert_eq!(upstream_count(&test.log).await, 2);
}
