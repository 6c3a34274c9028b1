//! A member of a group, as the process holds it that joined: it knows what it was told and no more, so
//! it can be a zombie. A commit is made in the steps of the real thing, with a boundary at each.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use topics::log::{Assigned, Commit, Event, LogError, Member, MemberSpec, Outgoing, PartitionBatch};

use super::broker::{Broker, TransactionId, fenced, index_of};
use super::group::{MemberId, Told};
use super::log::unavailable;
use super::world::{Boundary, Fault, Happening, Process, SESSION};

/// A member of a simulated group.
pub struct SimMember {
    broker: Arc<Broker>,
    process: Process,
    spec: MemberSpec,
    topic: usize,
    group: usize,
    id: MemberId,
    /// What it was told that it owns, and where it reads on; `None`: not started.
    cursors: BTreeMap<u32, Option<u64>>,
    /// What it was told to give up, and does when it calls again.
    revoked: Vec<u32>,
    /// Its client said that it can't go on.
    broken: bool,
}

impl SimMember {
    pub fn join(broker: Arc<Broker>, process: Process, spec: MemberSpec) -> Self {
        let (group, id) = broker.join(&spec.group, spec.topic, &spec.instance);
        broker.world.note(Happening::Joined(process));
        let topic = index_of(spec.topic);
        Self { broker, process, spec, topic, group, id, cursors: BTreeMap::new(), revoked: Vec::new(), broken: false }
    }

    /// What the group or the topic has for it now.
    fn look(&mut self) -> Result<Option<Event>, LogError> {
        let (world, process) = (Arc::clone(&self.broker.world), self.process);
        for partition in self.revoked.drain(..) {
            self.cursors.remove(&partition);
        }
        let told = self.broker.call(self.group, self.id).map_err(|()| self.fenced())?;
        let event = match told {
            None => return Ok(self.gather()),
            Some((Told::Assigned(partition), committed)) => {
                self.cursors.insert(partition, None);
                world.note(Happening::Assigned { to: process, partition, committed });
                Event::Assigned(vec![Assigned { partition, committed }])
            }
            Some((Told::Revoked(partition), _)) => {
                self.cursors.insert(partition, None);
                self.revoked.push(partition);
                world.note(Happening::Revoked { from: process, partitions: vec![partition] });
                Event::Revoked(vec![partition])
            }
            Some((Told::Lost(partitions), _)) => {
                self.cursors.retain(|partition, _| !partitions.contains(partition));
                world.note(Happening::Lost { by: process, partitions: partitions.clone() });
                Event::Lost(partitions)
            }
        };
        Ok(Some(event))
    }

    /// Some of what its partitions have.
    fn gather(&mut self) -> Option<Event> {
        let max = self.spec.batch_records_max.max(1);
        let mut left = self.broker.world.draw(|random| random.random_range(1..=max));
        let mut batches = Vec::new();
        for (&partition, cursor) in &mut self.cursors {
            let Some(from) = *cursor else { continue };
            let (records, next_offset) = self.broker.partition(self.topic, partition, |kept| kept.read(from, left));
            *cursor = Some(next_offset);
            if records.is_empty() {
                continue;
            }
            left -= records.len();
            let (of, records_read) = (self.process, records.len());
            self.broker.world.note(Happening::Batch { of, partition, from, next: next_offset, records: records_read });
            batches.push(PartitionBatch { partition, records, next_offset });
            if left == 0 {
                break;
            }
        }
        (!batches.is_empty()).then_some(Event::Batch(batches))
    }

    fn fenced(&self) -> LogError {
        self.broker.world.note(Happening::Fenced(self.process));
        fenced(&self.spec.group, &self.spec.instance)
    }

    /// Passes a boundary, or does not.
    async fn pass(&mut self, at: Boundary, possible: &[Fault]) -> Result<(), LogError> {
        let world = Arc::clone(&self.broker.world);
        let passed = world.pass(self.process, at, possible).await;
        if passed != Err(Fault::Freeze) {
            return passed.map_err(|fault| self.error_of(fault));
        }
        let more = world.draw(|random| random.random_range(1..=120));
        freeze(&self.broker, self.process, &self.spec.instance, SESSION + Duration::from_millis(more));
        world.step(self.process).await;
        Ok(())
    }

    fn error_of(&mut self, fault: Fault) -> LogError {
        match fault {
            Fault::Passing => unavailable("committing"),
            Fault::Abort => LogError::Aborted { brokers: "simulated".into(), source: "a fault was injected".into() },
            Fault::Broken | Fault::Crash | Fault::Freeze => {
                self.broken = true;
                LogError::Broken { doing: "committing", source: "a fault was injected".into() }
            }
        }
    }

    async fn transact(&mut self, Commit { outputs, positions }: Commit) -> Result<(), LogError> {
        let broker = Arc::clone(&self.broker);
        let transaction = broker.begin(&self.spec.instance);
        let count = outputs.len();
        let written = self.write_in(transaction, outputs).await;
        if written.is_err() {
            return Err(self.fenced());
        }
        broker.world.note(Happening::Written { by: self.process, outputs: count });
        for sends_positions in [true, false] {
            let struck = self.pass(Boundary::Within, &[Fault::Abort, Fault::Broken, Fault::Crash, Fault::Freeze]).await;
            if let Err(LogError::Aborted { .. }) = struck {
                broker.abort(transaction);
            }
            struck?;
            if sends_positions && broker.send_positions(transaction, self.group, self.id, &positions).is_err() {
                broker.abort(transaction);
                return Err(self.fenced());
            }
            broker.world.step(self.process).await;
        }
        broker.commit(transaction).map_err(|()| self.fenced())?;
        broker.world.note(Happening::Committed { by: self.process, positions });
        self.pass(Boundary::After, &[Fault::Broken, Fault::Crash, Fault::Freeze]).await
    }

