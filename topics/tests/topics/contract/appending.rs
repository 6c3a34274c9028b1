//! Appending, and what is read back.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use topics::catalogue::{ACCEPTED, Cleanup, DELIVERIES, HEADS, Partitions, TopicSpec, UPSTREAM};
use topics::headers::{Headers, Hop, HopTimes, Origin, TraceParent};
use topics::log::LogError;
use topics::partition::partition_of;

use super::drive::{append, keyed, placed, read_all, text, values};
use super::{CHAIN_PARTITIONS, Harness};

fn full_headers() -> Headers {
    let mut hops = HopTimes::starting(1_800_000_000_000);
    hops.stamp(Hop::new(0, "first"), 1_800_000_000_005);
    Headers {
        trace: Some(TraceParent { trace_id: 1 << 90, parent_id: 5, flags: 1 }),
        origin: Some(Origin { slot: 2, epoch: 77, socket: 12 }),
        hops: Some(hops),
        other: vec![("error".into(), Bytes::from_static(&[0, 255]))],
    }
}

pub async fn records_read_back_with_key_value_headers_and_time(harness: &mut impl Harness) {
    let log = harness.log();
    for topic in [&UPSTREAM.spec, &DELIVERIES.spec] {
        let whole = topics::log::Outgoing { headers: full_headers(), ..placed(topic, 1, "first") };
        let empty = topics::log::Outgoing { key: Bytes::new(), value: Bytes::new(), ..placed(topic, 1, "") };
        let places = log.append(vec![whole, empty]).await.unwrap();
        let read = read_all(&log, topic, 1).await;
        assert_eq!(read.iter().map(|r| r.offset).collect::<Vec<_>>(), [places[0].offset, places[1].offset]);
        assert_eq!((&read[0].key[..], &read[0].value[..]), (&b"key"[..], &b"first"[..]));
        assert_eq!(read[0].headers, full_headers());
        assert_eq!((read[1].key.len(), read[1].value.len(), &read[1].headers), (0, 0, &Headers::default()));
        assert!(read[0].time_ms > 0 && read[1].time_ms >= read[0].time_ms);
    }
}

pub async fn a_key_decides_the_partition_and_a_given_partition_overrides_it(harness: &mut impl Harness) {
    let log = harness.log();
    let keys: Vec<String> = (0..50).map(|n| format!("group_{n}")).collect();
    let places = log.append(keys.iter().map(|key| keyed(&UPSTREAM.spec, key, key)).collect()).await.unwrap();
    for (key, place) in keys.iter().zip(&places) {
        assert_eq!(place.partition, partition_of(key.as_bytes(), CHAIN_PARTITIONS), "{key}");
    }
    assert_eq!(places.iter().map(|place| place.partition).collect::<BTreeSet<_>>().len(), CHAIN_PARTITIONS as usize);
    let overridden = topics::log::Outgoing { partition: Some(3), ..keyed(&UPSTREAM.spec, "group_0", "x") };
    assert_eq!(log.append(vec![overridden]).await.unwrap()[0].partition, 3);
}

pub async fn records_of_a_partition_keep_their_order(harness: &mut impl Harness) {
    let log = harness.log();
    let mut expected = Vec::new();
    for call in 0..20 {
        let written: Vec<String> = (0..30).map(|n| format!("{call}-{n}")).collect();
        append(&log, &UPSTREAM.spec, 2, &written.iter().map(String::as_str).collect::<Vec<_>>()).await;
        expected.extend(written);
    }
    let read = read_all(&log, &UPSTREAM.spec, 2).await;
    assert_eq!(read.iter().map(text).collect::<Vec<_>>(), expected);
    assert!(read.windows(2).all(|pair| pair[0].offset < pair[1].offset && pair[0].time_ms <= pair[1].time_ms));
}

pub async fn appends_of_many_callers_all_get_a_place_of_their_own(harness: &mut impl Harness) {
    let log = harness.log();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..40 {
        let log = Arc::clone(&log);
        callers.spawn(async move {
            let mut places = Vec::new();
            for n in 0..5 {
                let records =
                    (0..3).map(|r| keyed(&ACCEPTED.spec, &format!("{caller}/{r}"), &format!("{caller}-{n}-{r}")));
                places.extend(log.append(records.collect()).await.unwrap());
            }
            places
        });
    }
    let places: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), 600, "two records got the same place");
    let mut read = 0;
    for partition in 0..CHAIN_PARTITIONS {
        read += read_all(&log, &ACCEPTED.spec, partition).await.len();
    }
    assert_eq!(read, 600);
}

static UNKNOWN: TopicSpec = TopicSpec {
    name: "no-such-topic",
    partitions: Partitions::Fixed(1),
    cleanup: Cleanup::Compact,
    record: "bytes",
    key: "bytes",
};

pub async fn what_a_log_does_not_have_is_refused(harness: &mut impl Harness) {
    let log = harness.log();
    let topic = log.append(vec![placed(&UNKNOWN, 0, "x")]).await;
    assert!(matches!(topic, Err(LogError::NoSuchTopic { .. })), "{topic:?}");
    let partition = log.append(vec![placed(&UPSTREAM.spec, CHAIN_PARTITIONS, "x")]).await;
    assert!(matches!(partition, Err(LogError::NoSuchPartition { partition: CHAIN_PARTITIONS, .. })), "{partition:?}");
    let large = log.append(vec![placed(&UPSTREAM.spec, 0, &"x".repeat(64 << 20))]).await;
    assert!(matches!(large, Err(LogError::TooLarge { .. })), "{large:?}");
    assert!(values(&log, &UPSTREAM.spec, 0).await.is_empty());
    assert!(log.append(Vec::new()).await.unwrap().is_empty());
}

pub async fn a_reopened_log_goes_on_where_it_was(harness: &mut impl Harness) {
    let topics = [&UPSTREAM.spec, &HEADS.spec, &DELIVERIES.spec];
    let mut last = 0;
    for topic in topics {
        last = append(&harness.log(), topic, 1, &["a", "b"]).await;
    }
    let before = read_all(&harness.log(), &UPSTREAM.spec, 1).await;
    harness.reopen().await;
    let log = harness.log();
    assert_eq!(read_all(&log, &UPSTREAM.spec, 1).await, before);
    for topic in topics {
        assert!(append(&log, topic, 1, &["c"]).await > last);
        assert_eq!(values(&log, topic, 1).await, ["a", "b", "c"]);
    }
}
