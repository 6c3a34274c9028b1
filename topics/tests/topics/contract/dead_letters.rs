//! Dead letters: what they say, and that each is put back once, whoever dies in the middle.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use schemas::avro::Record;
use schemas::records::Upstream;
use topics::catalogue::{ACCEPTED, DEAD_LETTERS, TopicSpec, UPSTREAM};
use topics::dead_letter::{self, Reason, dead_letter};
use topics::log::{Incoming, Log, Place};
use topics::tools::dead_letters::{DeadLetters, Selection};
use topics::tools::redrive::redrive;

use super::Harness;
use super::drive::{append, placed, read_all, text, values};

/// More than two commits of a redrive.
const LETTERS: usize = 1_200;

/// Sets aside what lies in a partition, as a reader does that can't read it.
async fn set_aside(log: &Arc<dyn Log>, topic: &'static TopicSpec, partition: u32, records: &[Incoming]) {
    let letter = |record: &Incoming| {
        let error = Upstream::decode(&record.value).expect_err("it is no record");
        dead_letter(topic, partition, record, Reason { reader: "dedupe", error: &error })
    };
    dead_letter::append(&**log, records.iter().map(letter).collect()).await;
}

pub async fn a_dead_letter_tells_what_came_why_and_from_where(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 1, &["garbage", "\u{1}"]).await;
    let unknown = Bytes::from_static(b"\xc3\x01unknown!rest");
    let mut strange = placed(&ACCEPTED.spec, 2, "");
    strange.value = unknown.clone();
    strange.headers.other.push(("mine".into(), Bytes::from_static(b"kept")));
    log.append(vec![strange]).await.unwrap();
    set_aside(&log, &UPSTREAM.spec, 1, &read_all(&log, &UPSTREAM.spec, 1).await).await;
    set_aside(&log, &ACCEPTED.spec, 2, &read_all(&log, &ACCEPTED.spec, 2).await).await;

    let found = DeadLetters::read(&*log, &Selection::default()).await.unwrap();
    let groups: Vec<_> = found.groups().iter().map(|g| (g.topic.name, g.class.to_owned(), g.letters)).collect();
    let expected =
        [(ACCEPTED.spec.name, "unknown-schema".to_owned(), 1), (UPSTREAM.spec.name, "not-an-object".to_owned(), 2)];
    assert_eq!(groups, expected);

    let selection = Selection { class: Some("unknown-schema".into()), ..Selection::default() };
    let found = DeadLetters::read(&*log, &selection).await.unwrap();
    let [letter] = &found.letters[..] else { panic!("{:?}", found.letters) };
    assert_eq!((letter.topic, &letter.value, letter.reader.as_str()), (&ACCEPTED.spec, &unknown, "dedupe"));
    assert_eq!((letter.source.partition, letter.tries), (2, 1));
    assert!(letter.error.contains("fingerprint"), "{}", letter.error);
    assert_eq!(letter.headers.other, [("mine".into(), Bytes::from_static(b"kept"))], "only what came with it");
}

pub async fn a_letter_that_was_put_back_is_put_back_once_and_counts_its_tries(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 3, &["a", "b"]).await;
    let came = read_all(&log, &UPSTREAM.spec, 3).await;
    set_aside(&log, &UPSTREAM.spec, 3, &came).await;
    let first = DeadLetters::read(&*log, &Selection::default()).await.unwrap().letters[0].place.offset;
    let only_the_first = Selection { offsets: vec![first], ..Selection::default() };
    for expected in [1, 0] {
        assert_eq!(redrive(&*log, &only_the_first, |_| {}).await.unwrap(), expected);
    }
    assert_eq!(values(&log, &UPSTREAM.spec, 3).await, ["a", "b", "a"], "to its partition, as it came");
    let left = DeadLetters::read(&*log, &Selection::default()).await.unwrap();
    assert_eq!((left.letters.len(), left.redriven), (1, 1));

    // It is still none, and becomes a letter again.
    set_aside(&log, &UPSTREAM.spec, 3, &read_all(&log, &UPSTREAM.spec, 3).await[2..]).await;
    let again = DeadLetters::read(&*log, &Selection::default()).await.unwrap();
    let tries: Vec<_> = again.letters.iter().map(|letter| (letter.value.clone(), letter.tries)).collect();
    assert_eq!(tries, [(Bytes::from_static(b"b"), 1), (Bytes::from_static(b"a"), 2)]);
}

pub async fn a_redrive_that_dies_in_the_middle_goes_on_where_it_was(harness: &mut impl Harness) {
    let log = harness.log();
    let numbers: Vec<String> = (0..LETTERS).map(|n| n.to_string()).collect();
    append(&log, &UPSTREAM.spec, 0, &numbers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let came = read_all(&log, &UPSTREAM.spec, 0).await;
    set_aside(&log, &UPSTREAM.spec, 0, &came).await;

    // The first dies after its first commit, whatever it has begun then.
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let of_first = Arc::clone(&log);
    let first = tokio::spawn(async move {
        redrive(&*of_first, &Selection::default(), |done| {
            // Nobody may listen any more.
            let _ = tell.send(done);
        })
        .await
    });
    let done = told.recv().await.expect("it commits");
    first.abort();
    assert!(done < LETTERS, "one commit takes only a part");
    // Ended, in good order or not.
    let _ = first.await;
    drop(log);
    harness.reopen().await;

    let log = harness.log();
    redrive(&*log, &Selection::default(), |_| {}).await.unwrap();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for record in read_all(&log, &UPSTREAM.spec, 0).await {
        *times.entry(text(&record)).or_default() += 1;
    }
    let wrong: Vec<_> = times.iter().filter(|(_, times)| **times != 2).collect();
    assert!(wrong.is_empty() && times.len() == LETTERS, "each is there as it came and once more: {wrong:?}");
    let left = DeadLetters::read(&*log, &Selection::default()).await.unwrap();
    assert_eq!((left.letters.len(), left.redriven), (0, LETTERS));
    let marked = Place { partition: 0, offset: log.bounds(&DEAD_LETTERS.spec, 0).await.unwrap().end };
    assert!(marked.offset >= 2 * LETTERS as u64, "each letter has its mark");
}
