//! A member of a consumer group, on its own thread: one loop over what its owner asks for and what
//! librdkafka has for it.
//!
//! It polls librdkafka only while its owner waits in `next`, so an owner that hangs is noticed: after
//! `poll_interval_max` without a call the member leaves its group, and its owner is told when it comes
//! back. What comes from librdkafka is in [`super::fetching`] and
//! [`super::ownership`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::cluster::{Cluster, Topic};
use super::committer::{Committer, Positions};
use super::error::{Failure, fenced};
use super::rebalance::Rebalances;
use super::record::Backlog;
use crate::log::{Commit, Event, LogError, MemberSpec};
use crate::queue_metrics::Bound;

/// A message to a membership's thread.
pub(super) enum Signal {
    /// The owner waits for the next event.
    Next,
    Start {
        partition: u32,
        offset: u64,
        reply: Reply<()>,
    },
    Commit {
        commit: Commit,
        reply: Reply<()>,
    },
    Committed {
        partition: u32,
        reply: Reply<Option<u64>>,
    },
    Leave {
        reply: Reply<()>,
    },
    /// The owner dropped it without leaving the group.
    Gone,
    /// librdkafka has something.
    Arrival,
}

type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// Longest time between two polls while the owner waits.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// After an answer to a rebalance, or a seek, that has to be tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Records fetched ahead of the owner, at least.
const READ_AHEAD_RECORDS: usize = 4_096;
/// Longest wait for the first records of partitions that were just started.
pub(super) const SETTLE_MAX: Duration = Duration::from_millis(50);

/// How far an assigned partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Its owner did not start it yet.
    Paused,
    /// It will be read from this offset on.
    Starting(u64),
    /// It is read, from this offset on.
    Running(u64),
}

/// Where the member stands in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Member,
    /// Its owner did not call in time.
    GivenUp,
    /// Another took its name.
    Fenced,
}

pub(super) struct Membership {
    pub(super) cluster: Arc<Cluster>,
    pub(super) topic: Arc<Topic>,
    pub(super) spec: MemberSpec,
    pub(super) consumer: BaseConsumer<Rebalances>,
    pub(super) committer: Committer,
    signals: Receiver<Signal>,
    own_signals: Sender<Signal>,
    arrival_told: Arc<AtomicBool>,
    events: mpsc::Sender<Result<Event, LogError>>,
    pub(super) standing: Standing,
    pub(super) owned: BTreeMap<u32, Reading>,
    /// Revoked, and given up when the owner comes back.
    pub(super) revoking: Vec<u32>,
    pub(super) backlog: Backlog,
    /// Partitions that were just started, and how long they are waited for. The fetch that is under
    /// way may be without some of them; the owner would get much of one before anything of another.
    pub(super) settling: Option<(Instant, Vec<u32>)>,
    /// Events that the owner gets before records.
    pub(super) pending: VecDeque<Result<Event, LogError>>,
    /// Since when the group's positions can't be fetched.
    pub(super) unsettled_since: Option<Instant>,
    asked: bool,
    last_call: Instant,
}

impl Membership {
    /// Fences an earlier member of the name, and joins. Blocks on brokers: not for a thread of the async runtime.
    pub fn join(
        cluster: Arc<Cluster>,
        spec: MemberSpec,
        events: mpsc::Sender<Result<Event, LogError>>,
    ) -> Result<Self, LogError> {
        let topic = Arc::clone(cluster.topic(spec.topic)?);
        let committer = Committer::new(Arc::clone(&cluster), spec.clone())?;
        let speaker = cluster.speaker("joining a group");
        let consumer = cluster.config.member(&spec).create_with_context::<_, BaseConsumer<_>>(Rebalances::default());
        let mut consumer = consumer.map_err(|e| speaker.settings_error(e))?;
        let (own_signals, signals) = channel();
        let arrival_told = Arc::new(AtomicBool::new(false));
        let (tell, told) = (own_signals.clone(), Arc::clone(&arrival_told));
        consumer.set_nonempty_callback(move || {
            if !told.swap(true, Ordering::SeqCst) {
                let _thread_ended = tell.send(Signal::Arrival);
            }
        });
        consumer.subscribe(&[&topic.name]).map_err(|e| speaker.error(e))?;
        let ahead = Bound::new(format!("kafka-{}-read-ahead-records", spec.group), read_ahead_records_max(&spec));
        Ok(Self {
            cluster,
            topic,
            spec,
            consumer,
            committer,
            signals,
            own_signals,
            arrival_told,
            events,
            standing: Standing::Member,
            owned: BTreeMap::new(),
            revoking: Vec::new(),
            backlog: Backlog::measured_by(ahead),
            settling: None,
            pending: VecDeque::new(),
            unsettled_since: None,
            asked: false,
            last_call: Instant::now(),
        })
    }

    pub fn signals(&self) -> Sender<Signal> {
        self.own_signals.clone()
    }