    /// Writes records in two parts, so that others get in between.
    async fn write_in(&self, transaction: TransactionId, mut outputs: Vec<Outgoing>) -> Result<(), ()> {
        let rest = outputs.split_off(self.broker.world.draw(|random| random.random_range(0..=outputs.len())));
        self.broker.append_in(transaction, outputs)?;
        self.broker.world.step(self.process).await;
        self.broker.append_in(transaction, rest)
    }

    /// Outputs and then positions, with nothing that holds them together.
    async fn deliver(&mut self, Commit { mut outputs, positions }: Commit) -> Result<(), LogError> {
        let (broker, count) = (Arc::clone(&self.broker), outputs.len());
        let world = Arc::clone(&broker.world);
        let fault = world.strike(self.process, Boundary::Within, &[Fault::Passing, Fault::Broken, Fault::Crash]);
        if let Some(fault) = fault {
            let some = self.beginnings(outputs);
            world.note(Happening::Written { by: self.process, outputs: some.len() });
            broker.append(some);
            if fault == Fault::Crash {
                world.die(self.process).await;
            }
            return Err(self.error_of(fault));
        }
        let rest = outputs.split_off(world.draw(|random| random.random_range(0..=outputs.len())));
        broker.append(outputs);
        world.step(self.process).await;
        broker.append(rest);
        world.note(Happening::Written { by: self.process, outputs: count });
        self.pass(Boundary::Within, &[Fault::Passing, Fault::Broken, Fault::Crash, Fault::Freeze]).await?;
        world.step(self.process).await;
        broker.commit_positions(self.group, self.id, &positions).map_err(|()| self.fenced())?;
        world.note(Happening::Committed { by: self.process, positions });
        self.pass(Boundary::After, &[Fault::Passing, Fault::Broken, Fault::Crash, Fault::Freeze]).await
    }

    /// What a delivery that failed has written: of each partition a beginning, maybe none.
    fn beginnings(&self, outputs: Vec<Outgoing>) -> Vec<Outgoing> {
        let mut left: BTreeMap<(usize, u32), usize> = BTreeMap::new();
        for output in &outputs {
            *left.entry(self.broker.place_of(output)).or_default() += 1;
        }
        for count in left.values_mut() {
            *count = self.broker.world.draw(|random| random.random_range(0..=*count));
        }
        let mut written = |output: &Outgoing| {
            let left = left.entry(self.broker.place_of(output)).or_default();
            *left > 0 && {
                *left -= 1;
                true
            }
        };
        outputs.into_iter().filter(|output| written(output)).collect()
    }
}

/// Stops a process; after its session it loses its partitions without knowing.
pub fn freeze(broker: &Arc<Broker>, process: Process, instance: &str, time: Duration) {
    broker.world.freeze(process, time);
    if time > SESSION {
        let (broker, instance) = (Arc::clone(broker), instance.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(SESSION).await;
            if broker.evict(&instance) {
                broker.world.note(Happening::Evicted(process));
            }
        });
    }
}

#[async_trait]
impl Member for SimMember {
    async fn next(&mut self) -> Result<Event, LogError> {
        let broker = Arc::clone(&self.broker);
        broker.world.step(self.process).await;
        loop {
            let mut changed = pin!(broker.changed(self.topic).notified());
            changed.as_mut().enable();
            if let Some(event) = self.look()? {
                return Ok(event);
            }
            changed.await;
            broker.world.step(self.process).await;
        }
    }

    async fn start(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.broker.world.step(self.process).await;
        if !self.cursors.contains_key(&partition) {
            return Err(self.fenced());
        }
        let bounds = self.broker.partition(self.topic, partition, |kept| kept.bounds());
        if offset < bounds.start || offset > bounds.end {
            let (topic, start, end) = (self.spec.topic.name.to_owned(), bounds.start, bounds.end);
            return Err(LogError::OffsetOutOfRange { topic, partition, offset, start, end });
        }
        self.cursors.insert(partition, Some(offset));
        self.broker.world.note(Happening::Started { by: self.process, partition, offset });
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) -> Result<(), LogError> {
        self.broker.world.step(self.process).await;
        let possible: &[Fault] = if self.spec.transactional {
            &[Fault::Passing, Fault::Abort, Fault::Broken, Fault::Crash, Fault::Freeze]
        } else {
            &[Fault::Passing, Fault::Broken, Fault::Crash, Fault::Freeze]
        };
        self.pass(Boundary::Before, possible).await?;
        // What it was told, not what is: a zombie goes on.
        let unknown = commit.positions.iter().any(|(partition, _)| !self.cursors.contains_key(partition));
        if unknown || self.broken {
            return Err(self.fenced());
        }
        if self.spec.transactional { self.transact(commit).await } else { self.deliver(commit).await }
    }

    async fn committed(&mut self, partition: u32) -> Result<Option<u64>, LogError> {
        self.broker.world.step(self.process).await;
        Ok(self.broker.group(self.group, |group| group.committed(partition)))
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        self.broker.world.step(self.process).await;
        self.broker.group(self.group, |group| group.leave(self.id));
        Ok(())
    }
}
