//! Each checker passes what is right and catches a violation that is planted.

use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use stages::invariants::{
    Due, Finding, Held, Invariant, Key, Queue, Seen, Synced, check_acked, check_arrives, check_bound, check_gapless,
    check_once, check_order, check_stable, check_whole,
};

const WORLD: ConversationId = ConversationId::World;
const WINDOW_MS: i64 = 600_000;

fn pair() -> ConversationId {
    ConversationId::single(UserId(1), UserId(2))
}

fn key(conversation: ConversationId, client_msg_id: &str) -> Key {
    Key { conversation, sender: UserId(1), client_msg_id: client_msg_id.into() }
}

/// Message `seq` of a conversation, called by its seq; ids tell conversations apart.
fn held(conversation: ConversationId, seq: i64) -> Held {
    let base = if conversation == WORLD { 100 } else { 200 };
    let message_id = MessageId(base + seq);
    Held { key: key(conversation, &seq.to_string()), seq: Seq(seq), message_id, time_ms: seq * 1_000 }
}

fn history() -> Vec<Held> {
    [(WORLD, 2), (WORLD, 1), (pair(), 1), (WORLD, 3), (pair(), 2)].map(|(c, seq)| held(c, seq)).into()
}

fn seen(client: u64, seq: i64, time_ms: i64) -> Seen {
    Seen { client, conversation: WORLD, seq: Seq(seq), time_ms }
}

fn due(client: u64, seq: i64) -> Due {
    Due { client, conversation: WORLD, seq: Seq(seq), stored_ms: 0 }
}

fn holds(finding: &Finding, looked_at: usize) {
    assert!(finding.holds(), "{finding}");
    assert_eq!(finding.looked_at, looked_at, "{finding}");
}

fn broken(finding: &Finding, words: &str) {
    let counterexample = finding.counterexample.as_deref().expect("a violation was planted");
    assert!(counterexample.contains(words), "{finding}");
    assert!(finding.looked_at > 0);
}

#[test]
fn every_invariant_has_its_name_and_one_sentence() {
    for invariant in Invariant::ALL {
        assert!(invariant.name().chars().all(|c| c.is_ascii_uppercase()));
        assert!(invariant.meaning().split_whitespace().count() > 4);
        assert_eq!(Invariant::ALL.iter().filter(|other| other.name() == invariant.name()).count(), 1);
    }
}

#[test]
fn acked_catches_an_acknowledged_message_that_is_lost() {
    let acked = [key(WORLD, "1"), key(pair(), "2")];
    holds(&check_acked(&acked, &history()), 2);
    broken(&check_acked(&[key(pair(), "1"), key(pair(), "3")], &history()), "\"3\" of user 1 in single_1_2");
}

#[test]
fn once_catches_a_copy_within_the_window() {
    holds(&check_once(&history(), WINDOW_MS), 5);
    let copy = |apart| Held { time_ms: 1_000 + apart, seq: Seq(4), message_id: MessageId(104), ..held(WORLD, 1) };
    let with = |extra: Held| [history(), vec![extra]].concat();
    broken(&check_once(&with(copy(WINDOW_MS)), WINDOW_MS), "seq 1 and as seq 4");
    broken(&check_once(&with(copy(-1)), WINDOW_MS), "seq 4 and as seq 1");
    holds(&check_once(&with(copy(WINDOW_MS + 1)), WINDOW_MS), 6);
    let nameless = |seq| Held { key: key(WORLD, ""), ..held(WORLD, seq) };
    holds(&check_once(&[nameless(1), nameless(2)], WINDOW_MS), 0);
}

#[test]
fn gapless_catches_a_gap_a_late_start_and_a_seq_of_two_messages() {
    holds(&check_gapless(&history()), 5);
    holds(&check_gapless(&[history(), history()].concat()), 10);
    broken(&check_gapless(&[history(), vec![held(WORLD, 5)]].concat()), "world has seq 5 next to 3");
    broken(&check_gapless(&[held(pair(), 2)]), "seq 2 next to 0");
    let second = Held { message_id: MessageId(9), ..held(WORLD, 2) };
    broken(&check_gapless(&[history(), vec![second]].concat()), "two messages");
    broken(&check_gapless(&[held(WORLD, 0), held(WORLD, 1)]), "seq 0");
}

#[test]
fn stable_catches_an_id_that_changed_or_is_of_two_messages() {
    let later = [history(), vec![held(WORLD, 4)]].concat();
    holds(&check_stable(&history(), &later), 11);
    broken(&check_stable(&later, &history()), "is gone");
    let mut other = later.clone();
    other[0].message_id = MessageId(77);
    broken(&check_stable(&history(), &other), "was 102");
    let mut other = later.clone();
    other[0].key = key(WORLD, "another");
    broken(&check_stable(&history(), &other), "another");
    let mut other = later;
    other[5].message_id = MessageId(102);
    broken(&check_stable(&history(), &other), "id 102 is of seq 2 of world and of seq 4 of world");
}

#[test]
fn order_catches_a_step_back_and_a_repeat() {
    holds(&check_order(&[seen(1, 1, 0), seen(2, 1, 0), seen(1, 3, 0), seen(2, 2, 0)]), 4);
    broken(&check_order(&[seen(1, 1, 0), seen(1, 3, 0), seen(1, 2, 0)]), "seq 2 of world behind seq 3");
    broken(&check_order(&[seen(1, 1, 0), seen(1, 1, 0)]), "client 1 saw seq 1");
}

#[test]
fn whole_catches_a_hole_in_what_is_called_recovered() {
    let answer = |seqs: &[i64], recovered| Synced {
        client: 1,
        conversation: WORLD,
        after: Seq(2),
        last: Seq(5),
        seqs: seqs.iter().map(|&seq| Seq(seq)).collect(),
        recovered,
    };
    holds(&check_whole(&[answer(&[3, 4, 5], true), answer(&[3, 4, 5, 6], true), answer(&[4], false)]), 2);
    broken(&check_whole(&[answer(&[3, 5], true)]), "seq 5 of world where 4 comes next");
    broken(&check_whole(&[answer(&[3, 4], true)]), "did not get seq 5");
    broken(&check_whole(&[answer(&[], true)]), "did not get seq 3");
}

#[test]
fn arrives_catches_what_is_late_and_what_never_came() {
    let seen = [seen(1, 1, 60_000), seen(1, 1, 90_000), seen(1, 2, 60_001)];
    holds(&check_arrives(&[due(1, 1)], &seen, 100_000), 1);
    broken(&check_arrives(&[due(1, 2)], &seen, 100_000), "60001 ms after");
    broken(&check_arrives(&[due(1, 1), due(2, 1)], &seen, 60_001), "client 2 has not seen seq 1");
    holds(&check_arrives(&[due(2, 1)], &seen, 60_000), 1);
}

#[test]
fn bound_catches_a_queue_over_its_limit() {
    let queue = |longest| Queue { name: "socket".to_owned(), longest, limit: 10 };
    holds(&check_bound(&[queue(0), queue(10)]), 2);
    broken(&check_bound(&[queue(11)]), "socket had 11 entries");
}
