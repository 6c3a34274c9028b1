//! The columns of the table of stages ([`crate::topology`]), and what is done with a row.

use std::sync::Arc;

use stages::large_group;
use stages::membership::MembershipSource;
use stages::presence::SharedPresence;
use stages::repo::store::MessageSink;
use stages::stage::{Filter, Stage};
use topics::catalogue::TopicSpec;
use topics::headers::Hop;

use crate::runner::{Changelog, Emit, InputTopic, WiringOf};
use crate::tasks::StageTasks;

/// What the stages are made of.
#[derive(Clone)]
pub struct Parts {
    /// For how long a repeat is recognised.
    pub dedupe_window_ms: i64,
    /// The first instance id of this process; each task of id-assign has one of its own.
    pub first_instance: u16,
    /// Where messages are kept. `None` where persist does not run.
    pub store: Option<Arc<dyn MessageSink>>,
    /// More tasks of persist than this in a process would only wait for each other in the store.
    pub persist_tasks_max: u16,
    /// Who is online where.
    pub presence: SharedPresence,
    /// Who is member of what.
    pub members: MembershipSource,
    /// How large groups are worked on.
    pub large_group: large_group::Config,
}

/// A row of the table: a stage and its place in the chain. Its name, role and consumer group are [`Stage::NAME`].
pub struct Place<S: Stage> {
    /// What it does, for `--help`.
    pub about: &'static str,
    pub reads: InputTopic<S::In>,
    pub writes: fn() -> Emit<S::Out>,
    pub changelog: fn() -> Changelog<S::Change>,
    /// What its outputs are stamped with.
    pub hop: Hop,
    /// Whether it stands between the ack and the store: the gateway refuses messages while too many wait for it.
    pub before_store: bool,
    /// Whether it asks the repo for memberships.
    pub asks_repo: bool,
    /// More tasks in a process than this are of no use.
    pub tasks_max: fn(&Parts) -> u16,
    /// Makes the stage of the task with this number, from 0.
    pub make: fn(&Parts, u16) -> S,
}

impl<S: Stage> Place<S> {
    /// What a stage in this place is joined to.
    pub fn wiring(&self) -> WiringOf<S> {
        WiringOf::<S>::new(S::NAME, self.reads, self.hop, (self.writes)(), (self.changelog)())
    }
}

/// What a row says, whichever stage it is of.
pub struct Columns {
    /// Of the stage, its role and its consumer group.
    pub name: &'static str,
    pub about: &'static str,
    /// The topic that it reads.
    pub input: &'static TopicSpec,
    pub hop: Hop,
    pub before_store: bool,
    pub asks_repo: bool,
}

/// A row, whichever stage it is of.
pub trait Row: Sync {
    fn columns(&self) -> Columns;

    /// The second stage of its tasks, where they have two.
    fn second(&self) -> Option<&'static dyn Row> {
        None
    }

    /// Starts its tasks in this process.
    fn start(&self, parts: &Parts, tasks: &mut StageTasks);

    fn name(&self) -> &'static str {
        self.columns().name
    }

    fn input(&self) -> &'static TopicSpec {
        self.columns().input
    }
}

impl<S: Stage> Row for Place<S> {
    fn columns(&self) -> Columns {
        let &Self { about, reads, hop, before_store, asks_repo, .. } = self;
        Columns { name: S::NAME, about, input: reads.spec, hop, before_store, asks_repo }
    }

    fn start(&self, parts: &Parts, tasks: &mut StageTasks) {
        let (make, parts) = (self.make, parts.clone());
        tasks.start((self.tasks_max)(&parts), move |task| make(&parts, task), self.wiring());
    }
}

/// Two rows in one task, under the name of the first.
pub struct Fused<A: Filter, B: Stage> {
    pub first: &'static Place<A>,
    pub second: &'static Place<B>,
}

impl<A: Filter, B: Stage<In = A::In>> Row for Fused<A, B> {
    fn columns(&self) -> Columns {
        let (first, second) = (self.first.columns(), self.second.columns());
        Columns { hop: second.hop, asks_repo: first.asks_repo || second.asks_repo, ..first }
    }

    fn second(&self) -> Option<&'static dyn Row> {
        Some(self.second)
    }

    fn start(&self, parts: &Parts, tasks: &mut StageTasks) {
        let (first, second, parts) = (self.first, self.second, parts.clone());
        let tasks_max = (first.tasks_max)(&parts).min((second.tasks_max)(&parts));
        let make = move |task| (first.make)(&parts, task).then((second.make)(&parts, task));
        tasks.start(tasks_max, make, first.wiring().then(second.wiring()));
    }
}
