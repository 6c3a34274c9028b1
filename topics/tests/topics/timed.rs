//! What a log does whose clock can be moved and whose cleaning can be asked for: [`timed_contract_tests!`] makes a
//! test of each.

use async_trait::async_trait;
use topics::catalogue::{HEADS, PRESENCE, UPSTREAM};
use topics::clock::Clock;
use topics::log::{Incoming, LogError, StartAt};

use crate::contract::Harness;
use crate::contract::drive::{WAIT_MAX, append, keyed, read_all, text, values};

/// A log whose time and cleaning are in the test's hands.
#[async_trait]
pub trait TimedHarness: Harness {
    /// The clock that gives records their time.
    fn clock(&self) -> &Clock;

    /// Runs retention and compaction, whatever little there is to do.
    async fn clean(&self);
}

/// Makes a test of each function that needs a [`TimedHarness`].
macro_rules! timed_contract_tests {
    ($harness:path) => {
        $crate::timed::timed_contract_tests! { $harness;
            times_never_fall_within_a_partition;
            retention_drops_what_is_too_old_and_moves_the_start;
            a_reader_whose_records_were_dropped_is_told;
            compaction_keeps_the_newest_of_each_key_at_its_offset;
            compaction_goes_on_with_what_was_compacted_before;
            the_first_offset_of_a_time_is_found;
        }
    };
    ($harness:path; $($test:ident;)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                let run = async { $crate::timed::$test(&mut $harness().await).await };
                tokio::time::timeout($crate::contract::TEST_TIME_MAX, run).await.expect("the test takes too long");
            }
        )*
    };
}

pub(crate) use timed_contract_tests;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

pub async fn times_never_fall_within_a_partition(harness: &mut impl TimedHarness) {
    append(&harness.log(), &UPSTREAM.spec, 0, &["a"]).await;
    harness.clock().advance_ms(-5_000);
    append(&harness.log(), &UPSTREAM.spec, 0, &["b"]).await;
    harness.reopen().await;
    append(&harness.log(), &UPSTREAM.spec, 0, &["c"]).await;
    harness.clock().advance_ms(5_001);
    append(&harness.log(), &UPSTREAM.spec, 0, &["d"]).await;
    let records = read_all(&harness.log(), &UPSTREAM.spec, 0).await;
    let times: Vec<i64> = records.iter().map(|record| record.time_ms).collect();
    assert_eq!(times, [times[0], times[0], times[0], times[0] + 1]);
}

pub async fn retention_drops_what_is_too_old_and_moves_the_start(harness: &mut impl TimedHarness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 0, &["old", "old too"]).await;
    harness.clock().advance_ms(6 * DAY_MS);
    let young = append(&log, &UPSTREAM.spec, 0, &["young"]).await;
    harness.clean().await;
    assert_eq!(values(&log, &UPSTREAM.spec, 0).await.len(), 3, "nothing is older than 7 days yet");
    harness.clock().advance_ms(DAY_MS + 1);
    harness.clean().await;
    assert_eq!(log.bounds(&UPSTREAM.spec, 0).await.unwrap().start, young);
    assert_eq!(values(&log, &UPSTREAM.spec, 0).await, ["young"]);
    harness.clock().advance_ms(7 * DAY_MS + 1);
    harness.clean().await;
    harness.reopen().await;
    let log = harness.log();
    let bounds = log.bounds(&UPSTREAM.spec, 0).await.unwrap();
    assert!(bounds.start == bounds.end && bounds.end > young, "{bounds:?}");
    harness.clock().advance_ms(-20 * DAY_MS);
    assert!(append(&log, &UPSTREAM.spec, 0, &["new"]).await >= bounds.end, "an offset was given out twice");
}

