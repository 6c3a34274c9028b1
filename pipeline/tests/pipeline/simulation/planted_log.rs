//! What is put around the simulated log: commits in parts, a changelog that is looked up too early, and
//! an owner that is slow, which is no bug.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use topics::catalogue::{DEDUPE_WINDOW, HEADS, Layout, TopicSpec};
use topics::log::{
    Bounds, Commit, Event, Log, LogError, Member, MemberSpec, Outgoing, PartitionLag, Place, Reader, StartAt,
};

use super::broker::{Broker, index_of};
use super::member::freeze;
use super::process::instance_of;
use super::world::{Process, SESSION};

/// What is wrong with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFlaw {
    /// Positions are one commit, outputs the next.
    CommitBeforeOutput,
    /// A commit is not one transaction.
    NoTransactions,
    /// The changelog's records are a commit of their own, after the rest.
    ChangelogApart,
    /// The stage on the first machine pauses for longer than its session when it gets a partition without a committed
    /// position. Meanwhile the stage on the second machine takes over. This is no bug: everything must hold.
    SlowToTakeOver,
    /// Its client works for [`WELL`] and is broken then, again and again.
    BrokenNowAndThen,
    /// The log reports committed positions that are older than the newest. This is no bug: everything must hold.
    PositionsSetBack,
    /// A changelog ends where it ended when its owner began to wait for partitions.
    ChangelogBeforePosition,
}

/// How long a client works that breaks now and then.
pub const WELL: Duration = Duration::from_secs(60);

type Ends = Arc<Mutex<BTreeMap<(usize, u32), u64>>>;

/// A log with something wrong around it.
pub struct FlawedLog {
    log: Arc<dyn Log>,
    broker: Arc<Broker>,
    flaw: LogFlaw,
    process: Process,
    ends: Ends,
}

impl FlawedLog {
    pub fn new(log: Arc<dyn Log>, broker: Arc<Broker>, process: Process, flaw: LogFlaw) -> Self {
        Self { log, broker, flaw, process, ends: Ends::default() }
    }
}

fn is_changelog(topic: &TopicSpec) -> bool {
    std::ptr::eq(topic, &HEADS.spec) || std::ptr::eq(topic, &DEDUPE_WINDOW.spec)
}

#[async_trait]
impl Log for FlawedLog {
    fn layout(&self) -> Layout {
        self.log.layout()
    }

    async fn append(&self, records: Vec<Outgoing>) -> Result<Vec<Place>, LogError> {
        self.log.append(records).await
    }

    async fn join(&self, spec: MemberSpec) -> Result<Box<dyn Member>, LogError> {
        let transactional = spec.transactional && self.flaw != LogFlaw::NoTransactions;
        let member = self.log.join(MemberSpec { transactional, ..spec }).await?;
        let (broker, flaw, ends) = (Arc::clone(&self.broker), self.flaw, Arc::clone(&self.ends));
        Ok(Box::new(FlawedMember { member, broker, flaw, process: self.process, ends }))
    }

    async fn read(&self, topic: &'static TopicSpec, from: &[(u32, StartAt)]) -> Result<Reader, LogError> {
        self.log.read(topic, from).await
    }

    async fn bounds(&self, topic: &'static TopicSpec, partition: u32) -> Result<Bounds, LogError> {
        let bounds = self.log.bounds(topic, partition).await?;
        let early = self.ends.lock().unwrap().get(&(index_of(topic), partition)).copied();
        Ok(Bounds { end: early.unwrap_or(bounds.end).max(bounds.start), ..bounds })
    }

    async fn offset_at(&self, topic: &'static TopicSpec, partition: u32, time_ms: i64) -> Result<u64, LogError> {
        self.log.offset_at(topic, partition, time_ms).await
    }

    async fn lag(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<PartitionLag>, LogError> {
        self.log.lag(group, topic).await
    }

    async fn members(&self, groups: &[(&str, &'static TopicSpec)]) -> Result<Vec<usize>, LogError> {
        self.log.members(groups).await
    }

    async fn probe(&self) -> Result<(), LogError> {
        self.log.probe().await
    }
}

/// An older position, or none; the same for the same.
fn set_back(committed: Option<u64>) -> Option<u64> {
    committed.filter(|position| !position.is_multiple_of(3)).map(|position| position / 2)
}

struct FlawedMember {
    member: Box<dyn Member>,
    broker: Arc<Broker>,
    flaw: LogFlaw,
    process: Process,
    ends: Ends,
}

#[async_trait]
impl Member for FlawedMember {
    async fn next(&mut self) -> Result<Event, LogError> {
        if self.flaw == LogFlaw::ChangelogBeforePosition {
            let mut ends = self.ends.lock().unwrap();
            for topic in [&HEADS.spec, &DEDUPE_WINDOW.spec] {
                for partition in 0..self.broker.layout.partitions(topic) {
                    let end = self.broker.partition(index_of(topic), partition, |kept| kept.stable_end());
                    ends.insert((index_of(topic), partition), end);
                }
            }
        }
        if self.flaw == LogFlaw::BrokenNowAndThen {
            sleep(WELL).await;
            return Err(LogError::Broken { doing: "waiting", source: "it breaks now and then".into() });
        }
        let mut event = self.member.next().await?;
        if let (LogFlaw::PositionsSetBack, Event::Assigned(assigned)) = (self.flaw, &mut event) {
            assigned.iter_mut().for_each(|one| one.committed = set_back(one.committed));
        }
        if let (LogFlaw::SlowToTakeOver, Event::Assigned(assigned)) = (self.flaw, &event)
            && self.process.machine == 0
            && assigned.iter().any(|one| one.committed.is_none())
        {
            freeze(&self.broker, self.process, &instance_of(self.process), 4 * SESSION);
            self.broker.world.step(self.process).await;
        }
        Ok(event)
    }

    async fn start(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.member.start(partition, offset).await
    }

    async fn commit(&mut self, Commit { outputs, positions }: Commit) -> Result<(), LogError> {
        match self.flaw {
            LogFlaw::CommitBeforeOutput => {
                self.member.commit(Commit { outputs: Vec::new(), positions }).await?;
                self.member.commit(Commit { outputs, positions: Vec::new() }).await
            }
            LogFlaw::ChangelogApart => {
                let (changes, outputs) = outputs.into_iter().partition(|output| is_changelog(output.topic));
                self.member.commit(Commit { outputs, positions }).await?;
                self.member.commit(Commit { outputs: changes, positions: Vec::new() }).await
            }
            LogFlaw::NoTransactions
            | LogFlaw::SlowToTakeOver
            | LogFlaw::BrokenNowAndThen
            | LogFlaw::PositionsSetBack
            | LogFlaw::ChangelogBeforePosition => self.member.commit(Commit { outputs, positions }).await,
        }
    }

    async fn committed(&mut self, partition: u32) -> Result<Option<u64>, LogError> {
        let committed = self.member.committed(partition).await?;
        Ok(if self.flaw == LogFlaw::PositionsSetBack { set_back(committed) } else { committed })
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        self.member.leave().await
    }
}
