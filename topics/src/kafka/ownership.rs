//! Partitions that come and go: taking over, starting, giving up.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::error::fenced;
use super::membership::{Membership, Reading, SETTLE_MAX, Standing};
use super::rebalance::{Change, give_up};
use crate::log::{Assigned, Event, LogError};

/// How often brokers look for transactions to abort, where nothing else is set
/// (`transaction.abort.timed.out.transaction.cleanup.interval.ms`).
const TIMED_OUT_LOOKED_FOR_EVERY: Duration = Duration::from_secs(10);
/// How long a member waits until its client has given up its partitions.
const RELEASE_MAX: Duration = Duration::from_secs(5);

impl Membership {
    /// Answers what the group has decided.
    pub(super) fn rebalance(&mut self) {
        while let Some(change) = self.consumer.context().next() {
            let answered = match &change {
                Change::Assigned(partitions) => self.take_over(partitions),
                Change::Revoked(partitions) => self.revoke(partitions),
                Change::Lost(partitions) => self.lose(partitions),
            };
            if let Err(error) = answered {
                tracing::debug!(group = self.spec.group, %error, "a rebalance waits for the brokers");
                self.consumer.context().put_back(change);
                return;
            }
        }
    }

    /// The positions are fetched before the owner is told: what it restores then is never older.
    fn take_over(&mut self, partitions: &[u32]) -> Result<(), LogError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let mut told = Vec::with_capacity(partitions.len());
        if !partitions.is_empty() {
            let committed = self.positions(partitions)?;
            let speaker = self.cluster.speaker("taking over partitions");
            for &partition in partitions {
                let committed = committed.get(&partition).copied();
                let start = match committed {
                    Some(offset) => offset,
                    None => self.cluster.bounds(&self.topic, partition)?.start,
                };
                list.add_partition_offset(
                    &self.topic.name,
                    partition.cast_signed(),
                    Offset::Offset(start.cast_signed()),
                )
                .map_err(|e| speaker.error(e))?;
                told.push(Assigned { partition, committed });
            }
        }
        if let Err(error) = self.consumer.incremental_assign(&list).and_then(|()| self.consumer.pause(&list)) {
            // The group has gone on without waiting for this answer: what it decided then comes next.
            tracing::warn!(group = self.spec.group, %error, "an assignment came too late");
        } else if !told.is_empty() {
            self.owned.extend(partitions.iter().map(|&partition| (partition, Reading::Paused)));
            self.pending.push_back(Ok(Event::Assigned(told)));
        }
        Ok(())
    }

    /// Committed positions; those that a transaction is about to commit are waited for. What stays so for
    /// longer than brokers let a transaction be open is none: a coordinator that was loaded by halves says it
    /// of transactions that ended long ago, until it is loaded again (ARCHITECTURE.md). Then the older
    /// positions that it has are told.
    pub(super) fn positions(&mut self, partitions: &[u32]) -> Result<HashMap<u32, u64>, LogError> {
        let asked = Instant::now();
        let error = match self.cluster.committed(&self.consumer, &self.topic, partitions) {
            Err(error @ LogError::Unavailable { .. }) => error,
            found => {
                self.unsettled_since = None;
                return found;
            }
        };
        let since = *self.unsettled_since.get_or_insert(asked);
        if !self.spec.transactional
            || since.elapsed() < self.cluster.config.timeouts.transaction + TIMED_OUT_LOOKED_FOR_EVERY
        {
            return Err(error);
        }
        let Ok(found) = self.cluster.unsettled(&self.spec.group, &self.topic, partitions) else {
            // It is the brokers that are away.
            self.unsettled_since = None;
            return Err(error);
        };
        let (group, seconds) = (&self.spec.group, since.elapsed().as_secs());
        tracing::warn!(
            group,
            ?partitions,
            seconds,
            "the group's coordinator waits for a transaction for longer than one may last: its older positions are taken"
        );
        metrics::counter!("gochat_unsettled_positions_total", "group" => group.clone()).increment(1);
        Ok(found)
    }

    fn revoke(&mut self, partitions: &[u32]) -> Result<(), LogError> {
        partitions.iter().for_each(|&partition| self.backlog.forget(partition));
        if partitions.is_empty() {
            return self.unassign(partitions);
        }
        self.revoking.extend(partitions);
        self.pending.push_back(Ok(Event::Revoked(partitions.to_vec())));
        Ok(())
    }

    fn lose(&mut self, partitions: &[u32]) -> Result<(), LogError> {
        self.unassign(partitions)?;
        self.revoking.retain(|partition| !partitions.contains(partition));
        let lost: Vec<u32> = partitions.iter().copied().filter(|p| self.owned.remove(p).is_some()).collect();
        lost.iter().for_each(|&partition| self.backlog.forget(partition));
        if !lost.is_empty() {
            self.pending.push_back(Ok(Event::Lost(lost)));
        }
        Ok(())
    }

    /// The owner called again after it got a revocation.
    pub(super) fn give_up_revoked(&mut self) {
        if self.revoking.is_empty() || !self.pending.is_empty() {
            return;
        }
        let revoked = std::mem::take(&mut self.revoking);
        match self.unassign(&revoked) {
            Ok(()) => self.owned.retain(|partition, _| !revoked.contains(partition)),
            Err(error) => {
                tracing::debug!(group = self.spec.group, %error, "partitions could not be given up yet");
                self.revoking = revoked;
            }
        }
    }

    fn unassign(&self, partitions: &[u32]) -> Result<(), LogError> {
        let given_up = self.list(partitions).and_then(|list| give_up(&self.consumer, &list));
        given_up.map_err(|e| self.cluster.speaker("giving partitions up").error(e))
    }

    fn list(&self, partitions: &[u32]) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            list.add_partition(&self.topic.name, partition.cast_signed());
        }
        Ok(list)
    }

    /// Notes where a partition is to be read from; [`start_reading`](Self::start_reading) moves there.
    pub(super) fn start(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        if self.standing == Standing::Fenced || !self.owned.contains_key(&partition) {
            return Err(fenced(&self.spec));
        }
        let bounds = self.cluster.bounds(&self.topic, partition)?;
        if offset < bounds.start || offset > bounds.end {
            let (topic, start, end) = (self.topic.spec.name.to_owned(), bounds.start, bounds.end);
            return Err(LogError::OffsetOutOfRange { topic, partition, offset, start, end });
        }
        self.backlog.forget(partition);
        self.owned.insert(partition, Reading::Starting(offset));
        Ok(())
    }

    /// Moves to where the owner wants to read, for all partitions in one go: a partition that came
    /// later would wait until the fetch that is under way has ended.
    pub(super) fn start_reading(&mut self) {
        let starting: Vec<(u32, u64)> = self
            .owned
            .iter()
            .filter_map(|(&partition, reading)| match reading {
                Reading::Starting(offset) if !self.revoking.contains(&partition) => Some((partition, *offset)),
                Reading::Starting(_) | Reading::Paused | Reading::Running(_) => None,
            })
            .collect();
        if starting.is_empty() {
            return;
        }
        match self.seek(&starting) {
            Ok(moved) => {
                self.settling = Some((Instant::now() + SETTLE_MAX, moved.clone()));
                for (partition, offset) in starting.into_iter().filter(|(partition, _)| moved.contains(partition)) {
                    self.owned.insert(partition, Reading::Running(offset));
                }
            }
            Err(error) => tracing::debug!(group = self.spec.group, %error, "partitions are started a little later"),
        }
    }

    /// The partitions that could be moved; the others were assigned too shortly before.
    fn seek(&self, to: &[(u32, u64)]) -> KafkaResult<Vec<u32>> {
        let mut list = TopicPartitionList::with_capacity(to.len());
        for &(partition, offset) in to {
            let offset = Offset::Offset(offset.cast_signed());
            list.add_partition_offset(&self.topic.name, partition.cast_signed(), offset)?;
        }
        let sought = self.consumer.seek_partitions(list, self.cluster.config.timeouts.request)?;
        let elements = sought.elements();
        let moved = elements.iter().filter(|element| element.error().is_ok());
        let moved: Vec<u32> = moved.map(|element| element.partition().cast_unsigned()).collect();
        self.consumer.resume(&self.list(&moved)?)?;
        Ok(moved)
    }

    /// Leaves the group because the owner did not call in time.
    pub(super) fn give_up(&mut self) {
        let (group, instance) = (&self.spec.group, &self.spec.instance);
        tracing::warn!(group, instance, "the member was not called in time and leaves its group");
        self.release();
        let lost: Vec<u32> = std::mem::take(&mut self.owned).into_keys().collect();
        lost.iter().for_each(|&partition| self.backlog.forget(partition));
        self.pending.clear();
        if !lost.is_empty() {
            self.pending.push_back(Ok(Event::Lost(lost)));
        }
        self.standing = Standing::GivenUp;
    }

    pub(super) fn come_back(&mut self) {
        self.consumer.context().set_leaving(false);
        match self.consumer.subscribe(&[&self.topic.name]) {
            Ok(()) => self.standing = Standing::Member,
            Err(error) => tracing::debug!(group = self.spec.group, %error, "the group could not be joined again yet"),
        }
    }

    /// Leaves the group. To end the subscription, and not only the client, is what tells the group of a
    /// static member at once.
    pub(super) fn release(&mut self) {
        self.consumer.context().set_leaving(true);
        // What librdkafka still waits for is answered first.
        while let Some(change) = self.consumer.context().next() {
            match change {
                Change::Assigned(_) => self.answer(self.consumer.incremental_assign(&TopicPartitionList::new())),
                Change::Revoked(partitions) | Change::Lost(partitions) => {
                    self.answer(self.list(&partitions).and_then(|list| give_up(&self.consumer, &list)));
                }
            }
        }
        let revoked = std::mem::take(&mut self.revoking);
        if !revoked.is_empty() {
            self.answer(self.list(&revoked).and_then(|list| give_up(&self.consumer, &list)));
        }
        self.consumer.unsubscribe();
        let deadline = Instant::now() + RELEASE_MAX;
        while Instant::now() < deadline && self.consumer.assignment().is_ok_and(|assigned| assigned.count() > 0) {
            drop(self.consumer.poll(Duration::from_millis(10)));
        }
    }

    fn answer(&self, answered: KafkaResult<()>) {
        if let Err(error) = answered {
            tracing::debug!(group = self.spec.group, %error, "a rebalance could not be answered while leaving");
        }
    }
}