pub async fn a_reader_whose_records_were_dropped_is_told(harness: &mut impl TimedHarness) {
    let log = harness.log();
    let first = append(&log, &UPSTREAM.spec, 0, &["old"]).await;
    let mut reader = log.read(&UPSTREAM.spec, &[(0, StartAt::Offset(first))]).await.unwrap();
    harness.clock().advance_ms(8 * DAY_MS);
    append(&log, &UPSTREAM.spec, 0, &["young"]).await;
    harness.clean().await;
    let told = reader.next_within(WAIT_MAX).await;
    assert!(matches!(told, Err(LogError::OffsetOutOfRange { offset, .. }) if offset == first), "{told:?}");
    let mut reader = log.read(&UPSTREAM.spec, &[(0, StartAt::Offset(first))]).await.unwrap();
    let batch = reader.next_within(WAIT_MAX).await.unwrap().unwrap();
    assert_eq!(text(&batch.records[0]), "young", "a start below the bounds is at the next one kept");
}

fn pairs(records: &[Incoming]) -> Vec<(String, String, u64, i64)> {
    let key = |record: &Incoming| String::from_utf8(record.key.to_vec()).unwrap();
    records.iter().map(|r| (key(r), text(r), r.offset, r.time_ms)).collect()
}

pub async fn compaction_keeps_the_newest_of_each_key_at_its_offset(harness: &mut impl TimedHarness) {
    for topic in [&HEADS.spec, &PRESENCE.spec] {
        let log = harness.log();
        for round in 0..20 {
            let records = ["a", "b", "c"]
                .map(|key| topics::log::Outgoing { partition: Some(0), ..keyed(topic, key, &format!("{key}{round}")) });
            log.append(records.into()).await.unwrap();
            harness.clock().advance_ms(10);
        }
        let lone = topics::log::Outgoing { partition: Some(0), ..keyed(topic, "lone", "early") };
        log.append(vec![lone]).await.unwrap();
        append(&log, topic, 0, &["last"]).await;
        let before = pairs(&read_all(&log, topic, 0).await);
        let expected: Vec<_> = before.iter().skip(57).cloned().collect();
        harness.clean().await;
        let end = log.bounds(topic, 0).await.unwrap().end;
        assert_eq!(pairs(&read_all(&log, topic, 0).await), expected);
        harness.reopen().await;
        let log = harness.log();
        assert_eq!(pairs(&read_all(&log, topic, 0).await), expected);
        assert_eq!(log.bounds(topic, 0).await.unwrap().end, end);
    }
}

pub async fn compaction_goes_on_with_what_was_compacted_before(harness: &mut impl TimedHarness) {
    let log = harness.log();
    let put = async |key: &str, value: &str| {
        let record = topics::log::Outgoing { partition: Some(0), ..keyed(&HEADS.spec, key, value) };
        harness.log().append(vec![record]).await.unwrap();
    };
    for round in 0..10 {
        put("kept", "kept").await;
        put("changing", &round.to_string()).await;
    }
    harness.clean().await;
    assert_eq!(values(&log, &HEADS.spec, 0).await, ["kept", "9"]);
    for round in 10..20 {
        put("changing", &round.to_string()).await;
    }
    harness.clean().await;
    assert_eq!(values(&log, &HEADS.spec, 0).await, ["kept", "19"]);
    let second = read_all(&log, &HEADS.spec, 0).await[1].offset;
    let mut reader = log.read(&HEADS.spec, &[(0, StartAt::Offset(second - 1))]).await.unwrap();
    assert_eq!(text(&reader.next_within(WAIT_MAX).await.unwrap().unwrap().records[0]), "19", "a gap is stepped over");
}

pub async fn the_first_offset_of_a_time_is_found(harness: &mut impl TimedHarness) {
    let log = harness.log();
    for n in 0..40 {
        append(&log, &UPSTREAM.spec, 0, &[&n.to_string(), "beside"]).await;
        harness.clock().advance_ms(10);
    }
    let records = read_all(&log, &UPSTREAM.spec, 0).await;
    let end = log.bounds(&UPSTREAM.spec, 0).await.unwrap().end;
    let (first, last) = (records[0].time_ms, records[79].time_ms);
    for time in first - 1..=last + 1 {
        let expected = records.iter().find(|record| record.time_ms >= time).map_or(end, |record| record.offset);
        assert_eq!(log.offset_at(&UPSTREAM.spec, 0, time).await.unwrap(), expected, "{}", time - first);
    }
    assert_eq!(log.offset_at(&UPSTREAM.spec, 1, 0).await.unwrap(), log.bounds(&UPSTREAM.spec, 1).await.unwrap().end);
}
