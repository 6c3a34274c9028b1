//! `bench stage NAME`: one stage alone, with the state that a busy installation has.

use std::sync::Arc;

use crate::report::Report;
use crate::stage::{Batches, Figures, measure};
use crate::workload::{SMALL_GROUP_MEMBERS, Workload};
use schemas::avro::PresenceEvent;
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::records::{DedupeWindow, GroupTask, Head, Heartbeat, Presence, Sequenced, Upstream};
use stages::dedupe::Dedupe;
use stages::fan_out::{self, FanOut};
use stages::id_assign::IdAssign;
use stages::large_group::{self, LargeGroup};
use stages::membership::{Membership, MembershipSource};
use stages::presence::SharedPresence;
use stages::stage::Stage;

use super::CommandError;
use crate::args::{BenchedStage, StageBenchArgs};
use pipeline::commands::output;

const START_MS: i64 = 1_800_000_000_000;
const PARTITIONS: u32 = 8;
const WINDOW_MS: i64 = 600_000;
/// Keys that the dedupe window holds while it is measured.
const LIVE_KEYS: u64 = 10_000_000;
/// Keys a second at which that many are live.
const KEYS_A_SECOND: u64 = LIVE_KEYS * 1_000 / WINDOW_MS as u64;
const CONVERSATIONS: u64 = 1_000_000;
/// Members of the groups that fan-out and large-group are measured with.
const GROUP_MEMBERS: i64 = 500;
const LARGE_GROUP_MEMBERS: i64 = 10_000;
/// Members of all groups are numbered from here: the first users of the workload.
const FIRST_MEMBER: i64 = 1_000_000;
const SLOTS: i32 = 2;

/// Measures a stage and prints the figures.
///
/// # Errors
/// The stage's own.
pub async fn stage(args: &StageBenchArgs) -> Result<(), CommandError> {
    let mut report = Report::new("bench stage");
    report.setting("records in a batch", args.batch).setting("partitions", PARTITIONS);
    let mut add = |what: &str, Figures { records, outputs, took }: Figures| {
        report.setting(&format!("outputs of {what}"), outputs).row(what, records, took);
    };
    match args.stage {
        BenchedStage::Dedupe => add("dedupe, 10 M live keys, evicting", dedupe(args).await?),
        BenchedStage::IdAssign => add("id-assign, 1 M conversations", id_assign(args).await?),
        BenchedStage::FanOut => {
            add("fan-out, pairs", fan_out(args, pair).await?);
            add("fan-out, groups of 500", fan_out(args, group).await?);
        }
        BenchedStage::LargeGroup => add("large-group, pages of 500", large_group(args).await?),
    }
    output::line(&report)?;
    Ok(())
}

fn workload() -> Workload {
    Workload { seed: 1, conversations: CONVERSATIONS, content_bytes: 128, large_group_every: 0 }
}

fn batches<T>(records: impl Iterator<Item = T>, args: &StageBenchArgs) -> Batches<impl Iterator<Item = T>> {
    Batches::new(records, args.records, args.batch, PARTITIONS, START_MS, KEYS_A_SECOND)
}

fn assigned<S: Stage>(mut stage: S) -> S {
    (0..PARTITIONS).for_each(|partition| stage.assigned(partition));
    stage
}

