//! Who gets what is said in a group, while its members change.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::dispatch::Dispatch;
use stages::driver::{Driver, Fate};
use stages::fan_out::{Config, FanOut};
use stages::membership::Limits;
use stages::presence::SharedPresence;
use stages::stage::{Stage, StageError};

use crate::groups::{Groups, event};
use crate::records::{ANN, NOW, deliveries, online, sequenced, user_on};

const GROUP: GroupId = GroupId(70);

fn driver(groups: &Groups, presence: &SharedPresence) -> Driver<FanOut> {
    let (source, presence) = (groups.source(), presence.clone());
    Driver::new(1, NOW, move || FanOut::new(presence.clone(), source.clone(), Config::default()))
}

/// Users 1 up to and with `count`, all on slot 0.
fn all_online(count: i64) -> SharedPresence {
    online((1..=count).map(|user| (UserId(user), 0)))
}

fn text(seq: i64) -> Sequenced {
    sequenced(Kind::Text, ConversationId::Group(GROUP), ANN, seq)
}

/// Feeds messages in one batch; returns the recipients of each, all on slot 0.
async fn recipients(driver: &mut Driver<FanOut>, messages: Vec<Sequenced>) -> Vec<Vec<i64>> {
    let dispatches = driver.feed_values(0, messages).await.unwrap();
    deliveries(&dispatches).into_iter().map(|(_, users)| users).collect()
}

/// A group of so many members, and a stage that has worked one message in it.
async fn after_one_message(members: i64, online: i64) -> (Groups, Driver<FanOut>) {
    let groups = Groups::with(GROUP, members);
    let mut driver = driver(&groups, &all_online(online));
    recipients(&mut driver, vec![text(1)]).await;
    (groups, driver)
}

#[tokio::test]
async fn five_hundred_members_are_sent_to_and_one_more_makes_a_task() {
    let (groups, presence) = (Groups::with(GROUP, 500), all_online(600));
    let mut driver = driver(&groups, &presence);
    let sent = recipients(&mut driver, vec![text(1)]).await;
    assert_eq!(sent, [(1..=500).collect::<Vec<_>>()]);

    let joined = groups.change(Kind::Joined, GROUP, &[UserId(501)], 2);
    let dispatches = driver.feed_values(0, [joined, text(3)]).await.unwrap();
    let tasks: Vec<_> = dispatches
        .iter()
        .map(|dispatch| match dispatch {
            Dispatch::Task(task) => (task.group_id, task.page, task.pages, task.message.seq_id.0),
            Dispatch::Delivery { .. } => panic!("{dispatch:?}"),
        })
        .collect();
    assert_eq!(tasks, [(GROUP, 0, 0, 2), (GROUP, 0, 0, 3)]);
}

#[tokio::test]
async fn a_group_once_large_stays_large() {
    let (groups, presence) = (Groups::with(GROUP, 501), all_online(501));
    let mut driver = driver(&groups, &presence);
    driver.feed_values(0, [text(1)]).await.unwrap();
    let everybody_else: Vec<_> = (2..=501).map(UserId).collect();
    let removed = groups.change(Kind::Removed, GROUP, &everybody_else, 2);
    let dispatches = driver.feed_values(0, [removed, text(3)]).await.unwrap();
    assert!(dispatches.iter().all(|dispatch| matches!(dispatch, Dispatch::Task(_))));
    assert_eq!(driver.stage().members().held_members(), 0, "members of large groups are not held here");
}

#[tokio::test]
async fn a_group_that_the_repo_calls_large_is_large_with_three_members() {
    let groups = Groups::with(GROUP, 3);
    groups.set_large(GROUP);
    let dispatches = driver(&groups, &all_online(3)).feed_values(0, [text(1)]).await.unwrap();
    assert!(matches!(&dispatches[..], [Dispatch::Task(_)]));
}

#[tokio::test]
async fn read_marks_go_to_groups_where_they_are_shown_only() {
    let mark = |sender| sequenced(Kind::ReadMark, ConversationId::Group(GROUP), sender, 0);
    let small = Groups::with(GROUP, 3);
    let mut in_small = driver(&small, &all_online(3));
    assert_eq!(recipients(&mut in_small, vec![mark(ANN)]).await, [[1, 2, 3]]);
    assert!(in_small.feed_values(0, [mark(UserId(9))]).await.unwrap().is_empty(), "no member any more");
    let large = Groups::with(GROUP, 501);
    let dispatches = driver(&large, &all_online(501)).feed_values(0, [mark(ANN)]).await.unwrap();
    assert!(dispatches.is_empty(), "{dispatches:?}");
}

