//! Several relays over one outbox: repo processes do not know of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use schemas::ids::GroupId;
use schemas::records::{GroupEvent, Upstream};
use stages::dedupe::Dedupe;
use stages::driver::Driver;
use stages::repo::model::{Act, GroupChange};
use stages::repo::outbox::relay;
use stages::repo::store::Store;
use tokio::sync::{Barrier, Notify};
use tokio_util::sync::CancellationToken;
use topics::clock::Clock;
use topics::log::Log;

use crate::fixtures::{ANN, BEN, NOW, new_group, sqlite_store, with_users};
use crate::hooked_log::{Hook, HookedLog};
use crate::served::{SOON, log_in, upstream, upstream_count};

const GROUPS: i64 = 3;
const RENAMES: i64 = 40;

/// Holds the first append of each of two relays until both are there with theirs: they have then read
/// the same rows.
struct Meeting {
    appends: AtomicUsize,
    both: Barrier,
}

#[async_trait]
impl Hook for Meeting {
    async fn before_append(&self) {
        if self.appends.fetch_add(1, Ordering::SeqCst) < 2 {
            tokio::time::timeout(SOON, self.both.wait()).await.expect("both relays publish the first rows");
        }
    }
}

async fn make(store: &Arc<dyn Store>, group: i64) {
    let act = Act { actor: ANN, at: NOW, event_id: format!("outbox-{group}") };
    store.create_group(&new_group(GroupId(group), &[BEN], 10), &act).await.unwrap();
}

async fn rename(store: &Arc<dyn Store>, group: i64, n: i64) {
    let change = GroupChange::Rename { name: Some(format!("Tea {n}")), description: None };
    let act = Act { actor: ANN, at: NOW, event_id: format!("outbox-{group}-{n}") };
    store.change_group(GroupId(group), &change, &act).await.unwrap();
}

/// Waits until everything in the outbox is published.
async fn emptied(store: &Arc<dyn Store>) {
    let emptied = async {
        while !store.outbox(1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, emptied).await.expect("the outbox is emptied");
}

fn version(event: &Upstream) -> (GroupId, i64) {
    let event: GroupEvent = serde_json::from_str(&event.content).unwrap();
    (event.group_id, event.version)
}

#[tokio::test]
async fn what_two_relays_publish_twice_leaves_dedupe_once_and_in_order() {
    let files = sqlite_store().await;
    with_users(&files.store).await;
    let clock = Clock::manual(NOW);
    let inner = log_in(files.dir.path(), &clock);
    let meeting = Meeting { appends: AtomicUsize::new(0), both: Barrier::new(2) };
    let log = Arc::new(HookedLog { log: inner.clone(), hook: meeting });
    for group in 1..=GROUPS {
        make(&files.store, group).await;
    }
    let shutdown = CancellationToken::new();
    let wakes = [Arc::new(Notify::new()), Arc::new(Notify::new())];
    let relays = wakes
        .clone()
        .map(|wake| tokio::spawn(relay(files.store.clone(), log.clone(), clock.clone(), wake, shutdown.clone())));
    for n in 1..=RENAMES {
        for group in 1..=GROUPS {
            rename(&files.store, group, n).await;
            // Both at the same moment, as often as not.
            wakes.iter().for_each(|wake| wake.notify_one());
        }
    }
    emptied(&files.store).await;
    shutdown.cancel();
    for running in relays {
        tokio::time::timeout(SOON, running).await.unwrap().unwrap().unwrap();
    }

    let (changes, published) = ((GROUPS * (RENAMES + 1)) as u64, upstream_count(&inner).await);
    assert!(published > changes, "the relays have met: {published} records of {changes} changes");
    let events = upstream(&inner, published as usize).await.into_iter().map(|(event, _)| event);
    let mut dedupe = Driver::new(1, NOW, || Dedupe::new(600_000));
    let passed = dedupe.feed_values(0, events).await.unwrap();
    for group in 1..=GROUPS {
        let versions: Vec<_> = passed.iter().map(version).filter(|(id, _)| id.0 == group).map(|(_, v)| v).collect();
        assert_eq!(versions, (1..=RENAMES + 1).collect::<Vec<_>>(), "group {group}");
    }
}

/// While a relay looks for what is there already, another one publishes and drops everything, and a day
/// goes by.
struct Overtaken {
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
    clock: Clock,
    looked: AtomicUsize,
}

#[async_trait]
impl Hook for Overtaken {
    async fn end_is_known(&self) {
        if self.looked.fetch_add(1, Ordering::SeqCst) > 0 {
            return;
        }
        let stop = CancellationToken::new();
        let (store, log, wake) = (self.store.clone(), self.log.clone(), Arc::new(Notify::new()));
        let other = tokio::spawn(relay(store, log, self.clock.clone(), wake, stop.clone()));
        emptied(&self.store).await;
        stop.cancel();
        tokio::time::timeout(SOON, other).await.unwrap().unwrap().unwrap();
        self.clock.advance_ms(24 * 3_600_000);
    }
}

#[tokio::test]
async fn what_another_relay_published_during_a_long_search_is_not_published_again() {
    let files = sqlite_store().await;
    with_users(&files.store).await;
    let clock = Clock::manual(NOW);
    let inner = log_in(files.dir.path(), &clock);
    let (store, looked) = (files.store.clone(), AtomicUsize::new(0));
    let hook = Overtaken { log: inner.clone(), store, clock: clock.clone(), looked };
    let log = HookedLog { log: inner.clone(), hook };
    make(&files.store, 1).await;
    rename(&files.store, 1, 1).await;
    let (shutdown, wake) = (CancellationToken::new(), Arc::new(Notify::new()));
    let running = tokio::spawn(relay(files.store.clone(), Arc::new(log), clock, wake.clone(), shutdown.clone()));
    upstream(&inner, 2).await;
    rename(&files.store, 1, 2).await;
    wake.notify_one();
    let events = upstream(&inner, 3).await;
    let versions: Vec<_> = events.iter().map(|(event, _)| version(event).1).collect();
    assert_eq!(versions, [1, 2, 3]);
    shutdown.cancel();
    tokio::time::timeout(SOON, running).await.unwrap().unwrap().unwrap();
    assert_eq!(upstream_count(&inner).await, 3);
}
