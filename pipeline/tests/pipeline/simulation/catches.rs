//! Each planted bug is found, and by the invariant that it breaks.

use std::collections::BTreeSet;

use stages::dedupe::Dedupe;
use stages::fan_out::FanOut;
use stages::id_assign::IdAssign;
use stages::invariants::Invariant;
use stages::large_group::LargeGroup;
use stages::persist::Persist;
use stages::stage::Stage;

use super::planted::{Flaw, Planted};
use super::planted_log::LogFlaw;
use super::print_trace;
use super::schedule::run;

/// Seeds within which a bug must be found.
const SEEDS: u64 = 60;
/// The same for what takes several things going wrong at once.
const SEEDS_OF_RARE: u64 = 12_000;

/// Plays seeds with a bug until one shows that it breaks this invariant.
fn caught(planted: Planted, by: Invariant) {
    caught_within(SEEDS, planted, by);
}

fn caught_within(seeds: u64, planted: Planted, by: Invariant) {
    let mut broken = BTreeSet::new();
    let mut stops = BTreeSet::new();
    for seed in 1..=seeds {
        let outcome = run(seed, Some(planted));
        let of_seed: BTreeSet<Invariant> = outcome.broken().map(|finding| finding.invariant).collect();
        if of_seed.contains(&by) {
            return;
        }
        broken.extend(of_seed);
        stops.extend(outcome.stopped);
    }
    panic!("{planted:?} was not seen to break {by} in {seeds} schedules; it broke {broken:?}, stopped {stops:?}");
}

#[test]
fn a_position_committed_before_the_outputs_loses_messages() {
    caught(Planted::Log(LogFlaw::CommitBeforeOutput, Some(Dedupe::NAME)), Invariant::Acked);
    caught(Planted::Log(LogFlaw::CommitBeforeOutput, Some(Persist::NAME)), Invariant::Arrives);
    caught(Planted::Log(LogFlaw::CommitBeforeOutput, Some(FanOut::NAME)), Invariant::Arrives);
    caught(Planted::Log(LogFlaw::CommitBeforeOutput, Some(LargeGroup::NAME)), Invariant::Arrives);
}

#[test]
fn a_commit_that_is_not_one_transaction_makes_messages_twice_and_mixes_pages() {
    caught(Planted::Log(LogFlaw::NoTransactions, Some(Dedupe::NAME)), Invariant::Once);
    caught_within(SEEDS_OF_RARE, Planted::Log(LogFlaw::NoTransactions, Some(LargeGroup::NAME)), Invariant::Order);
    caught_within(SEEDS_OF_RARE, Planted::Log(LogFlaw::NoTransactions, Some(LargeGroup::NAME)), Invariant::Arrives);
}

#[test]
fn a_changelog_committed_apart_makes_repeats_and_seqs_again() {
    caught(Planted::Log(LogFlaw::ChangelogApart, None), Invariant::Once);
    caught(Planted::Log(LogFlaw::ChangelogApart, None), Invariant::Gapless);
}

#[test]
fn a_changelog_read_up_to_where_it_ended_before_the_position_makes_seqs_again() {
    caught(Planted::Log(LogFlaw::ChangelogBeforePosition, None), Invariant::Once);
    caught(Planted::Log(LogFlaw::ChangelogBeforePosition, None), Invariant::Gapless);
}

#[test]
fn ids_given_before_repeats_are_dropped_leave_gaps() {
    caught(Planted::IdBeforeDedupe, Invariant::Gapless);
}

#[test]
fn a_position_committed_before_the_store_has_the_messages_loses_them() {
    caught(Planted::PositionBeforeStore, Invariant::Acked);
}

#[test]
fn repeats_that_persist_holds_back_never_arrive() {
    caught(Planted::Stage(Flaw::RepeatsHeldBack, Persist::NAME), Invariant::Arrives);
}

#[test]
fn state_kept_although_the_commit_failed_loses_messages_and_leaves_gaps() {
    caught(Planted::Stage(Flaw::StateKeptOnAbort, Dedupe::NAME), Invariant::Acked);
    caught(Planted::Stage(Flaw::StateKeptOnAbort, IdAssign::NAME), Invariant::Gapless);
}

#[test]
fn state_that_is_not_restored_makes_repeats_and_seqs_again_and_mixes_pages() {
    caught(Planted::Stage(Flaw::NothingRestored, Dedupe::NAME), Invariant::Once);
    caught(Planted::Stage(Flaw::NothingRestored, IdAssign::NAME), Invariant::Gapless);
    caught_within(SEEDS_OF_RARE, Planted::Stage(Flaw::NothingRestored, LargeGroup::NAME), Invariant::Order);
}

#[test]
fn a_window_counted_by_the_stages_own_clock_is_another_at_each_reader() {
    caught(Planted::Stage(Flaw::WallClock, Dedupe::NAME), Invariant::Once);
}

#[test]
fn a_message_that_fan_out_forgets_does_not_arrive() {
    caught(Planted::Stage(Flaw::TailForgotten, FanOut::NAME), Invariant::Arrives);
}

#[test]
fn a_page_that_large_group_forgets_does_not_arrive() {
    caught(Planted::Stage(Flaw::LastLostAfterAbort, LargeGroup::NAME), Invariant::Arrives);
}

#[test]
fn two_machines_with_one_instance_id_make_an_id_twice() {
    caught(Planted::OneInstanceIdForTwo, Invariant::Stable);
}

/// Plays seeds with what is no bug: everything holds.
fn withstood(planted: Planted) {
    for seed in 1..=SEEDS {
        let outcome = run(seed, Some(planted));
        let wrong = outcome.wrong();
        if !wrong.is_empty() {
            print_trace(&outcome);
        }
        assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
    }
}

#[test]
fn a_stage_that_is_slow_to_take_over_gives_way_to_the_one_that_was_not() {
    withstood(Planted::Log(LogFlaw::SlowToTakeOver, None));
}

#[test]
fn a_stage_whose_positions_were_set_back_goes_on_where_its_changelog_ends() {
    withstood(Planted::Log(LogFlaw::PositionsSetBack, Some(Dedupe::NAME)));
}
