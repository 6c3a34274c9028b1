//! The chain on one screen: which stage reads which topic, writes which, and keeps its state where.

use std::sync::Arc;

use schemas::avro::Record;
use schemas::records::GroupTask;
use stages::dedupe::Dedupe;
use stages::dispatch::Dispatch;
use stages::fan_out::{self, FanOut};
use stages::id_assign::IdAssign;
use stages::large_group::{self, LargeGroup};
use stages::membership::MembershipSource;
use stages::persist::Persist;
use stages::presence::SharedPresence;
use stages::repo::store::MessageSink;
use stages::stage::{Either, Stage};
use topics::backlog::LagWatch;
use topics::catalogue::{
    ACCEPTED, DEDUPE_WINDOW, DELIVERIES, GROUP_TASKS, HEADS, Keyed, PERSISTED, PartitionKey, SEQUENCED, TopicSpec,
    UPSTREAM,
};
use topics::headers::Hop;

use crate::cli::Role;
use crate::runner::{Changelog, ChangelogTopic, Emit, Wiring, along};
use crate::tasks::StageTasks;

/// A stage of the chain, as configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StageRole {
    Dedupe,
    IdAssign,
    /// Writes to the repo.
    Persist,
    /// Finds who is online where.
    FanOut,
    /// The same for large groups, page by page.
    LargeGroup,
}

impl StageRole {
    /// The stage that a role of the command line runs, if it runs one.
    pub fn of(role: Role) -> Option<Self> {
        match role {
            Role::Gateway | Role::Repo => None,
            Role::Dedupe => Some(Self::Dedupe),
            Role::IdAssign => Some(Self::IdAssign),
            Role::Persist => Some(Self::Persist),
            Role::FanOut => Some(Self::FanOut),
            Role::LargeGroup => Some(Self::LargeGroup),
        }
    }
}

impl StageRole {
    /// Every stage, in the order of the chain.
    pub const ALL: [Self; 5] = [Self::Dedupe, Self::IdAssign, Self::Persist, Self::FanOut, Self::LargeGroup];

    /// Its consumer group, and the topic that it reads. (dedupe and id-assign in one task read as dedupe.)
    pub fn reads(self) -> (&'static str, &'static TopicSpec) {
        match self {
            Self::Dedupe => ("dedupe", &UPSTREAM.spec),
            Self::IdAssign => ("id-assign", &ACCEPTED.spec),
            Self::Persist => ("persist", &SEQUENCED.spec),
            Self::FanOut => ("fan-out", &PERSISTED.spec),
            Self::LargeGroup => ("large-group", &GROUP_TASKS.spec),
        }
    }

    /// Where the time is kept at which it passed a record on.
    pub fn hop(self) -> Hop {
        Hop::new(self as usize, self.reads().0)
    }
}

/// The groups that must have a member somewhere, each with the topic that it reads. Fused, dedupe does id-assign's work.
pub fn groups(fused: bool) -> Vec<(&'static str, &'static TopicSpec)> {
    let all = StageRole::ALL.into_iter().filter(|role| !(fused && *role == StageRole::IdAssign));
    all.map(StageRole::reads).collect()
}

/// The consumer groups that read a topic.
pub fn readers_of(topic: &TopicSpec) -> Vec<&'static str> {
    let reads = StageRole::ALL.into_iter().map(StageRole::reads);
    reads.filter(|(_, read)| *read == topic).map(|(group, _)| group).collect()
}

