//! A member of a consumer group: its events, and records of its partitions.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::call::encode_call;
use super::cursor::{Allowance, Cursor};
use super::group::{Group, MemberId};
use super::shared::Shared;
use super::work::{Committing, Work};
use crate::log::{Commit, Event, Incoming, LogError, Member, MemberSpec, PartitionBatch};

/// A member of a group.
#[derive(Debug)]
pub(super) struct EmbeddedMember {
    shared: Arc<Shared>,
    group: Arc<Group>,
    id: MemberId,
    spec: MemberSpec,
    cursors: BTreeMap<u32, Cursor>,
    /// Which partition is served first next time.
    turn: usize,
}

impl EmbeddedMember {
    /// Joins a group.
    ///
    /// # Errors
    /// [`LogError::NoSuchTopic`].
    pub fn join(shared: Arc<Shared>, spec: MemberSpec) -> Result<Self, LogError> {
        let group = shared.group(&spec.group, spec.topic)?;
        let id = group.join(&spec.instance, spec.poll_interval_max, Instant::now());
        Ok(Self { shared, group, id, spec, cursors: BTreeMap::new(), turn: 0 })
    }

    /// Follows what the caller is about to be told.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Revoked(partitions) | Event::Lost(partitions) => {
                self.cursors.retain(|partition, _| !partitions.contains(partition));
            }
            // A partition that comes back is started anew.
            Event::Assigned(assigned) => {
                self.cursors.retain(|partition, _| !assigned.iter().any(|a| a.partition == *partition));
            }
            Event::Batch(_) => {}
        }
    }

    /// What its partitions have, gathered up to the limits, each partition getting its share first.
    async fn gather(&mut self) -> Result<Option<Event>, LogError> {
        let mut filled = Vec::with_capacity(self.cursors.len());
        for (&partition, cursor) in &mut self.cursors {
            if cursor.fill(&self.shared.fetches).await? {
                filled.push(partition);
            }
        }
        if filled.is_empty() {
            return Ok(None);
        }
        let turn = self.turn % filled.len();
        filled.rotate_left(turn);
        self.turn = self.turn.wrapping_add(1);
        let mut gathered: Vec<(u32, Vec<Incoming>)> = filled.into_iter().map(|p| (p, Vec::new())).collect();
        let (mut records_left, mut bytes_left) = (self.spec.batch_records_max.max(1), self.spec.batch_bytes_max);
        let mut one_at_least = true;
        // First to each its share, then to each what is left.
        let share = gathered.len();
        for share in [share, 1] {
            let (records_share, bytes_share) = (records_left.div_ceil(share), bytes_left.div_ceil(share));
            for (partition, records) in &mut gathered {
                let Some(cursor) = self.cursors.get_mut(partition) else { continue };
                let before = records.len();
                let (most_records, bytes) = (records_share.min(records_left), bytes_share.min(bytes_left));
                let taken = cursor.take(Allowance { records: most_records, bytes, one_at_least }, records)?;
                one_at_least &= records.is_empty();
                records_left -= records.len() - before;
                bytes_left = bytes_left.saturating_sub(taken);
            }
        }
        let next_offset = |partition| self.cursors.get(&partition).map_or(0, Cursor::position);
        let batches = gathered.into_iter().filter(|(_, records)| !records.is_empty());
        let batches: Vec<_> = batches
            .map(|(partition, records)| PartitionBatch { partition, records, next_offset: next_offset(partition) })
            .collect();
        Ok((!batches.is_empty()).then_some(Event::Batch(batches)))
    }

    async fn wait(&self, change: impl Future<Output = ()>, records: impl Future<Output = ()>) {
        let overdue = async {
            match self.group.next_overdue() {
                Some(at) => sleep_until(at + std::time::Duration::from_millis(1)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = change => {}
            () = records => {}
            () = overdue => {}
        }
    }
}

#[async_trait]
impl Member for EmbeddedMember {
    async fn next(&mut self) -> Result<Event, LogError> {
        let group = Arc::clone(&self.group);
        let topic = Arc::clone(&self.shared.topics.of(self.spec.topic)?.changed);
        let _inside = group.enter(self.id, &self.spec.instance, Instant::now())?;
        group.give_up_revoked(self.id);
        loop {
            let (mut change, mut records) = (pin!(group.changed.notified()), pin!(topic.notified()));
            change.as_mut().enable();
            records.as_mut().enable();
            self.shared.check_open()?;
            if let Some(event) = group.event(self.id, &self.spec.instance, Instant::now())? {
                self.note(&event);
                return Ok(event);
            }
            if let Some(batch) = self.gather().await? {
                return Ok(batch);
            }
            self.wait(change, records).await;
        }
    }

    async fn start(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        if !self.group.owns(self.id, partition) {
            return Err(self.group.fenced(&self.spec.instance));
        }
        let partition = self.shared.topics.partition(self.spec.topic, partition)?;
        partition.check(offset)?;
        self.cursors.insert(partition.index, Cursor::new(Arc::clone(partition), offset));
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) -> Result<(), LogError> {
        let _inside = self.group.enter(self.id, &self.spec.instance, Instant::now())?;
        let Commit { outputs, positions } = commit;
        let call = encode_call(&self.shared.topics, self.shared.limits, &outputs)?;
        let (reply, answer) = oneshot::channel();
        let instance = self.spec.instance.clone();
        let committing = Committing { group: Arc::clone(&self.group), member: self.id, instance, positions };
        self.shared.queue()?.push(Work::Commit(call.chunks, committing, reply), call.bytes).await?;
        answer.await.unwrap_or(Err(LogError::Closed))
    }

    async fn committed(&mut self, partition: u32) -> Result<Option<u64>, LogError> {
        Ok(self.group.committed_of(partition))
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        self.group.leave(self.id);
        Ok(())
    }
}

/// Nobody can use the member any more: its partitions need not wait for a timeout.
impl Drop for EmbeddedMember {
    fn drop(&mut self) {
        self.group.leave(self.id);
    }
}
