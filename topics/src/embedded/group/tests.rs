//! The coordinator under members that come, go, call and stay away in a random order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::{Group, MemberId, Outcome};
use crate::catalogue::UPSTREAM;
use crate::log::Event;

const PARTITIONS: u32 = 7;
const PATIENCE: Duration = Duration::from_secs(10);

/// What a member believes.
#[derive(Default)]
struct Belief {
    name: String,
    owned: BTreeSet<u32>,
    /// Told to be revoked; its own until it calls again.
    leaving: BTreeSet<u32>,
}

struct Simulation {
    group: Group,
    members: BTreeMap<MemberId, Belief>,
    now: Instant,
    random: StdRng,
    names: u32,
}

impl Simulation {
    async fn new(seed: u64) -> Self {
        Self {
            group: Group::new("group".into(), &UPSTREAM.spec, vec![None; PARTITIONS as usize]),
            members: BTreeMap::new(),
            now: Instant::now(),
            random: StdRng::seed_from_u64(seed),
            names: 0,
        }
    }

    fn any(&mut self) -> Option<MemberId> {
        if self.members.is_empty() {
            return None;
        }
        let nth = self.random.random_range(0..self.members.len());
        self.members.keys().nth(nth).copied()
    }

    fn join(&mut self) {
        let name = match self.any().filter(|_| self.random.random_bool(0.3)) {
            Some(known) => {
                // A second of that name: the first is out.
                self.members.remove(&known).map(|belief| belief.name).unwrap_or_default()
            }
            None => {
                self.names += 1;
                format!("member {}", self.names)
            }
        };
        let id = self.group.join(&name, PATIENCE, self.now);
        self.members.insert(id, Belief { name, ..Belief::default() });
    }

    /// One call of a member, as `Member::next` makes it.
    fn call(&mut self, id: MemberId) {
        let belief = self.members.get_mut(&id).unwrap();
        let inside = self.group.enter(id, &belief.name, self.now).unwrap();
        self.group.give_up_revoked(id);
        belief.leaving.clear();
        match self.group.event(id, &belief.name, self.now).unwrap() {
            Some(Event::Assigned(assigned)) => belief.owned.extend(assigned.iter().map(|one| one.partition)),
            Some(Event::Revoked(revoked)) => {
                for partition in revoked {
                    assert!(belief.owned.remove(&partition), "{partition} was revoked from who never had it");
                    belief.leaving.insert(partition);
                }
            }
            Some(Event::Lost(lost)) => belief.owned.retain(|partition| !lost.contains(partition)),
            Some(Event::Batch(_)) => panic!("a group has no records"),
            None => {}
        }
        drop(inside);
    }

    /// No two members that were not cut off believe that a partition is theirs.
    fn check(&self) {
        let mut owners = BTreeMap::new();
        for (id, belief) in &self.members {
            for &partition in belief.owned.iter().chain(&belief.leaving) {
                if self.group.owns(*id, partition) {
                    assert_eq!(owners.insert(partition, id), None, "{partition} has two owners");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_have_one_owner_at_a_time_and_end_up_evenly_shared() {
    for seed in 0..300 {
        let mut simulation = Simulation::new(seed).await;
        for _ in 0..200 {
            match simulation.random.random_range(0..10) {
                0 => simulation.join(),
                1 => {
                    if let Some(id) = simulation.any() {
                        simulation.group.leave(id);
                        simulation.members.remove(&id);
                    }
                }
                2 => {
                    let pause = PATIENCE.mul_f64(simulation.random.random_range(0.0..0.6));
                    tokio::time::advance(pause).await;
                    simulation.now = Instant::now();
                }
                _ => {
                    if let Some(id) = simulation.any() {
                        simulation.call(id);
                    }
                }
            }
            simulation.check();
        }
        settle(&mut simulation, seed);
    }
}

/// All call in turn until nothing happens any more.
fn settle(simulation: &mut Simulation, seed: u64) {
    if simulation.members.is_empty() {
        simulation.join();
    }
    let ids: Vec<MemberId> = simulation.members.keys().copied().collect();
    for id in ids.iter().cycle().take(ids.len() * 10) {
        simulation.call(*id);
        simulation.check();
    }
    let sizes: Vec<usize> = simulation.members.values().map(|belief| belief.owned.len()).collect();
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    assert_eq!(sizes.iter().sum::<usize>(), PARTITIONS as usize, "seed {seed}: {sizes:?}");
    assert!(most - least <= 1, "seed {seed}: {sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_partition_waits_for_the_commit_that_is_being_written() {
    let group = Group::new("group".into(), &UPSTREAM.spec, vec![None]);
    let now = Instant::now();
    let first = group.join("same", PATIENCE, now);
    assert!(matches!(group.event(first, "same", now), Ok(Some(Event::Assigned(_)))));
    group.admit(first, "same", &[(0, 5)]).unwrap();
    let second = group.join("same", PATIENCE, now);
    assert!(matches!(group.event(second, "same", now), Ok(None)), "the position can still change");
    group.settle(&[(0, 5)], Outcome::Written);
    match group.event(second, "same", now) {
        Ok(Some(Event::Assigned(assigned))) => assert_eq!(assigned[0].committed, Some(5)),
        other => panic!("{other:?}"),
    }
    assert!(group.admit(first, "same", &[(0, 6)]).is_err(), "a zombie was let in");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_away_cannot_commit_what_others_have_worked_on_meanwhile() {
    let group = Group::new("group".into(), &UPSTREAM.spec, vec![None]);
    let began = Instant::now();
    let away = group.join("away", PATIENCE, began);
    assert!(matches!(group.event(away, "away", began), Ok(Some(Event::Assigned(_)))));
    tokio::time::advance(2 * PATIENCE).await;
    let later = Instant::now();
    let other = group.join("other", PATIENCE, later);
    assert!(matches!(group.event(other, "other", later), Ok(Some(Event::Assigned(_)))));
    group.admit(other, "other", &[(0, 9)]).unwrap();
    group.settle(&[(0, 9)], Outcome::Written);
    group.leave(other);
    // It comes back with a commit: the partition is its own again, but the batch is of before.
    let inside = group.enter(away, "away", later).unwrap();
    assert!(group.admit(away, "away", &[(0, 3)]).is_err(), "a batch of an earlier ownership was taken");
    drop(inside);
    assert!(matches!(group.event(away, "away", later), Ok(Some(Event::Lost(_)))));
    match group.event(away, "away", later) {
        Ok(Some(Event::Assigned(assigned))) => assert_eq!(assigned[0].committed, Some(9)),
        other => panic!("{other:?}"),
    }
    group.admit(away, "away", &[(0, 10)]).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_away_twice_still_learns_what_it_lost() {
    let group = Group::new("group".into(), &UPSTREAM.spec, vec![None]);
    let away = group.join("away", PATIENCE, Instant::now());
    assert!(matches!(group.event(away, "away", Instant::now()), Ok(Some(Event::Assigned(_)))));
    for _ in 0..2 {
        tokio::time::advance(2 * PATIENCE).await;
        drop(group.enter(away, "away", Instant::now()).unwrap());
    }
    match group.event(away, "away", Instant::now()) {
        Ok(Some(Event::Lost(lost))) => assert_eq!(lost, [0]),
        other => panic!("{other:?}"),
    }
}
