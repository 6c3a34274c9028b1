//! The chain on one screen: one table, a row a stage. Groups, roles, lag, hops and the audit follow from it; a new stage
//! is a file of its own and a row here.

use schemas::records::GroupTask;
use stages::dedupe::Dedupe;
use stages::dispatch::Dispatch;
use stages::fan_out::{self, FanOut};
use stages::id_assign::IdAssign;
use stages::large_group::LargeGroup;
use stages::persist::Persist;
use stages::stage::Stage;
use topics::backlog::LagWatch;
use topics::catalogue::{
    ACCEPTED, DEDUPE_WINDOW, DELIVERIES, GROUP_TASKS, HEADS, Keyed, PERSISTED, SEQUENCED, TopicSpec, UPSTREAM,
};
use topics::headers::Hop;

pub use crate::place::{Fused, Parts, Place, Row};
use crate::runner::{Changelog, Emit, InputTopic, same_partition};

/// ```text
/// upstream ─► dedupe ─► accepted ─► id-assign ─► sequenced ─► persist ─► persisted ─► fan-out ─► deliveries
///                                                                  group-tasks ⇄ large-group ─┘
/// ```
pub static STAGES: [&dyn Row; 5] = [&DEDUPE, &ID_ASSIGN, &PERSIST, &FAN_OUT, &LARGE_GROUP];

static DEDUPE_AND_ID_ASSIGN: Fused<Dedupe, IdAssign> = Fused { first: &DEDUPE, second: &ID_ASSIGN };
static PERSIST_AND_FAN_OUT: Fused<Persist, FanOut> = Fused { first: &PERSIST, second: &FAN_OUT };

/// Which neighbours share a task: each pair saves a topic and a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fuse {
    pub dedupe_and_id_assign: bool,
    pub persist_and_fan_out: bool,
}

impl Fuse {
    /// Every stage in tasks of its own.
    pub const NONE: Self = Self { dedupe_and_id_assign: false, persist_and_fan_out: false };
    /// Both pairs share tasks.
    pub const ALL: Self = Self { dedupe_and_id_assign: true, persist_and_fan_out: true };
}

pub static DEDUPE: Place<Dedupe> = Place {
    about: "The stage that drops repeats",
    reads: InputTopic::of(&UPSTREAM),
    writes: || same_partition(&ACCEPTED),
    changelog: || Changelog::by_partition(&DEDUPE_WINDOW),
    hop: Hop::new(0, Dedupe::NAME),
    before_store: true,
    asks_repo: false,
    tasks_max: |_| u16::MAX,
    make: |parts, _| Dedupe::new(parts.dedupe_window_ms),
};

pub static ID_ASSIGN: Place<IdAssign> = Place {
    about: "The stage that gives identities",
    reads: InputTopic::of(&ACCEPTED),
    writes: || same_partition(&SEQUENCED),
    changelog: || Changelog::by_key(&HEADS),
    hop: Hop::new(1, IdAssign::NAME),
    before_store: true,
    asks_repo: false,
    tasks_max: |_| u16::MAX,
    make: |parts, task| IdAssign::new(parts.first_instance + task),
};

pub static PERSIST: Place<Persist> = Place {
    about: "The stage that writes to the repo",
    reads: InputTopic::of(&SEQUENCED),
    writes: || same_partition(&PERSISTED),
    changelog: Changelog::none,
    hop: Hop::new(2, Persist::NAME),
    before_store: true,
    asks_repo: false,
    tasks_max: |parts| parts.persist_tasks_max,
    make: |parts, _| Persist::new(parts.store.clone().expect("a process that runs persist has opened the store")),
};

pub static FAN_OUT: Place<FanOut> = Place {
    about: "The stage that finds who is online where",
    reads: InputTopic::of(&PERSISTED),
    writes: dispatched,
    changelog: Changelog::none,
    hop: Hop::new(3, FanOut::NAME),
    before_store: false,
    asks_repo: true,
    tasks_max: |_| u16::MAX,
    make: |parts, _| FanOut::new(parts.presence.clone(), parts.members.clone(), fan_out::Config::default()),
};

pub static LARGE_GROUP: Place<LargeGroup> = Place {
    about: "The same for large groups, page by page",
    reads: InputTopic::of(&GROUP_TASKS),
    writes: dispatched,
    // A page that came twice would be counted twice, and the next message be cut into other pages too early.
    changelog: Changelog::<GroupTask>::input_ahead,
    hop: Hop::new(4, LargeGroup::NAME),
    before_store: false,
    asks_repo: true,
    tasks_max: |_| u16::MAX,
    make: |parts, _| LargeGroup::new(parts.presence.clone(), parts.members.clone(), parts.large_group),
};

/// A delivery goes to the partition of its slot, a task to that of its group.
fn dispatched() -> Emit<Dispatch> {
    Box::new(|output, encoder| match &output.value {
        Dispatch::Delivery { slot, delivery } => {
            encoder.put_at(&DELIVERIES, *slot, &delivery.key(), delivery, output.headers.clone())
        }
        Dispatch::Task(task) => encoder.put(&GROUP_TASKS, &task.key(), task, output.headers.clone()),
    })
}

/// What runs as tasks, in the order of the chain.
pub fn tasks(fuse: Fuse) -> Vec<&'static dyn Row> {
    let either = |fused: bool, together: &'static dyn Row, apart: [&'static dyn Row; 2]| {
        if fused { vec![together] } else { apart.to_vec() }
    };
    let mut tasks = either(fuse.dedupe_and_id_assign, &DEDUPE_AND_ID_ASSIGN, [&DEDUPE, &ID_ASSIGN]);
    tasks.extend(either(fuse.persist_and_fan_out, &PERSIST_AND_FAN_OUT, [&PERSIST, &FAN_OUT]));
    tasks.push(&LARGE_GROUP);
    tasks
}

/// The groups that must have a member somewhere, each with the topic that it reads.
pub fn groups(fuse: Fuse) -> Vec<(&'static str, &'static TopicSpec)> {
    tasks(fuse).iter().map(|task| (task.name(), task.input())).collect()
}

/// The consumer groups that read a topic.
pub fn readers_of(topic: &TopicSpec) -> Vec<&'static str> {
    STAGES.iter().filter(|stage| stage.input() == topic).map(|stage| stage.name()).collect()
}

/// Every hop, in the order of the chain.
pub fn hops() -> [Hop; STAGES.len()] {
    STAGES.map(|stage| stage.columns().hop)
}

/// The groups and topics whose lag together says whether the chain keeps up.
pub fn lag_that_refuses() -> Vec<LagWatch> {
    let watched = STAGES.iter().filter(|stage| stage.columns().before_store);
    watched.map(|stage| LagWatch { group: stage.name(), topic: stage.input() }).collect()
}