/// What the stages are made of.
#[derive(Clone)]
pub struct Parts {
    /// For how long a repeat is recognised.
    pub dedupe_window_ms: i64,
    /// dedupe and id-assign in one task.
    pub fused: bool,
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

/// The groups and topics whose lag together says whether the chain keeps up: all that stand between the
/// ack and the store.
pub const LAG_THAT_REFUSES: [LagWatch; 3] = [
    LagWatch { group: "dedupe", topic: &UPSTREAM.spec },
    LagWatch { group: "id-assign", topic: &ACCEPTED.spec },
    LagWatch { group: "persist", topic: &SEQUENCED.spec },
];

/// ```text
/// upstream ─► dedupe ─► accepted ─► id-assign ─► sequenced ─► persist ─► persisted ─► fan-out ─► deliveries
///                                                                  group-tasks ⇄ large-group ─┘
/// ```
pub fn start(role: StageRole, parts: &Parts, tasks: &mut StageTasks) {
    let Parts { dedupe_window_ms: window, fused, first_instance, presence, members, large_group, .. } = parts.clone();
    let ids = move |task| IdAssign::new(first_instance + task);
    let (group, _) = role.reads();
    match (role, fused) {
        (StageRole::Dedupe, true) => tasks.start(
            move |task| Dedupe::new(window).then(ids(task)),
            Wiring::new(group, &UPSTREAM, StageRole::IdAssign.hop(), along(&SEQUENCED))
                .transactional(window_and_heads()),
        ),
        (StageRole::IdAssign, true) => {} // in the task of dedupe
        (StageRole::Dedupe, false) => tasks.start(
            move |_| Dedupe::new(window),
            Wiring::new(group, &UPSTREAM, StageRole::Dedupe.hop(), along(&ACCEPTED)).transactional(dedupe_window()),
        ),
        (StageRole::IdAssign, false) => tasks.start(
            ids,
            Wiring::new(group, &ACCEPTED, StageRole::IdAssign.hop(), along(&SEQUENCED)).transactional(heads()),
        ),
        (StageRole::Persist, _) => {
            let store = parts.store.clone().expect("a process that runs persist has opened the store");
            tasks.start_at_most(
                parts.persist_tasks_max,
                move |_| Persist::new(store.clone()),
                Wiring::new(group, &SEQUENCED, StageRole::Persist.hop(), along(&PERSISTED)),
            );
        }
        (StageRole::FanOut, _) => tasks.start(
            move |_| FanOut::new(presence.clone(), members.clone(), fan_out::Config::default()),
            Wiring::new(group, &PERSISTED, StageRole::FanOut.hop(), dispatched()),
        ),
        (StageRole::LargeGroup, _) => tasks.start(
            move |_| LargeGroup::new(presence.clone(), members.clone(), large_group),
            // A page that came twice would be counted twice, and the next message be cut into other pages too early.
            Wiring::new(group, &GROUP_TASKS, StageRole::LargeGroup.hop(), dispatched())
                .transactional(Changelog::InputAhead(GroupTask::decode)),
        ),
    }
}

/// A delivery goes to the partition of its slot, a task to that of its group.
fn dispatched() -> Emit<Dispatch> {
    Box::new(|output, encoder| match &output.value {
        Dispatch::Delivery { slot, delivery } => {
            encoder.put_at(&DELIVERIES, *slot, &delivery.key(), delivery, output.headers.clone())
        }
        Dispatch::Task(task) => encoder.put(&GROUP_TASKS, &task.key(), task, output.headers.clone()),
    })
}

fn dedupe_window() -> Changelog<<Dedupe as Stage>::Change> {
    Changelog::Topics {
        topics: vec![ChangelogTopic::new(&DEDUPE_WINDOW, |change| change)],
        emit: Box::new(|partition, change, headers, encoder| {
            encoder.put_at(&DEDUPE_WINDOW, partition, &PartitionKey(partition), change, headers)
        }),
    }
}

fn heads() -> Changelog<<IdAssign as Stage>::Change> {
    Changelog::Topics {
        topics: vec![ChangelogTopic::new(&HEADS, |head| head)],
        emit: Box::new(|partition, head, headers, encoder| {
            encoder.put_at(&HEADS, partition, &head.key(), head, headers)
        }),
    }
}

/// Both changelogs, as they are when the stages run apart.
fn window_and_heads() -> Changelog<Either<<Dedupe as Stage>::Change, <IdAssign as Stage>::Change>> {
    Changelog::Topics {
        topics: vec![ChangelogTopic::new(&DEDUPE_WINDOW, Either::First), ChangelogTopic::new(&HEADS, Either::Second)],
        emit: Box::new(|partition, change, headers, encoder| match change {
            Either::First(window) => {
                encoder.put_at(&DEDUPE_WINDOW, partition, &PartitionKey(partition), window, headers)
            }
            Either::Second(head) => encoder.put_at(&HEADS, partition, &head.key(), head, headers),
        }),
    }
}