#[tokio::test]
async fn members_are_loaded_once_for_the_whole_batch() {
    let groups = Groups::with(GROUP, 3);
    groups.set(GroupId(71), 1, [ANN]);
    let mut driver = driver(&groups, &all_online(3));
    let other = sequenced(Kind::Text, ConversationId::Group(GroupId(71)), ANN, 1);
    recipients(&mut driver, vec![text(1), other, text(2)]).await;
    recipients(&mut driver, vec![text(3)]).await;
    assert_eq!(groups.calls(), [[GROUP, GroupId(71)]]);
}

#[tokio::test]
async fn a_removed_member_sees_the_removal_and_nothing_after() {
    let (groups, mut driver) = after_one_message(3, 3).await;
    for kind in [Kind::Removed, Kind::Left] {
        let gone = groups.members(GROUP).last().copied().unwrap();
        let removed = groups.change(kind, GROUP, &[gone], 3);
        let sent = recipients(&mut driver, vec![text(2), removed, text(4)]).await;
        let all: Vec<i64> = (1..=gone.0).collect();
        assert_eq!(sent, [all.clone(), all, (1..gone.0).collect()]);
    }
}

#[tokio::test]
async fn a_new_member_sees_the_joining_and_all_after() {
    let (groups, mut driver) = after_one_message(2, 3).await;
    let joined = groups.change(Kind::Joined, GROUP, &[UserId(3)], 3);
    let sent = recipients(&mut driver, vec![text(2), joined, text(4)]).await;
    assert_eq!(sent, [vec![1, 2], vec![1, 2, 3], vec![1, 2, 3]]);
    assert_eq!(groups.calls().len(), 1, "the event is enough");
}

#[tokio::test]
async fn the_end_of_a_group_reaches_its_members_and_then_nobody() {
    let (groups, mut driver) = after_one_message(3, 3).await;
    let dissolved = groups.change(Kind::Dissolved, GROUP, &[], 2);
    let sent = recipients(&mut driver, vec![dissolved, text(3)]).await;
    assert_eq!(sent, [vec![1, 2, 3], vec![1]], "the sender's other sockets see what was said");
}

#[tokio::test]
async fn an_event_that_the_snapshot_has_is_not_applied_again() {
    let groups = Groups::with(GROUP, 3);
    let joined = groups.change(Kind::Joined, GROUP, &[UserId(4)], 1);
    let removed = groups.change(Kind::Removed, GROUP, &[UserId(4)], 2);
    let mut driver = driver(&groups, &all_online(4));
    let sent = recipients(&mut driver, vec![joined, removed, text(3)]).await;
    assert_eq!(sent, [vec![1, 2, 3, 4], vec![1, 2, 3, 4], vec![1, 2, 3]]);
}

#[tokio::test]
async fn a_jump_of_the_version_loads_the_group_anew() {
    let (groups, mut driver) = after_one_message(2, 5).await;
    groups.change(Kind::Joined, GROUP, &[UserId(3)], 0);
    let joined = groups.change(Kind::Joined, GROUP, &[UserId(4)], 2);
    let sent = recipients(&mut driver, vec![joined, text(3)]).await;
    assert_eq!(sent, [vec![1, 2, 3, 4], vec![1, 2, 3, 4]]);
    assert_eq!(groups.calls().len(), 2);
}

#[tokio::test]
async fn a_snapshot_older_than_the_event_is_asked_for_again() {
    let groups = Groups::with(GROUP, 2);
    let mut driver = driver(&groups, &all_online(5));
    let ahead = || event(Kind::Joined, GROUP, 3, &[UserId(4)], 1);
    let refused = driver.feed_values(0, [ahead()]).await;
    assert!(matches!(refused, Err(StageError::Retry { .. })), "{refused:?}");
    groups.set(GROUP, 3, [ANN, UserId(4)]);
    assert_eq!(recipients(&mut driver, vec![ahead()]).await, [vec![1, 4]]);
}

#[tokio::test]
async fn an_event_of_a_group_that_is_gone_holds_nobody_up() {
    let groups = Groups::default();
    let mut driver = driver(&groups, &all_online(3));
    let removed = event(Kind::Removed, GROUP, 4, &[UserId(3)], 1);
    let dissolved = event(Kind::Dissolved, GROUP, 5, &[], 2);
    assert_eq!(recipients(&mut driver, vec![removed, dissolved]).await, [vec![1, 3], vec![1]]);
    assert_eq!(driver.stage().members().groups(), 0);
    groups.set(GROUP, 6, [ANN, UserId(2)]);
    assert_eq!(recipients(&mut driver, vec![text(3)]).await, [vec![1, 2]], "that it is gone is not remembered");
}