    /// Until the owner leaves or drops it.
    pub fn run(mut self) {
        loop {
            match self.signals.recv_timeout(self.patience()) {
                Ok(Signal::Next) => {
                    self.called();
                    self.asked = true;
                    self.give_up_revoked();
                }
                Ok(Signal::Start { partition, offset, reply }) => {
                    self.called();
                    let started = self.start(partition, offset).map_err(|e| self.judged(e));
                    let _owner_gone = reply.send(started);
                }
                Ok(Signal::Commit { commit, reply }) => {
                    let committed = self.commit(&commit).map_err(|e| self.judged(e));
                    let _owner_gone = reply.send(committed);
                    self.called();
                }
                Ok(Signal::Committed { partition, reply }) => {
                    let _owner_gone = reply.send(self.committed(partition));
                    self.called();
                }
                Ok(Signal::Leave { reply }) => {
                    self.release();
                    drop(self.consumer);
                    let _owner_gone = reply.send(Ok(()));
                    return;
                }
                Ok(Signal::Arrival) => self.arrival_told.store(false, Ordering::SeqCst),
                Err(RecvTimeoutError::Timeout) => self.pass_time(),
                Ok(Signal::Gone) | Err(RecvTimeoutError::Disconnected) => {
                    self.consumer.context().set_leaving(true);
                    return;
                }
            }
            if self.asked
                && let Some(event) = self.look()
            {
                self.asked = false;
                let _owner_gone = self.events.try_send(event.map_err(|e| self.judged(e)));
            }
        }
    }

    fn called(&mut self) {
        self.last_call = Instant::now();
    }

    fn patience(&self) -> Duration {
        let must_retry = self.consumer.context().is_waiting()
            || self.owned.values().any(|reading| matches!(reading, Reading::Starting(_)));
        match (self.asked, self.standing) {
            (true, _) if self.settling.is_some() => SETTLE_MAX,
            (true, _) if must_retry => RETRY_INTERVAL,
            (false, Standing::Member) => {
                let limit = self.last_call + self.spec.poll_interval_max;
                limit.saturating_duration_since(Instant::now()).min(POLL_INTERVAL)
            }
            (true, _) | (false, Standing::GivenUp | Standing::Fenced) => POLL_INTERVAL,
        }
    }

    fn pass_time(&mut self) {
        self.committer.serve();
        let silent = self.last_call.elapsed() >= self.spec.poll_interval_max;
        if silent && !self.asked && self.standing == Standing::Member {
            self.give_up();
        }
    }

    /// What the owner gets next, when there is something.
    fn look(&mut self) -> Option<Result<Event, LogError>> {
        if let Some(event) = self.pending.pop_front() {
            return Some(event);
        }
        match self.standing {
            Standing::Member => {}
            Standing::GivenUp => self.come_back(),
            Standing::Fenced => return Some(Err(fenced(&self.spec))),
        }
        self.start_reading();
        self.poll();
        self.rebalance();
        if let Some(event) = self.pending.pop_front() {
            return Some(event);
        }
        if self.is_settling() {
            return None;
        }
        let mut batches = self.backlog.take(self.spec.batch_records_max, self.spec.batch_bytes_max);
        if batches.is_empty() {
            return None;
        }
        self.pass_marks(&mut batches);
        Some(Ok(Event::Batch(batches)))
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), LogError> {
        self.committer.check(&commit.outputs)?;
        let lost = |&(partition, _): &(u32, u64)| !self.owned.contains_key(&partition);
        if self.standing == Standing::Fenced || commit.positions.iter().any(lost) || self.consumer.assignment_lost() {
            return Err(fenced(&self.spec));
        }
        let speaker = self.cluster.speaker("committing");
        let offsets = Positions::list(&self.topic, &commit.positions).map_err(|e| speaker.error(e))?;
        if !self.spec.transactional {
            self.committer.deliver(&commit.outputs)?;
            return if commit.positions.is_empty() { Ok(()) } else { self.commit_positions(&offsets) };
        }
        // Afresh each time: after a rebalance the former one is refused.
        let member = self.consumer.group_metadata().ok_or_else(|| fenced(&self.spec))?;
        let positions = (!commit.positions.is_empty()).then_some(Positions { offsets, member });
        if commit.outputs.is_empty() && positions.is_none() {
            return Ok(());
        }
        self.committer.transact(&commit.outputs, positions.as_ref())
    }

    fn commit_positions(&self, offsets: &rdkafka::TopicPartitionList) -> Result<(), LogError> {
        let deadline = Instant::now() + self.cluster.config.timeouts.request;
        loop {
            let failure = match self.consumer.commit(offsets, CommitMode::Sync) {
                Ok(()) => return Ok(()),
                Err(e) => Failure::from(e).rooted(self.consumer.client()),
            };
            // A rebalance ends by itself; the member's client takes part in it in the background.
            let rebalancing = matches!(failure.code, Code::RebalanceInProgress | Code::IllegalGeneration);
            if !rebalancing || self.consumer.assignment_lost() || Instant::now() >= deadline {
                return Err(self.cluster.speaker("committing positions").member_error(&self.spec, failure));
            }
            std::thread::sleep(RETRY_INTERVAL);
        }
    }

    fn committed(&mut self, partition: u32) -> Result<Option<u64>, LogError> {
        self.topic.checked(partition)?;
        let found = self.positions(&[partition])?;
        Ok(found.get(&partition).copied())
    }
}

/// Records that are fetched ahead of a member's owner.
pub(super) fn read_ahead_records_max(spec: &MemberSpec) -> usize {
    READ_AHEAD_RECORDS.max(spec.batch_records_max)
}
