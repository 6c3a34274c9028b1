//! What a process watches: what it depends on, and, where clients come in, the stages of the whole installation.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use stages::repo::cache::Cache;
use stages::repo::store::Store;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use topics::backlog::Backlog;
use topics::catalogue::TopicSpec;
use topics::log::Log;

use super::{Health, ask};

/// Something watched, and its address, as operators know it.
pub struct At<T>(pub T, pub String);

/// A store, and who is told whether it works.
pub type ToldStore = (Arc<dyn Store>, watch::Sender<bool>);

/// All that a process watches.
pub struct Watched {
    pub log: At<Arc<dyn Log>>,
    /// The store, and who is told whether it works.
    pub store: Option<At<ToldStore>>,
    /// The copies of the store.
    pub replicas: Option<At<Arc<dyn Store>>>,
    /// The cache, where it is a service.
    pub cache: Option<At<Arc<dyn Cache>>>,
    /// The repo, as its callers reach it.
    pub repo: Option<At<Channel>>,
    /// Cancelled when the lease of the gateway's slot is lost.
    pub slot_lost: Option<CancellationToken>,
    /// How far the chain is behind.
    pub backlog: Option<Arc<Backlog>>,
    /// The groups that must have a member somewhere, each with the topic that it reads.
    pub groups: Vec<(&'static str, &'static TopicSpec)>,
}

const LOG: &str = "log";
const STORE: &str = "store";
const REPLICAS: &str = "replicas";
const CACHE: &str = "cache";
const REPO: &str = "repo";
const SLOT: &str = "slot";
const CHAIN_LAG: &str = "chain-lag";

impl Watched {
    /// Watches forever. Each component is expected from this call on, before its first answer.
    pub fn watch(self, health: &Health) -> impl Future<Output = ()> + Send + 'static + use<> {
        let Self { log: At(log, log_address), store, replicas, cache, repo, slot_lost, backlog, groups } = self;
        let mut all: Vec<BoxFuture<'static, ()>> = Vec::new();
        let mut component = |name, address, ask: Ask| {
            health.expect(name, "not asked yet");
            all.push(ask::component(health.clone(), name, address, ask).boxed());
        };
        let asked = log.clone();
        component(LOG, log_address.clone(), ask_of(asked, |log| async move { ask::log(&*log).await }));
        if let Some(At((store, serving), address)) = store {
            let asked = (store, Arc::new(serving));
            component(
                STORE,
                address,
                ask_of(asked, |(store, serving)| async move { ask::store(&*store, &serving).await }),
            );
        }
        if let Some(At(store, address)) = replicas {
            component(REPLICAS, address, ask_of(store, |store| async move { ask::replicas(&*store).await }));
        }
        if let Some(At(cache, address)) = cache {
            component(CACHE, address, ask_of(cache, |cache| async move { ask::cache(&*cache).await }));
        }
        if let Some(At(channel, address)) = repo {
            component(REPO, address, ask_of(channel, ask::repo));
        }
        if let Some(lost) = slot_lost {
            component(SLOT, log_address.clone(), ask_of(lost, |lost| async move { ask::slot(&lost) }));
        }
        if let Some(backlog) = backlog {
            let ask = ask_of(backlog, |backlog| async move { ask::backlog(&backlog) });
            component(CHAIN_LAG, log_address.clone(), ask);
        }
        groups.iter().for_each(|(group, _)| health.expect(group, "not asked yet"));
        if !groups.is_empty() {
            all.push(ask::groups(health.clone(), log, log_address, groups).boxed());
        }
        join_all(all).map(drop)
    }
}

type Ask = Box<dyn FnMut() -> BoxFuture<'static, super::State> + Send>;

fn ask_of<T, F>(asked: T, ask: impl Fn(T) -> F + Send + 'static) -> Ask
where
    T: Clone + Send + 'static,
    F: Future<Output = super::State> + Send + 'static,
{
    Box::new(move || ask(asked.clone()).boxed())
}

/// Waits until each group has a member, where they are all in this process, and come at once.
pub async fn stages_are_there(log: &dyn Log, groups: &[(&'static str, &'static TopicSpec)]) {
    const LOOK_EVERY: Duration = Duration::from_millis(2);
    const TIME_MAX: Duration = Duration::from_secs(1);
    let there = async {
        while !log.members(groups).await.is_ok_and(|members| members.iter().all(|&count| count > 0)) {
            sleep(LOOK_EVERY).await;
        }
    };
    // The watch logs those that are still missing later.
    let _ = timeout(TIME_MAX, there).await;
}

/// Waits until a process is ready, no longer than its first answers take.
pub async fn ready(health: &Health) {
    const LOOK_EVERY: Duration = Duration::from_millis(2);
    const TIME_MAX: Duration = Duration::from_secs(1);
    let ready = async {
        while !health.report().ready {
            sleep(LOOK_EVERY).await;
        }
    };
    let _ = timeout(TIME_MAX, ready).await;
}
