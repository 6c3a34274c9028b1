//! Who is online, and who only was.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::UserId;
use stages::presence::{Presence, SLOT_SILENT_MS_MAX};

use crate::records::{ANN, BOB, NOW, beat, user_on};

fn slots_of(presence: &Presence, user: UserId, now: i64) -> Vec<(u32, i64)> {
    let mut slots: Vec<_> = presence.slots_of(user, now).collect();
    slots.sort_unstable();
    slots
}

#[test]
fn users_come_to_slots_and_leave_them() {
    let mut presence = Presence::new();
    for event in [user_on(ANN, 2, 1, true, NOW), user_on(ANN, 0, 7, true, NOW), user_on(BOB, 2, 1, true, NOW)] {
        presence.apply(&event);
    }
    assert_eq!(slots_of(&presence, ANN, NOW), [(0, 7), (2, 1)]);
    assert_eq!(presence.online_count(NOW), 2);
    presence.apply(&user_on(ANN, 2, 1, false, NOW));
    assert_eq!(slots_of(&presence, ANN, NOW), [(0, 7)]);
    presence.apply(&user_on(ANN, 0, 7, false, NOW));
    assert!(!presence.is_online(ANN, NOW) && presence.is_online(BOB, NOW));
    assert_eq!(presence.live_slots(NOW).collect::<Vec<_>>(), [(0, 7), (2, 1)]);
}

#[test]
fn an_older_epoch_is_dead_and_cannot_come_back() {
    let mut presence = Presence::new();
    presence.apply(&user_on(ANN, 1, 5, true, NOW));
    presence.apply(&beat(1, 6, NOW));
    assert!(!presence.is_online(ANN, NOW));
    presence.apply(&user_on(BOB, 1, 5, true, NOW));
    assert!(!presence.is_online(BOB, NOW));
    presence.apply(&user_on(ANN, 1, 6, true, NOW));
    presence.apply(&user_on(ANN, 1, 5, false, NOW));
    assert_eq!(slots_of(&presence, ANN, NOW), [(1, 6)], "the old process does not take the user from the new one");
    assert_eq!(presence.live_slots(NOW).collect::<Vec<_>>(), [(1, 6)]);
}

#[test]
fn a_silent_slot_is_dead_until_it_beats_again() {
    let mut presence = Presence::new();
    presence.apply(&user_on(ANN, 1, 5, true, NOW));
    let late = NOW + SLOT_SILENT_MS_MAX;
    assert!(presence.is_online(ANN, late) && !presence.is_online(ANN, late + 1));
    assert_eq!((presence.online_count(late + 1), presence.live_slots(late + 1).count()), (0, 0));
    presence.apply(&beat(1, 5, late + 1));
    assert!(presence.is_online(ANN, late + 1));
    presence.apply(&beat(1, 5, NOW));
    assert!(presence.is_online(ANN, late + 1), "a beat that comes late takes nothing back");
}

#[test]
fn users_of_an_ended_epoch_are_forgotten_a_few_at_a_time() {
    let mut presence = Presence::new();
    for user in 1..=1_000 {
        presence.apply(&user_on(UserId(user), 1, 1, true, NOW));
    }
    presence.apply(&user_on(UserId(7), 2, 1, true, NOW));
    presence.apply(&beat(1, 2, NOW));
    assert_eq!(presence.online_count(NOW), 1, "they are offline at once");
    presence.apply(&beat(1, 2, NOW));
    let after_one = presence.held_users();
    assert!((700..1_000).contains(&after_one), "{after_one}");
    (0..4).for_each(|_| presence.apply(&beat(1, 2, NOW)));
    assert_eq!(presence.held_users(), 1);
    assert!(presence.is_online(UserId(7), NOW));
}

#[test]
fn whatever_comes_it_says_as_the_model_does() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut presence = Presence::new();
        // (slot) → (newest epoch, heard at); (user, slot) → epoch.
        let mut slots: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
        let mut places: BTreeMap<(i64, u32), i64> = BTreeMap::new();
        let mut now = NOW;
        for _ in 0..3_000 {
            now += random.random_range(0..2_000);
            let (slot, user) = (random.random_range(0..4_u32), random.random_range(1..12));
            let newest = slots.get(&slot).map_or(0, |held| held.0);
            let epoch = newest + i64::from(random.random_bool(0.02)) - i64::from(random.random_bool(0.1));
            let current = slots.get(&slot).is_none_or(|held| epoch >= held.0);
            if current {
                slots.insert(slot, (epoch, now));
            }
            if random.random_bool(0.3) {
                presence.apply(&beat(slot.cast_signed(), epoch, now));
            } else {
                let online = random.random_bool(0.6);
                presence.apply(&user_on(UserId(user), slot.cast_signed(), epoch, online, now));
                match (current, online) {
                    (true, true) => drop(places.insert((user, slot), epoch)),
                    (true, false) => drop(places.remove(&(user, slot))),
                    (false, _) => {}
                }
            }
            let expected: Vec<_> = (0..4)
                .filter_map(|slot| {
                    let (epoch, heard_at) = *slots.get(&slot)?;
                    let is_there = places.get(&(user, slot)) == Some(&epoch);
                    (is_there && now - heard_at <= SLOT_SILENT_MS_MAX).then_some((slot, epoch))
                })
                .collect();
            assert_eq!(slots_of(&presence, UserId(user), now), expected, "seed {seed}");
        }
    }
}
