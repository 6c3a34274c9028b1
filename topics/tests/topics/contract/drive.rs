//! Short words for what the tests do with logs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use topics::catalogue::TopicSpec;
use topics::headers::Headers;
use topics::log::{Commit, Event, Incoming, Log, LogError, Member, MemberSpec, Outgoing, PartitionBatch, StartAt};

/// The longest wait for something that must happen.
pub const WAIT_MAX: Duration = Duration::from_secs(20);

/// A record with its key deciding the partition.
pub fn keyed(topic: &'static TopicSpec, key: &str, value: &str) -> Outgoing {
    Outgoing {
        topic,
        partition: None,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        headers: Headers::default(),
    }
}

/// A record for a partition.
pub fn placed(topic: &'static TopicSpec, partition: u32, value: &str) -> Outgoing {
    Outgoing { partition: Some(partition), ..keyed(topic, "key", value) }
}

/// Appends values to a partition and returns the offset of the first.
pub async fn append(log: &Arc<dyn Log>, topic: &'static TopicSpec, partition: u32, values: &[&str]) -> u64 {
    let records = values.iter().map(|value| placed(topic, partition, value)).collect();
    log.append(records).await.unwrap()[0].offset
}

/// Everything in a partition, from its start to its present end.
pub async fn read_all(log: &Arc<dyn Log>, topic: &'static TopicSpec, partition: u32) -> Vec<Incoming> {
    let end = log.bounds(topic, partition).await.unwrap().end;
    let mut reader = log.read(topic, &[(partition, StartAt::Earliest)]).await.unwrap();
    let mut records = Vec::new();
    while reader.position(partition).unwrap() < end {
        let Some(batch) = reader.next_within(WAIT_MAX).await.unwrap() else {
            panic!("the reader stopped before {end}")
        };
        records.extend(batch.records);
    }
    records
}

/// The values of everything in a partition.
pub async fn values(log: &Arc<dyn Log>, topic: &'static TopicSpec, partition: u32) -> Vec<String> {
    read_all(log, topic, partition).await.iter().map(text).collect()
}

/// A record's value as text.
pub fn text(record: &Incoming) -> String {
    String::from_utf8(record.value.to_vec()).unwrap()
}

/// A member with wide limits.
pub fn member_spec(topic: &'static TopicSpec, instance: &str) -> MemberSpec {
    MemberSpec {
        group: "workers".into(),
        topic,
        instance: instance.into(),
        transactional: true,
        batch_records_max: 1_000,
        batch_bytes_max: 1 << 20,
        poll_interval_max: Duration::from_secs(60),
    }
}

/// The next event, within the bound.
pub async fn next(member: &mut Box<dyn Member>) -> Result<Event, LogError> {
    timeout(WAIT_MAX, member.next()).await.expect("no event came")
}

/// Joins, waits for so many partitions, and starts each at its committed position or at `first`.
pub async fn join_and_start(log: &Arc<dyn Log>, spec: MemberSpec, partitions: usize) -> Box<dyn Member> {
    let topic = spec.topic;
    let mut member = log.join(spec).await.unwrap();
    let mut assigned = 0;
    while assigned < partitions {
        match next(&mut member).await.unwrap() {
            Event::Assigned(new) => {
                assigned += new.len();
                for one in new {
                    let start = log.bounds(topic, one.partition).await.unwrap().start;
                    member.start(one.partition, one.committed.unwrap_or(start)).await.unwrap();
                }
            }
            other => panic!("{other:?} came before all {partitions} partitions"),
        }
    }
    member
}

/// Batches until so many records came.
pub async fn next_records(member: &mut Box<dyn Member>, count: usize) -> Vec<PartitionBatch> {
    let mut batches = Vec::new();
    while batches.iter().map(|batch: &PartitionBatch| batch.records.len()).sum::<usize>() < count {
        match next(member).await.unwrap() {
            Event::Batch(more) => batches.extend(more),
            other => panic!("{other:?} came instead of records"),
        }
    }
    batches
}

/// The positions behind batches.
pub fn positions(batches: &[PartitionBatch]) -> Vec<(u32, u64)> {
    batches.iter().map(|batch| (batch.partition, batch.next_offset)).collect()
}

/// A member in a task of its own, that commits what it gets and passes the values on.
pub struct Worker {
    /// The partitions that it has.
    pub owned: watch::Receiver<BTreeSet<u32>>,
    /// The values that it has committed, with their partitions.
    pub worked: mpsc::UnboundedReceiver<(u32, String)>,
    task: JoinHandle<Option<LogError>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Worker {
    /// Joins and works.
    pub async fn start(log: &Arc<dyn Log>, spec: MemberSpec) -> Self {
        let member = log.join(spec.clone()).await.unwrap();
        let (own, owned) = watch::channel(BTreeSet::new());
        let (work, worked) = mpsc::unbounded_channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(run(Arc::clone(log), spec, member, own, work, stopped));
        Self { owned, worked, task, stop: Some(stop) }
    }

    /// Waits until it has so many partitions.
    pub async fn owns(&mut self, partitions: usize) -> BTreeSet<u32> {
        let waiting = self.owned.wait_for(|owned| owned.len() == partitions);
        timeout(WAIT_MAX, waiting).await.expect("the partitions never settled").unwrap().clone()
    }

    /// Waits for a value that it has committed.
    pub async fn next_worked(&mut self) -> (u32, String) {
        timeout(WAIT_MAX, self.worked.recv()).await.expect("nothing was worked on").unwrap()
    }

    /// Leaves the group in good order.
    pub async fn leave(mut self) {
        let _already_ended = self.stop.take().map(|stop| stop.send(()));
        assert!(timeout(WAIT_MAX, self.task).await.expect("it never stops").unwrap().is_none());
    }

    /// The error that ended it.
    pub async fn error(self) -> Option<LogError> {
        timeout(WAIT_MAX, self.task).await.expect("it never stops").unwrap()
    }
}

async fn run(
    log: Arc<dyn Log>,
    spec: MemberSpec,
    mut member: Box<dyn Member>,
    own: watch::Sender<BTreeSet<u32>>,
    work: mpsc::UnboundedSender<(u32, String)>,
    mut stopped: tokio::sync::oneshot::Receiver<()>,
) -> Option<LogError> {
    loop {
        let event = tokio::select! {
            event = member.next() => event,
            _ = &mut stopped => {
                member.leave().await.unwrap();
                return None;
            }
        };
        match event {
            Ok(Event::Assigned(assigned)) => {
                for one in &assigned {
                    let start = log.bounds(spec.topic, one.partition).await.unwrap().start;
                    member.start(one.partition, one.committed.unwrap_or(start)).await.unwrap();
                }
                own.send_modify(|owned| owned.extend(assigned.iter().map(|one| one.partition)));
            }
            Ok(Event::Revoked(gone) | Event::Lost(gone)) => {
                own.send_modify(|owned| owned.retain(|partition| !gone.contains(partition)));
            }
            Ok(Event::Batch(batches)) => {
                let commit = Commit { outputs: Vec::new(), positions: positions(&batches) };
                if let Err(e) = member.commit(commit).await {
                    return Some(e);
                }
                for batch in &batches {
                    for record in &batch.records {
                        work.send((batch.partition, text(record))).unwrap();
                    }
                }
            }
            Err(e) => return Some(e),
        }
    }
}
