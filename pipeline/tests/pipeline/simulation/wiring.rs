//! The places of stages in the chain, for those with a bug around them: the others are wired by the
//! product's own topology.

use pipeline::runner::{Changelog, ChangelogTopic, Emit, Wiring, along};
use pipeline::topology::StageRole;
use schemas::avro::Record;
use schemas::records::{DedupeWindow, GroupTask, Head, Sequenced, Upstream};
use stages::dispatch::Dispatch;
use stages::stage::{Either, Stage};
use topics::catalogue::{
    ACCEPTED, DEDUPE_WINDOW, DELIVERIES, GROUP_TASKS, HEADS, Keyed, PERSISTED, PartitionKey, SEQUENCED, UPSTREAM,
};

/// Of a stage in the place of dedupe.
pub fn dedupe<S: Stage<In = Upstream, Out = Upstream, Change = DedupeWindow>>() -> Wiring<S> {
    Wiring::new("dedupe", &UPSTREAM, StageRole::Dedupe.hop(), along(&ACCEPTED)).transactional(Changelog::Topics {
        topics: vec![ChangelogTopic::new(&DEDUPE_WINDOW, |window| window)],
        emit: Box::new(|partition, window, headers, encoder| {
            encoder.put_at(&DEDUPE_WINDOW, partition, &PartitionKey(partition), window, headers)
        }),
    })
}

/// Of a stage in the place of id-assign.
pub fn id_assign<S: Stage<In = Upstream, Out = Sequenced, Change = Head>>() -> Wiring<S> {
    Wiring::new("id-assign", &ACCEPTED, StageRole::IdAssign.hop(), along(&SEQUENCED)).transactional(Changelog::Topics {
        topics: vec![ChangelogTopic::new(&HEADS, |head| head)],
        emit: Box::new(|partition, head: &Head, headers, encoder| {
            encoder.put_at(&HEADS, partition, &head.key(), head, headers)
        }),
    })
}

/// Of a stage in the place of dedupe and id-assign.
pub fn fused<S: Stage<In = Upstream, Out = Sequenced, Change = Either<DedupeWindow, Head>>>() -> Wiring<S> {
    Wiring::new("dedupe", &UPSTREAM, StageRole::IdAssign.hop(), along(&SEQUENCED)).transactional(Changelog::Topics {
        topics: vec![ChangelogTopic::new(&DEDUPE_WINDOW, Either::First), ChangelogTopic::new(&HEADS, Either::Second)],
        emit: Box::new(|partition, change, headers, encoder| match change {
            Either::First(window) => {
                encoder.put_at(&DEDUPE_WINDOW, partition, &PartitionKey(partition), window, headers)
            }
            Either::Second(head) => encoder.put_at(&HEADS, partition, &head.key(), head, headers),
        }),
    })
}

/// Of a stage in the place of persist.
pub fn persist<S: Stage<In = Sequenced, Out = Sequenced>>() -> Wiring<S> {
    Wiring::new("persist", &SEQUENCED, StageRole::Persist.hop(), along(&PERSISTED))
}

/// Of a stage in the place of fan-out.
pub fn fan_out<S: Stage<In = Sequenced, Out = Dispatch>>() -> Wiring<S> {
    Wiring::new("fan-out", &PERSISTED, StageRole::FanOut.hop(), dispatched())
}

/// Of a stage in the place of large-group.
pub fn large_group<S: Stage<In = GroupTask, Out = Dispatch, Change = GroupTask>>() -> Wiring<S> {
    Wiring::new("large-group", &GROUP_TASKS, StageRole::LargeGroup.hop(), dispatched())
        .transactional(Changelog::InputAhead(GroupTask::decode))
}

fn dispatched() -> Emit<Dispatch> {
    Box::new(|output, encoder| match &output.value {
        Dispatch::Delivery { slot, delivery } => {
            encoder.put_at(&DELIVERIES, *slot, &delivery.key(), delivery, output.headers.clone())
        }
        Dispatch::Task(task) => encoder.put(&GROUP_TASKS, &task.key(), task, output.headers.clone()),
    })
}
