//! The state of the simulated log: topics, consumer groups, transactions.
//!
//! It keeps the rules of a cluster: a transaction's records are seen by nobody before it is committed
//! and lie in the way of what comes behind them; a name that joins again ends what its former bearer
//! left open; positions go with the transaction, and only from a member that still owns the partition.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use topics::catalogue::{ALL, Cleanup, Layout, TopicSpec};
use topics::log::{Incoming, LogError, Outgoing, Place};
use topics::partition::partition_of;

use super::group::{Group, MemberId, Told};
use super::partition::Partition;
use super::world::{Happening, World};

/// A transaction that is open for longer is aborted.
const TRANSACTION_MAX: Duration = Duration::from_millis(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionId(usize);

#[derive(Debug)]
struct Transaction {
    instance: String,
    open: bool,
    written: BTreeSet<(usize, u32)>,
    /// Index of the group whose positions it carries.
    group: Option<usize>,
}

/// The log that all processes speak to.
pub struct Broker {
    pub world: Arc<World>,
    pub layout: Layout,
    changed: Vec<Notify>,
    state: Mutex<State>,
}

struct State {
    topics: Vec<Vec<Partition>>,
    groups: Vec<Group>,
    transactions: Vec<Transaction>,
    last_member: u64,
    uncertain_positions: bool,
}

/// Index of a topic in the catalogue.
pub fn index_of(topic: &TopicSpec) -> usize {
    ALL.iter().position(|known| std::ptr::eq(*known, topic)).expect("every topic is in the catalogue")
}

impl Broker {
    pub fn new(world: Arc<World>, layout: Layout) -> Arc<Self> {
        let partitions = |topic: &&TopicSpec| (0..layout.partitions(topic)).map(|_| Partition::default()).collect();
        let state = State {
            topics: ALL.iter().map(partitions).collect(),
            groups: Vec::new(),
            transactions: Vec::new(),
            last_member: 0,
            uncertain_positions: false,
        };
        let changed = ALL.iter().map(|_| Notify::new()).collect();
        Arc::new(Self { world, layout, changed, state: Mutex::new(state) })
    }

    /// Told when something may have come to a topic, or to a group that reads it.
    pub fn changed(&self, topic: usize) -> &Notify {
        &self.changed[topic]
    }

    /// Looks at a partition.
    pub fn partition<T>(&self, topic: usize, partition: u32, look: impl FnOnce(&mut Partition) -> T) -> T {
        look(&mut self.state().topics[topic][partition as usize])
    }

    /// Where a record belongs.
    pub fn place_of(&self, record: &Outgoing) -> (usize, u32) {
        let partitions = self.layout.partitions(record.topic);
        (index_of(record.topic), record.partition.unwrap_or_else(|| partition_of(&record.key, partitions)))
    }

    /// Appends records, to be seen at once.
    pub fn append(&self, records: Vec<Outgoing>) -> Vec<Place> {
        let now = self.world.now_ms();
        let mut state = self.state();
        let mut touched = BTreeSet::new();
        let mut append = |record: Outgoing| {
            let (topic, partition) = self.place_of(&record);
            touched.insert(topic);
            Place { partition, offset: state.topics[topic][partition as usize].append(record, now, None) }
        };
        let places = records.into_iter().map(&mut append).collect();
        self.wake(touched);
        places
    }

    /// Everything that can be seen in a topic, partition by partition.
    pub fn everything(&self, topic: &TopicSpec) -> Vec<Vec<Incoming>> {
        let state = self.state();
        state.topics[index_of(topic)].iter().map(|partition| partition.read(0, usize::MAX).0).collect()
    }

    /// Tells positions that an open transaction may still change, from now on. A bug to be caught.
    pub fn tell_uncertain_positions(&self) {
        self.state().uncertain_positions = true;
    }

    /// Whether every group has committed all that can be read, and no transaction is open.
    pub fn is_quiet(&self) -> bool {
        let state = self.state();
        let worked = |group: &Group| {
            (0..).zip(&state.topics[group.topic]).all(|(number, partition)| {
                let position = group.committed(number).unwrap_or(partition.bounds().start);
                !partition.has_more(position)
            })
        };
        state.groups.iter().all(worked) && state.transactions.iter().all(|transaction| !transaction.open)
    }

    /// Drops what retention and compaction drop: what is older than `age_max_ms` before now, or before
    /// the first record that `reader` did not commit, since a topic is kept for longer than a reader is
    /// behind.
    pub fn clean_up(&self, topic: &'static TopicSpec, reader: &str, age_max_ms: i64) {
        let before = self.world.now_ms().min(self.oldest_waiting(reader)) - age_max_ms;
        for partition in 0..self.layout.partitions(topic) {
            let dropped = self.partition(index_of(topic), partition, |kept| match topic.cleanup {
                Cleanup::Compact => kept.compact(),
                Cleanup::Delete(_) => kept.expire(before),
            });
            self.world.note(Happening::Compacted { topic: topic.name, partition, dropped });
        }
    }

    /// When the first record was appended that a group did not commit.
    fn oldest_waiting(&self, group: &str) -> i64 {
        let state = self.state();
        let Some(group) = state.groups.iter().find(|known| known.name == group) else { return i64::MAX };
        let waiting = (0..).zip(&state.topics[group.topic]).filter_map(|(number, partition)| {
            let position = group.committed(number).unwrap_or(partition.bounds().start);
            partition.read(position, 1).0.first().map(|record| record.time_ms)
        });
        waiting.min().unwrap_or(i64::MAX)
    }

    /// Joins a group. Ends what a former bearer of the name left open.
    pub fn join(&self, group: &str, topic: &'static TopicSpec, instance: &str) -> (usize, MemberId) {
        let mut state = self.state();
        let left: Vec<_> = state.open_transactions(|transaction| transaction.instance == instance);
        left.into_iter().for_each(|id| self.wake(state.end(id, false)));
        let at = state.groups.iter().position(|known| known.name == group).unwrap_or_else(|| {
            state.groups.push(Group::new(group.to_owned(), index_of(topic), self.layout.partitions(topic)));
            state.groups.len() - 1
        });
        state.last_member += 1;
        let id = MemberId(state.last_member);
        state.groups[at].join(id, instance);
        drop(state);
        self.wake([index_of(topic)]);
        (at, id)
    }

    /// Works on a group; its members look again after that.
    pub fn group<T>(&self, group: usize, work: impl FnOnce(&mut Group) -> T) -> T {
        let mut state = self.state();
        let (done, topic) = (work(&mut state.groups[group]), state.groups[group].topic);
        drop(state);
        self.wake([topic]);
        done
    }

    /// What a member is told when it calls; `None`: nothing now.
    ///
    /// # Errors
    /// When it is no member any more.
    pub fn call(&self, group: usize, id: MemberId) -> Result<Option<(Told, Option<u64>)>, ()> {
        let mut state = self.state();
        let certain = !state.uncertain_positions;
        let group = &mut state.groups[group];
        if !group.has(id) {
            return Err(());
        }
        let changed = group.call(id);
        let told = group.tell(id, certain).map(|told| {
            let committed = if let Told::Assigned(partition) = told { group.committed(partition) } else { None };
            (told, committed)
        });
        let topic = group.topic;
        drop(state);
        if changed || told.is_some() {
            self.wake([topic]);
        }
        Ok(told)
    }

    /// Takes the partitions of whoever has this name in any group. Says whether anybody had it.
    pub fn evict(&self, instance: &str) -> bool {
        let mut state = self.state();
        let topics: Vec<_> =
            state.groups.iter_mut().filter_map(|group| group.evict(instance).then_some(group.topic)).collect();
        drop(state);
        let any = !topics.is_empty();
        self.wake(topics);
        any
    }

    /// The groups' names and how many partitions each has.
    pub fn groups(&self) -> Vec<(usize, String, u32)> {
        let state = self.state();
        let row = |(at, group): (usize, &Group)| (at, group.name.clone(), state.topics[group.topic].len() as u32);
        state.groups.iter().enumerate().map(row).collect()
    }

    /// Begins a transaction. It is aborted if it does not end in time.
    pub fn begin(self: &Arc<Self>, instance: &str) -> TransactionId {
        let mut state = self.state();
        let id = TransactionId(state.transactions.len());
        let (instance, written) = (instance.to_owned(), BTreeSet::new());
        state.transactions.push(Transaction { instance, open: true, written, group: None });
        drop(state);
        let broker = Arc::clone(self);
        tokio::spawn(async move {
            sleep(TRANSACTION_MAX).await;
            broker.abort(id);
        });
        id
    }

    /// Appends records to be seen when the transaction is committed.
    ///
    /// # Errors
    /// When it is open no more.
    pub fn append_in(&self, id: TransactionId, records: Vec<Outgoing>) -> Result<(), ()> {
        let now = self.world.now_ms();
        let mut state = self.state();
        if !state.transactions[id.0].open {
            return Err(());
        }
        for record in records {
            let (topic, partition) = self.place_of(&record);
            state.topics[topic][partition as usize].append(record, now, Some(id));
            state.transactions[id.0].written.insert((topic, partition));
        }
        Ok(())
    }

    /// Adds positions to a transaction.
    ///
    /// # Errors
    /// When it is open no more, or the partitions are not the member's.
    pub fn send_positions(
        &self,
        id: TransactionId,
        group: usize,
        member: MemberId,
        positions: &[(u32, u64)],
    ) -> Result<(), ()> {
        let mut state = self.state();
        if !state.transactions[id.0].open || !state.groups[group].admits(member, positions) {
            return Err(());
        }
        state.groups[group].begin(id, positions);
        state.transactions[id.0].group = Some(group);
        Ok(())
    }

    /// Commits a transaction.
    ///
    /// # Errors
    /// When it is open no more.
    pub fn commit(&self, id: TransactionId) -> Result<(), ()> {
        let mut state = self.state();
        if !state.transactions[id.0].open {
            return Err(());
        }
        let touched = state.end(id, true);
        drop(state);
        self.wake(touched);
        Ok(())
    }

    /// Aborts a transaction, unless it has ended.
    pub fn abort(&self, id: TransactionId) {
        let mut state = self.state();
        if state.transactions[id.0].open {
            let touched = state.end(id, false);
            let by = state.transactions[id.0].instance.clone();
            drop(state);
            self.world.note(Happening::Aborted { by });
            self.wake(touched);
        }
    }

    /// Commits positions outside of a transaction.
    ///
    /// # Errors
    /// When the partitions are not the member's.
    pub fn commit_positions(&self, group: usize, member: MemberId, positions: &[(u32, u64)]) -> Result<(), ()> {
        let mut state = self.state();
        if !state.groups[group].admits(member, positions) {
            return Err(());
        }
        state.groups[group].commit(positions);
        Ok(())
    }

    fn wake(&self, topics: impl IntoIterator<Item = usize>) {
        topics.into_iter().for_each(|topic| self.changed[topic].notify_waiters());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn open_transactions(&self, which: impl Fn(&Transaction) -> bool) -> Vec<TransactionId> {
        let open = |(_, transaction): &(usize, &Transaction)| transaction.open && which(transaction);
        self.transactions.iter().enumerate().filter(open).map(|(at, _)| TransactionId(at)).collect()
    }

    /// Ends a transaction. Returns the topics where something may be seen now.
    fn end(&mut self, id: TransactionId, committed: bool) -> BTreeSet<usize> {
        let transaction = &mut self.transactions[id.0];
        transaction.open = false;
        let mut touched: BTreeSet<usize> = transaction.written.iter().map(|&(topic, _)| topic).collect();
        for &(topic, partition) in &transaction.written {
            self.topics[topic][partition as usize].end_transaction(id, committed);
        }
        if let Some(group) = transaction.group {
            self.groups[group].end_transaction(id, committed);
            touched.insert(self.groups[group].topic);
        }
        touched
    }
}

/// The error of a member that another has taken over from.
pub fn fenced(group: &str, instance: &str) -> LogError {
    LogError::Fenced { group: group.to_owned(), instance: instance.to_owned() }
}
