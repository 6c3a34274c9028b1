//! Who is online, and who only was.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::UserId;
use stages::presence::{Change, Presence, SLOT_SILENT_MS_MAX};

use crate::records::{ANN, BOB, NOW, beat, user_on};

/// How often gateways beat.
const BEAT_MS: i64 = 5_000;

fn slots_of(presence: &Presence, user: UserId) -> Vec<(u32, i64)> {
    let mut slots: Vec<_> = presence.slots_of(user).collect();
    slots.sort_unstable();
    slots
}

/// These slots beat at each of their turns from `from` up to `to`; all have epoch 1.
fn beats(presence: &mut Presence, slots: &[i32], from: i64, to: i64) {
    let step = usize::try_from(BEAT_MS).unwrap();
    for at in (from..=to).step_by(step) {
        for &slot in slots {
            presence.apply(&beat(slot, 1), at);
        }
    }
}

#[test]
fn users_come_to_slots_and_leave_them() {
    let mut presence = Presence::new();
    for event in [user_on(ANN, 2, 1, true), user_on(ANN, 0, 7, true)] {
        assert_eq!(presence.apply(&event, NOW), Change::Slots, "it was not heard of before");
    }
    assert_eq!(presence.apply(&user_on(BOB, 2, 1, true), NOW), Change::User(BOB));
    assert_eq!(presence.apply(&user_on(BOB, 2, 1, true), NOW), Change::Nothing);
    assert_eq!(slots_of(&presence, ANN), [(0, 7), (2, 1)]);
    assert_eq!(presence.online_count(), 2);
    assert_eq!(presence.apply(&user_on(ANN, 2, 1, false), NOW), Change::User(ANN));
    assert_eq!(slots_of(&presence, ANN), [(0, 7)]);
    presence.apply(&user_on(ANN, 0, 7, false), NOW);
    assert!(!presence.is_online(ANN) && presence.is_online(BOB));
    assert_eq!(presence.live_slots().collect::<Vec<_>>(), [(0, 7), (2, 1)]);
}

#[test]
fn an_older_epoch_is_dead_and_cannot_come_back() {
    let mut presence = Presence::new();
    presence.apply(&user_on(ANN, 1, 5, true), NOW);
    assert_eq!(presence.apply(&beat(1, 6), NOW), Change::Slots);
    assert!(!presence.is_online(ANN));
    assert_eq!(presence.apply(&user_on(BOB, 1, 5, true), NOW), Change::Nothing);
    assert!(!presence.is_online(BOB));
    presence.apply(&user_on(ANN, 1, 6, true), NOW);
    presence.apply(&user_on(ANN, 1, 5, false), NOW);
    assert_eq!(slots_of(&presence, ANN), [(1, 6)], "the old process does not take the user from the new one");
    assert_eq!(presence.live_slots().collect::<Vec<_>>(), [(1, 6)]);
    assert_eq!((presence.newest_epoch(1), presence.newest_epoch(0)), (Some(6), None));
}

#[test]
fn a_slot_that_is_silent_while_others_are_heard_is_dead_until_it_beats_again() {
    let mut presence = Presence::new();
    presence.apply(&user_on(ANN, 1, 1, true), NOW);
    beats(&mut presence, &[2], NOW, NOW + SLOT_SILENT_MS_MAX);
    assert!(presence.is_online(ANN));
    let late = NOW + SLOT_SILENT_MS_MAX + 1;
    assert_eq!(presence.apply(&beat(2, 1), late), Change::Slots, "it died");
    assert!(!presence.is_online(ANN));
    assert_eq!((presence.online_count(), presence.live_slots().count()), (0, 1));
    assert_eq!(presence.apply(&beat(1, 1), late), Change::Slots, "it is back");
    assert!(presence.is_online(ANN));
    assert_eq!(presence.apply(&beat(1, 1), late), Change::Nothing);
}

#[test]
fn the_only_slot_there_is_never_dies() {
    let mut presence = Presence::new();
    presence.apply(&user_on(ANN, 1, 1, true), NOW);
    assert_eq!(presence.apply(&user_on(BOB, 1, 1, true), NOW + 24 * 3_600_000), Change::User(BOB));
    assert!(presence.is_online(ANN));
}