async fn dedupe(args: &StageBenchArgs) -> Result<Figures, CommandError> {
    const KEYS_A_RECORD: u64 = 1_000;
    let mut stage = assigned(Dedupe::new(WINDOW_MS));
    for record in 0..LIVE_KEYS / KEYS_A_RECORD {
        let keys = record * KEYS_A_RECORD..(record + 1) * KEYS_A_RECORD;
        let time = |key: u64| START_MS - WINDOW_MS + i64::try_from(key * 1_000 / KEYS_A_SECOND).unwrap_or(0);
        let hash = |key: u64| u128::from(key.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(key);
        let change = DedupeWindow {
            hashes: keys.clone().flat_map(|key| hash(key).to_be_bytes()).collect(),
            times: keys.map(time).collect(),
        };
        stage.restore(u32::try_from(record % u64::from(PARTITIONS))?, vec![change]);
    }
    Ok(measure(stage, batches(workload().messages(), args)).await?)
}

async fn id_assign(args: &StageBenchArgs) -> Result<Figures, CommandError> {
    let mut stage = assigned(IdAssign::new(0));
    let workload = workload();
    // A conversation's partition does not matter to the stage: the bench spreads records round-robin.
    for partition in 0..PARTITIONS {
        let heads = (0..CONVERSATIONS).map(|n| Head {
            conversation_id: workload.conversation(n),
            seq_id: Seq(7),
            ordinal: 7,
            message_id: MessageId(1),
        });
        stage.restore(partition, heads.skip(partition as usize).step_by(PARTITIONS as usize).collect());
    }
    Ok(measure(stage, batches(workload.messages(), args)).await?)
}

async fn fan_out(args: &StageBenchArgs, addressed: fn(Upstream) -> Upstream) -> Result<Figures, CommandError> {
    let presence = online(workload().users());
    let stage = assigned(FanOut::new(presence, groups_of(GROUP_MEMBERS), fan_out::Config::default()));
    Ok(measure(stage, batches(sequenced(workload().messages().map(addressed)), args)).await?)
}

async fn large_group(args: &StageBenchArgs) -> Result<Figures, CommandError> {
    let presence = online((0..LARGE_GROUP_MEMBERS).map(|n| UserId(FIRST_MEMBER + n)));
    let stage = assigned(LargeGroup::new(presence, groups_of(LARGE_GROUP_MEMBERS), large_group::Config::default()));
    let pages = i32::try_from(LARGE_GROUP_MEMBERS / 500)?;
    let tasks = sequenced(workload().messages()).zip((0..pages).cycle()).map(move |(message, page)| GroupTask {
        group_id: GroupId(1),
        page,
        pages: if page == 0 { 0 } else { pages },
        message: Sequenced { conversation_id: ConversationId::Group(GroupId(1)), ..message },
    });
    Ok(measure(stage, batches(tasks, args)).await?)
}

fn pair(message: Upstream) -> Upstream {
    match message.conversation_id {
        ConversationId::Group(group) => {
            let conversation_id = ConversationId::single(message.sender_id, UserId(group.0 + SMALL_GROUP_MEMBERS));
            Upstream { conversation_id, ..message }
        }
        ConversationId::Single { .. } | ConversationId::World => message,
    }
}

fn group(message: Upstream) -> Upstream {
    const GROUPS: i64 = 100;
    let conversation_id = ConversationId::Group(GroupId(1 + message.sender_id.0 % GROUPS));
    // One of the members speaks.
    let sender_id = UserId(FIRST_MEMBER + message.sender_id.0 % GROUP_MEMBERS);
    Upstream { conversation_id, sender_id, ..message }
}

fn sequenced(messages: impl Iterator<Item = Upstream>) -> impl Iterator<Item = Sequenced> {
    (1_i64..).zip(messages).map(|(n, message)| message.identified(MessageId(n), Seq(n), n, START_MS))
}

fn online(users: impl Iterator<Item = UserId>) -> SharedPresence {
    let presence = SharedPresence::default();
    let mut table = presence.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    for slot in 0..SLOTS {
        table.apply(&PresenceEvent::Slot(Heartbeat { slot, epoch: 1, at: START_MS }), START_MS);
    }
    for user_id in users {
        let slot = i32::try_from(user_id.0 % i64::from(SLOTS)).unwrap_or(0);
        table.apply(&PresenceEvent::User(Presence { user_id, slot, epoch: 1, online: true, at: START_MS }), START_MS);
    }
    drop(table);
    presence
}

/// Groups that all have the same members.
fn groups_of(members: i64) -> MembershipSource {
    Arc::new(move |groups: Vec<GroupId>| {
        let of = |group_id| Membership {
            group_id,
            version: 1,
            large: members > 500,
            members: (0..members).map(|n| UserId(FIRST_MEMBER + n)).collect(),
        };
        Box::pin(std::future::ready(Ok(groups.into_iter().map(of).collect())))
    })
}
