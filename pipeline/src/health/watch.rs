//! What a process watches: each component is asked in a loop of its own.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::time::{sleep, timeout};
use topics::catalogue::TopicSpec;
use topics::log::Log;

use super::{Health, State, ask};

/// Consumer groups, each with the topic that it reads.
pub type Groups = Vec<(&'static str, &'static TopicSpec)>;

/// All that a process watches.
pub struct Watch {
    health: Health,
    all: Vec<BoxFuture<'static, ()>>,
}

impl Watch {
    /// Without components yet; answers go to `health`.
    pub fn new(health: Health) -> Self {
        Self { health, all: Vec::new() }
    }

    /// A component at this address, as operators know it. It is expected from now on, before its first answer.
    pub fn component<T, F>(&mut self, name: &'static str, address: String, asked: T, ask: fn(T) -> F)
    where
        T: Clone + Send + 'static,
        F: Future<Output = State> + Send + 'static,
    {
        self.health.expect(name, "not asked yet");
        self.all.push(ask::component(self.health.clone(), name, address, move || ask(asked.clone())).boxed());
    }

    /// The groups that must have a member in some process.
    pub fn groups(&mut self, log: Arc<dyn Log>, address: String, groups: Groups) {
        groups.iter().for_each(|(group, _)| self.health.expect(group, "not asked yet"));
        self.all.push(ask::groups(self.health.clone(), log, address, groups).boxed());
    }

    /// Asks every component once a second; it never returns.
    pub async fn run(self) {
        join_all(self.all).await;
    }
}

/// Waits until each group has a member, where all stages run in this process and start within a second.
pub async fn stages_are_there(log: &dyn Log, groups: &[(&'static str, &'static TopicSpec)]) {
    // The watch logs those that are still missing later.
    soon(|| async { log.members(groups).await.is_ok_and(|members| members.iter().all(|&count| count > 0)) }).await;
}

/// Waits until a process is ready, no longer than its first answers take.
pub async fn ready(health: &Health) {
    soon(|| async { health.report().ready }).await;
}

/// Waits until it is so, at most a second.
async fn soon<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    const LOOK_EVERY: Duration = Duration::from_millis(2);
    const TIME_MAX: Duration = Duration::from_secs(1);
    let wait = async {
        while !is_so().await {
            sleep(LOOK_EVERY).await;
        }
    };
    let _ = timeout(TIME_MAX, wait).await;
}