#[test]
fn everybodys_silence_is_nobodys_death() {
    let mut presence = Presence::new();
    for (user, slot) in [(ANN, 1), (BOB, 2)] {
        presence.apply(&user_on(user, slot, 1, true), NOW);
    }
    beats(&mut presence, &[1, 2], NOW, NOW + 20_000);
    // The brokers stand still for 45 s. Slot 1 is the first to be heard again.
    let thawed = NOW + 20_000 + 45_000;
    beats(&mut presence, &[1], thawed, thawed + SLOT_SILENT_MS_MAX);
    assert!(presence.is_online(ANN) && presence.is_online(BOB), "it has as long to come back as any other");
    beats(&mut presence, &[1], thawed + SLOT_SILENT_MS_MAX + 1, thawed + SLOT_SILENT_MS_MAX + 1);
    assert!(presence.is_online(ANN) && !presence.is_online(BOB), "it did not come back");
}

#[test]
fn a_topic_whose_time_steps_back_or_ahead_kills_nobody() {
    let mut presence = Presence::new();
    for (user, slot) in [(ANN, 1), (BOB, 2)] {
        presence.apply(&user_on(user, slot, 1, true), NOW);
    }
    // Other brokers lead the partition, whose clocks are wrong.
    for at in [NOW - 3_600_000, NOW + 3_600_000, NOW] {
        beats(&mut presence, &[1], at, at + BEAT_MS / 2);
        assert!(presence.is_online(ANN) && presence.is_online(BOB), "at {at}");
    }
    beats(&mut presence, &[1], NOW, NOW + SLOT_SILENT_MS_MAX + BEAT_MS);
    assert!(!presence.is_online(BOB), "time goes on from there");
}

#[test]
fn users_of_an_ended_epoch_are_forgotten_a_few_at_a_time() {
    let mut presence = Presence::new();
    for user in 1..=1_000 {
        presence.apply(&user_on(UserId(user), 1, 1, true), NOW);
    }
    presence.apply(&user_on(UserId(7), 2, 1, true), NOW);
    presence.apply(&beat(1, 2), NOW);
    assert_eq!(presence.online_count(), 1, "they are offline at once");
    presence.apply(&beat(1, 2), NOW);
    let after_one = presence.held_users();
    assert!((700..1_000).contains(&after_one), "{after_one}");
    for _ in 0..4 {
        presence.apply(&beat(1, 2), NOW);
    }
    assert_eq!(presence.held_users(), 1);
    assert!(presence.is_online(UserId(7)));
}

#[test]
fn whatever_comes_it_says_as_the_model_does() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut presence = Presence::new();
        // (slot) → (newest epoch, heard at); (user, slot) → epoch.
        let mut slots: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
        let mut places: BTreeMap<(i64, u32), i64> = BTreeMap::new();
        let (mut now, mut heard_for) = (NOW, 0);
        for _ in 0..3_000 {
            let gap = if random.random_bool(0.02) { 60_000 } else { random.random_range(0..2_000) };
            now += gap;
            heard_for += if gap < 2_000 { gap } else { 0 };
            let (slot, user) = (random.random_range(0..4_u32), random.random_range(1..12));
            let newest = slots.get(&slot).map_or(0, |held| held.0);
            let epoch = newest + i64::from(random.random_bool(0.02)) - i64::from(random.random_bool(0.1));
            let current = slots.get(&slot).is_none_or(|held| epoch >= held.0);
            if current {
                slots.insert(slot, (epoch, heard_for));
            }
            if random.random_bool(0.3) {
                presence.apply(&beat(slot.cast_signed(), epoch), now);
            } else {
                let online = random.random_bool(0.6);
                presence.apply(&user_on(UserId(user), slot.cast_signed(), epoch, online), now);
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
                    (is_there && heard_for - heard_at <= SLOT_SILENT_MS_MAX).then_some((slot, epoch))
                })
                .collect();
            assert_eq!(slots_of(&presence, UserId(user)), expected, "seed {seed}");
        }
    }
}