#[tokio::test]
async fn a_repo_that_is_away_is_waited_for() {
    let groups = Groups::with(GROUP, 2);
    let mut driver = driver(&groups, &all_online(2));
    groups.set_away(true);
    let refused = driver.feed_values(0, [text(1)]).await;
    assert!(matches!(refused, Err(StageError::Retry { source: Some(_), .. })), "{refused:?}");
    groups.set_away(false);
    assert_eq!(recipients(&mut driver, vec![text(1)]).await, [vec![1, 2]]);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_loads_the_group_anew() {
    let (groups, mut driver) = after_one_message(2, 3).await;
    let mut joined = groups.change(Kind::Joined, GROUP, &[UserId(3)], 2);
    joined.content = "{\"newer\": true}".into();
    assert_eq!(recipients(&mut driver, vec![joined]).await, [vec![1, 2, 3]]);
}

#[tokio::test]
async fn an_aborted_batch_changes_no_membership() {
    let (groups, mut driver) = after_one_message(3, 3).await;
    let removed = groups.change(Kind::Removed, GROUP, &[UserId(3)], 3);
    let expected = [vec![1, 2, 3], vec![1, 2, 3], vec![1, 2]];
    for fate in [Fate::Abort, Fate::Commit] {
        driver.next_fate(fate);
        assert_eq!(recipients(&mut driver, vec![text(2), removed.clone(), text(4)]).await, expected, "{fate:?}");
    }
    assert_eq!(groups.calls().len(), 1);
}

#[tokio::test]
async fn a_partition_given_up_forgets_what_it_was_told() {
    let (groups, mut driver) = after_one_message(3, 3).await;
    driver.stage().revoked(0);
    groups.change(Kind::Removed, GROUP, &[UserId(3)], 2);
    driver.stage().assigned(0);
    assert_eq!(recipients(&mut driver, vec![text(3)]).await, [vec![1, 2]]);
}

#[tokio::test]
async fn the_cache_stays_within_its_limits_and_holds_what_a_batch_needs() {
    let groups = Groups::default();
    (1..=20).for_each(|group| groups.set(GroupId(group), 1, (1..=10).map(UserId)));
    let (source, presence) = (groups.source(), all_online(10));
    let cache = Limits { groups_max: 5, members_max: 30 };
    let mut driver = Driver::new(1, NOW, move || FanOut::new(presence.clone(), source.clone(), Config { cache }));
    let batch: Vec<_> =
        (1..=20).map(|group| sequenced(Kind::Text, ConversationId::Group(GroupId(group)), ANN, 1)).collect();
    assert_eq!(recipients(&mut driver, batch).await.len(), 20);
    let members = driver.stage().members();
    assert_eq!((members.groups(), members.held_members()), (3, 30));
}

#[tokio::test]
async fn whatever_happens_it_sends_to_whom_the_model_says() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let users: Vec<UserId> = (1..=12).map(UserId).collect();
        let (groups, presence) = (Groups::with(GROUP, 6), all_online(0));
        let mut driver = driver(&groups, &presence);
        // The driver crashes only where the repo has no change that has not passed yet.
        for round in 0..100 {
            for _ in 0..3 {
                let (user, online) = (*users.choose(&mut random).unwrap(), random.random_bool(0.6));
                presence.write().unwrap().apply(&user_on(user, random.random_range(0..3), 1, online), NOW);
            }
            if random.random_bool(0.1) {
                driver.crash();
            }
            let mut members: BTreeSet<UserId> = groups.members(GROUP);
            driver.feed_values(0, [text(round)]).await.unwrap();
            let (mut batch, mut expected) = (Vec::new(), Vec::new());
            for seq in 0..random.random_range(1..10) {
                let user = *users.choose(&mut random).unwrap();
                let mut to = members.clone();
                match random.random_range(0..4) {
                    0 => {
                        batch.push(groups.change(Kind::Joined, GROUP, &[user], seq));
                        members.insert(user);
                        to = members.clone();
                    }
                    1 => {
                        batch.push(groups.change(Kind::Removed, GROUP, &[user], seq));
                        members.remove(&user);
                    }
                    _ => batch.push(text(seq)),
                }
                to.extend([ANN, user].iter().take(if batch.last() == Some(&text(seq)) { 1 } else { 2 }));
                let held = presence.read().unwrap();
                for slot in 0..3 {
                    let there: Vec<i64> = to
                        .iter()
                        .filter(|&&user| held.slots_of(user).any(|(found, _)| found == slot))
                        .map(|user| user.0)
                        .collect();
                    if !there.is_empty() {
                        expected.push((slot, there));
                    }
                }
            }
            let fate = if random.random_bool(0.2) { Fate::Abort } else { Fate::Commit };
            driver.next_fate(fate);
            let first = driver.feed_values(0, batch.clone()).await.unwrap();
            assert_eq!(deliveries(&first), expected, "seed {seed}");
            if fate == Fate::Abort {
                let again = driver.feed_values(0, batch).await.unwrap();
                assert_eq!(deliveries(&again), expected, "seed {seed}, again");
            }
        }
    }
}
