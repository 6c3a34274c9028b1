//! Readers outside of groups.

use std::time::Duration;

use topics::catalogue::UPSTREAM;
use topics::log::{Incoming, LogError, StartAt};
use topics::scan::Scan;

use super::Harness;
use super::drive::{WAIT_MAX, append, read_all, text};

fn texts(records: &[Incoming]) -> Vec<String> {
    records.iter().map(text).collect()
}

pub async fn a_reader_at_the_end_sees_only_what_comes_later_and_wakes(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 0, &["before"]).await;
    let mut reader = log.read(&UPSTREAM.spec, &[(0, StartAt::Latest)]).await.unwrap();
    let waiting = tokio::spawn(async move { reader.next_within(WAIT_MAX).await });
    append(&log, &UPSTREAM.spec, 0, &["after"]).await;
    let batch = waiting.await.unwrap().unwrap().expect("the reader was not woken");
    assert_eq!((batch.partition, texts(&batch.records)), (0, vec!["after".to_owned()]));
    assert_eq!(batch.next_offset, batch.records[0].offset + 1);
}

pub async fn a_scan_stops_at_its_end_and_goes_on_to_a_later_one(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 0, &["a", "b"]).await;
    let first_end = log.bounds(&UPSTREAM.spec, 0).await.unwrap().end;
    append(&log, &UPSTREAM.spec, 0, &["c", "d"]).await;
    let last_end = log.bounds(&UPSTREAM.spec, 0).await.unwrap().end;
    let mut scan = Scan::open(&*log, &UPSTREAM.spec, 0, StartAt::Earliest, first_end).await.unwrap();
    for (end, expected) in [(first_end, ["a", "b"]), (last_end, ["c", "d"])] {
        scan.extend_to(end);
        let mut read = Vec::new();
        while let Some(batch) = scan.next().await.unwrap() {
            read.extend(texts(&batch.records));
        }
        assert_eq!(read, expected, "up to {end}");
        assert!(scan.position() >= end, "{}", scan.position());
    }
}

pub async fn a_reader_starts_at_an_offset_or_a_time(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 0, &["a", "b", "c"]).await;
    let second = read_all(&log, &UPSTREAM.spec, 0).await[1].offset;
    let mut reader = log.read(&UPSTREAM.spec, &[(0, StartAt::Offset(second))]).await.unwrap();
    assert_eq!(texts(&reader.next_within(WAIT_MAX).await.unwrap().unwrap().records), ["b", "c"]);
    let time = read_all(&log, &UPSTREAM.spec, 0).await[0].time_ms;
    let mut reader = log.read(&UPSTREAM.spec, &[(0, StartAt::Time(time))]).await.unwrap();
    assert_eq!(texts(&reader.next_within(WAIT_MAX).await.unwrap().unwrap().records), ["a", "b", "c"]);
    let mut reader = log.read(&UPSTREAM.spec, &[(0, StartAt::Time(i64::MAX))]).await.unwrap();
    append(&log, &UPSTREAM.spec, 0, &["d"]).await;
    assert_eq!(texts(&reader.next_within(WAIT_MAX).await.unwrap().unwrap().records), ["d"]);
}

pub async fn a_reader_of_several_partitions_sees_each_in_order(harness: &mut impl Harness) {
    let log = harness.log();
    for n in 0..10 {
        append(&log, &UPSTREAM.spec, 1, &[&format!("one-{n}")]).await;
        append(&log, &UPSTREAM.spec, 2, &[&format!("two-{n}")]).await;
    }
    let from = [(1, StartAt::Earliest), (2, StartAt::Earliest)];
    let mut reader = log.read(&UPSTREAM.spec, &from).await.unwrap();
    let (mut one, mut two) = (Vec::new(), Vec::new());
    while one.len() + two.len() < 20 {
        let batch = reader.next_within(WAIT_MAX).await.unwrap().expect("records are there");
        if batch.partition == 1 { &mut one } else { &mut two }.extend(texts(&batch.records));
    }
    let expected = |name: &str| (0..10).map(|n| format!("{name}-{n}")).collect::<Vec<_>>();
    assert_eq!((one, two), (expected("one"), expected("two")));
    assert_eq!(reader.position(1), Some(log.bounds(&UPSTREAM.spec, 1).await.unwrap().end));
    assert_eq!(reader.position(0), None);
}

pub async fn a_reader_that_waits_in_vain_comes_back_with_nothing(harness: &mut impl Harness) {
    let log = harness.log();
    let mut reader = log.read(&UPSTREAM.spec, &[(0, StartAt::Latest)]).await.unwrap();
    append(&log, &UPSTREAM.spec, 1, &["elsewhere"]).await;
    assert!(reader.next_within(Duration::from_millis(50)).await.unwrap().is_none());
}

pub async fn a_place_beyond_the_end_is_out_of_range(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 0, &["a"]).await;
    let answer = match log.read(&UPSTREAM.spec, &[(0, StartAt::Offset(1_000))]).await {
        Ok(mut reader) => reader.next_within(WAIT_MAX).await.map(|_| ()),
        Err(e) => Err(e),
    };
    assert!(matches!(answer, Err(LogError::OffsetOutOfRange { offset: 1_000, .. })), "{answer:?}");
    let partition = log.read(&UPSTREAM.spec, &[(99, StartAt::Earliest)]).await.map(|_| ());
    assert!(matches!(partition, Err(LogError::NoSuchPartition { .. })), "{partition:?}");
}

pub async fn an_abandoned_wait_loses_nothing(harness: &mut impl Harness) {
    let log = harness.log();
    let mut reader = log.read(&UPSTREAM.spec, &[(0, StartAt::Earliest)]).await.unwrap();
    let mut seen = Vec::new();
    for n in 0..50 {
        append(&log, &UPSTREAM.spec, 0, &[&n.to_string()]).await;
        // Dropped at whatever point it has reached.
        let abandoned = tokio::time::timeout(Duration::from_micros(n * 20), reader.next_within(WAIT_MAX)).await;
        if let Ok(batch) = abandoned {
            seen.extend(texts(&batch.unwrap().unwrap().records));
        }
    }
    while seen.len() < 50 {
        seen.extend(texts(&reader.next_within(WAIT_MAX).await.unwrap().expect("a record was lost").records));
    }
    assert_eq!(seen, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}
