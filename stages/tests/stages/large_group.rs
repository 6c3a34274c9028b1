//! Large groups are fanned out page by page: once to each member, in order, and in turns.

use std::collections::{BTreeMap, HashSet, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use schemas::records::{GroupTask, Sequenced};
use stages::dispatch::Dispatch;
use stages::driver::{Driver, Fate};
use stages::large_group::{Config, LargeGroup};
use stages::presence::SharedPresence;
use stages::stage::StageError;

use crate::groups::Groups;
use crate::records::{ANN, NOW, online, sequenced};

const GROUP: GroupId = GroupId(70);
const PAGE_MEMBERS: usize = 10;

/// The stage and its input topic: what it emits as tasks comes back at the end.
struct Queue {
    driver: Driver<LargeGroup>,
    tasks: VecDeque<GroupTask>,
    /// What was sent: message's group and seq, and to whom, in order.
    sent: Vec<(GroupId, i64, UserId)>,
    /// (group, seq, page, pages) of each task worked, in order.
    worked: Vec<(i64, i64, i32, i32)>,
}

impl Queue {
    fn new(groups: &Groups, presence: &SharedPresence) -> Self {
        let (source, presence) = (groups.source(), presence.clone());
        let config = Config { page_members: PAGE_MEMBERS, ..Config::default() };
        let build = move || LargeGroup::new(presence.clone(), source.clone(), config);
        Self { driver: Driver::new(1, NOW, build), tasks: VecDeque::new(), sent: Vec::new(), worked: Vec::new() }
    }

    fn push(&mut self, message: Sequenced) {
        let ConversationId::Group(group_id) = message.conversation_id else { panic!("{message:?}") };
        self.tasks.push_back(GroupTask { group_id, page: 0, pages: 0, message });
    }

    /// Works the next `count` tasks as one batch. What is not committed stays in the queue.
    async fn work(&mut self, count: usize, fate: Fate) {
        let count = count.min(self.tasks.len());
        let batch: Vec<GroupTask> = self.tasks.iter().take(count).cloned().collect();
        self.driver.next_fate(fate);
        let dispatches = self.driver.feed_values(0, batch.clone()).await.unwrap();
        match fate {
            Fate::Commit => {}
            Fate::Abort => return,
            Fate::Crash => return self.restart(),
        }
        self.tasks.drain(..count);
        let seen = |task: &GroupTask| (task.group_id.0, task.message.seq_id.0, task.page, task.pages);
        self.worked.extend(batch.iter().map(seen));
        self.take(dispatches);
    }

    fn take(&mut self, dispatches: Vec<Dispatch>) {
        for dispatch in dispatches {
            match dispatch {
                Dispatch::Task(task) => self.tasks.push_back(task),
                Dispatch::Delivery { delivery, .. } => {
                    let ConversationId::Group(group) = delivery.message.conversation_id else { panic!() };
                    let seq = delivery.message.seq_id.0;
                    self.sent.extend(delivery.recipients.iter().map(|user| (group, seq, *user)));
                }
            }
        }
    }

    /// The process dies: a new one is restored from the tasks that are not done.
    fn restart(&mut self) {
        let tasks = self.tasks.iter().cloned().collect();
        self.driver.crash_restoring(BTreeMap::from([(0, tasks)]));
    }

    async fn drain(&mut self) {
        while !self.tasks.is_empty() {
            self.work(1, Fate::Commit).await;
        }
    }

    fn sent_to(&self, user: i64) -> Vec<i64> {
        self.sent.iter().filter(|(_, _, to)| to.0 == user).map(|(_, seq, _)| *seq).collect()
    }
}

fn text(group: GroupId, seq: i64) -> Sequenced {
    sequenced(Kind::Text, ConversationId::Group(group), ANN, seq)
}

fn all_online(count: i64) -> SharedPresence {
    online((1..=count).map(|user| (UserId(user), (user % 3) as i32)))
}

#[tokio::test]
async fn each_member_gets_each_message_once_and_in_order() {
    let mut queue = Queue::new(&Groups::with(GROUP, 95), &all_online(200));
    (1..=4).for_each(|seq| queue.push(text(GROUP, seq)));
    queue.drain().await;
    assert_eq!(queue.sent.len(), 4 * 95);
    (1..=95).for_each(|user| assert_eq!(queue.sent_to(user), [1, 2, 3, 4], "user {user}"));
    assert_eq!(queue.driver.stage().groups_in_flight(), 0);
}

#[tokio::test]
async fn a_page_is_one_delivery_a_slot_and_its_continuation() {
    let mut queue = Queue::new(&Groups::with(GROUP, 95), &all_online(95));
    queue.push(text(GROUP, 1));
    let task = queue.tasks.pop_front().unwrap();
    let dispatches = queue.driver.feed_values(0, [task]).await.unwrap();
    let slots: Vec<_> = dispatches
        .iter()
        .filter_map(|dispatch| match dispatch {
            Dispatch::Delivery { slot, delivery } => {
                assert!(delivery.recipients.is_sorted() && !delivery.recipients.is_empty());
                Some(*slot)
            }
            Dispatch::Task(_) => None,
        })
        .collect();
    assert!(slots.is_sorted() && slots.iter().collect::<HashSet<_>>().len() == slots.len());
    let Some(Dispatch::Task(next)) = dispatches.last() else { panic!("{dispatches:?}") };
    assert_eq!((next.page, next.pages, dispatches.len()), (1, 10, slots.len() + 1));
}

#[tokio::test]
async fn groups_take_turns() {
    let groups = Groups::with(GROUP, 100);
    let small = GroupId(71);
    groups.set(small, 1, (1..=10).map(UserId));
    let mut queue = Queue::new(&groups, &all_online(100));
    (1..=3).for_each(|seq| queue.push(text(GROUP, seq)));
    queue.push(text(small, 1));
    for _ in 0..4 {
        queue.work(1, Fate::Commit).await;
    }
    assert_eq!(queue.sent.iter().filter(|(group, _, _)| *group == small).count(), 10, "after one page of each before");
    let first_pages: Vec<_> = queue.worked.iter().map(|&(group, seq, ..)| (group, seq)).collect();
    assert_eq!(first_pages, [(70, 1), (70, 2), (70, 3), (71, 1)]);
}

#[tokio::test]
async fn the_number_of_pages_is_fixed_while_the_group_has_tasks_in_flight() {
    let groups = Groups::with(GROUP, 95);
    let newcomers: Vec<_> = (96..=195).map(UserId).collect();
    let mut queue = Queue::new(&groups, &all_online(195));
    queue.push(text(GROUP, 1));
    queue.work(1, Fate::Commit).await;
    queue.push(groups.change(Kind::Joined, GROUP, &newcomers, 2));
    queue.push(text(GROUP, 3));
    queue.drain().await;
    assert!(queue.worked.iter().all(|&(_, _, page, pages)| page == 0 || pages == 10), "{:?}", queue.worked);
    queue.push(text(GROUP, 4));
    queue.drain().await;
    assert_eq!(queue.worked.last().map(|&(_, seq, page, pages)| (seq, page, pages)), Some((4, 19, 20)));
    (1..=95).for_each(|user| assert_eq!(queue.sent_to(user), [1, 2, 3, 4], "user {user}"));
    (96..=195).for_each(|user| assert_eq!(queue.sent_to(user), [2, 3, 4], "user {user}"));
}

#[tokio::test]
async fn after_a_restart_the_pages_in_flight_are_known() {
    let groups = Groups::with(GROUP, 95);
    let mut queue = Queue::new(&groups, &all_online(300));
    queue.push(text(GROUP, 1));
    queue.work(3, Fate::Commit).await;
    groups.change(Kind::Joined, GROUP, &(96..=195).map(UserId).collect::<Vec<_>>(), 0);
    queue.restart();
    assert_eq!(queue.driver.stage().groups_in_flight(), 1);
    queue.push(text(GROUP, 2));
    queue.drain().await;
    assert!(queue.worked.iter().all(|&(_, _, page, pages)| page == 0 || pages == 10), "{:?}", queue.worked);
    (1..=95).for_each(|user| assert_eq!(queue.sent_to(user), [1, 2], "user {user}"));
    assert_eq!(queue.driver.stage().groups_in_flight(), 0);
}

#[tokio::test]
async fn a_page_worked_twice_is_sent_twice_and_breaks_nothing() {
    let mut queue = Queue::new(&Groups::with(GROUP, 25), &all_online(25));
    queue.push(text(GROUP, 1));
    // Outputs were written and the position was not: the task comes again.
    let again = queue.tasks[0].clone();
    queue.work(1, Fate::Commit).await;
    queue.tasks.push_front(again);
    queue.restart();
    queue.drain().await;
    let reached: HashSet<_> = queue.sent.iter().map(|(_, _, user)| *user).collect();
    assert_eq!((reached.len(), queue.driver.stage().groups_in_flight()), (25, 0));
}

#[tokio::test]
async fn a_removed_member_sees_the_removal_and_nothing_after_on_every_page() {
    let groups = Groups::with(GROUP, 60);
    let mut queue = Queue::new(&groups, &all_online(60));
    queue.push(text(GROUP, 1));
    queue.work(1, Fate::Commit).await;
    let gone: Vec<_> = (31..=60).map(UserId).collect();
    queue.push(groups.change(Kind::Removed, GROUP, &gone, 2));
    queue.push(text(GROUP, 3));
    queue.drain().await;
    (1..=30).for_each(|user| assert_eq!(queue.sent_to(user), [1, 2, 3], "user {user}"));
    (31..=60).for_each(|user| assert_eq!(queue.sent_to(user), [1, 2], "user {user}"));
}

#[tokio::test]
async fn the_sender_gets_it_though_no_member() {
    let groups = Groups::default();
    groups.set(GROUP, 1, (2..=30).map(UserId));
    let mut queue = Queue::new(&groups, &all_online(30));
    queue.push(text(GROUP, 1));
    queue.drain().await;
    assert_eq!((queue.sent_to(ANN.0), queue.sent.len()), (vec![1], 30));
}

#[tokio::test]
async fn a_task_of_no_such_page_is_not_guessed_at() {
    let mut queue = Queue::new(&Groups::with(GROUP, 5), &all_online(5));
    for (page, pages) in [(3, 3), (-1, 2), (1, 0)] {
        let task = GroupTask { group_id: GROUP, page, pages, message: text(GROUP, 1) };
        let refused = queue.driver.feed_values(0, [task]).await;
        assert!(matches!(refused, Err(StageError::Fatal { .. })), "{page} of {pages}");
    }
}

#[tokio::test]
async fn whatever_happens_members_get_each_message_once_and_in_order() {
    for seed in 0..30 {
        let mut random = StdRng::seed_from_u64(seed);
        let groups = Groups::with(GROUP, 60);
        let other = GroupId(71);
        groups.set(other, 1, (1..=35).map(UserId));
        let mut queue = Queue::new(&groups, &all_online(80));
        let (mut seq, mut expected) = (0, BTreeMap::<i64, Vec<(i64, i64)>>::new());
        for _ in 0..60 {
            for group in [GROUP, other] {
                if random.random_bool(0.4) {
                    seq += 1;
                    queue.push(text(group, seq));
                    for user in groups.members(group) {
                        expected.entry(user.0).or_default().push((group.0, seq));
                    }
                }
            }
            let fate = [Fate::Commit, Fate::Commit, Fate::Commit, Fate::Abort, Fate::Crash][random.random_range(0..5)];
            queue.work(random.random_range(1..6), fate).await;
        }
        queue.drain().await;
        for (user, expected) in expected {
            for group in [GROUP, other] {
                let of_group = |seen: &(i64, i64)| seen.0 == group.0;
                let sent = queue.sent.iter().filter(|(to, _, who)| *to == group && who.0 == user);
                let sent: Vec<_> = sent.map(|(group, seq, _)| (group.0, *seq)).collect();
                let expected: Vec<_> = expected.iter().copied().filter(of_group).collect();
                assert_eq!(sent, expected, "seed {seed}, user {user}");
            }
        }
        assert_eq!(queue.driver.stage().groups_in_flight(), 0, "seed {seed}");
    }
}
