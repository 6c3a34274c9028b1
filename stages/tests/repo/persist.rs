//! The persist stage.

use schemas::ids::{ConversationId, MessageId, Seq};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::persist::Persist;
use stages::repo::model::HistoryRange;
use stages::stage::{Context, Input, Outputs, Source, Stage, StageError};
use stages::stream::{self, Batch};
use topics::headers::Headers;

use crate::fixtures::{ANN, BEN, NOW, pair, read_mark, sqlite_store, text};

fn inputs(records: &[Sequenced]) -> Vec<Input<Sequenced>> {
    let source = |offset| Source { partition: 0, offset, time_ms: NOW };
    (0..)
        .zip(records)
        .map(|(n, value)| Input { source: source(n), headers: Headers::default(), value: value.clone() })
        .collect()
}

async fn work(stage: &mut Persist, records: &[Sequenced]) -> Result<Vec<Sequenced>, StageError> {
    let context = Context { now_ms: NOW, ids_not_after_ms: None };
    let out = stream::work(stage, Batch { records: inputs(records), context }).await?.outputs;
    stage.committed();
    Ok(out.records.into_iter().map(|output| output.value).collect())
}

#[tokio::test]
async fn a_batch_is_stored_and_passed_on_whole_repeats_included() {
    let test = sqlite_store().await;
    let mut stage = Persist::new(test.store.clone());
    let typing = Sequenced { kind: Kind::Typing, ..read_mark(pair(), ANN, 1) };
    let batch = [text(pair(), 1, ANN, "a"), text(pair(), 1, ANN, "a"), typing, text(pair(), 2, ANN, "b")];
    assert_eq!(work(&mut stage, &batch).await.unwrap(), batch);
    assert_eq!(work(&mut stage, &batch).await.unwrap(), batch);
    let page = test.store.history(pair(), HistoryRange::Newest, Seq(1), 10).await.unwrap();
    assert_eq!(page.messages.len(), 2);
}

#[tokio::test]
async fn a_restarted_sequence_stops_the_stage() {
    let test = sqlite_store().await;
    let mut stage = Persist::new(test.store.clone());
    work(&mut stage, &[text(pair(), 1, ANN, "a")]).await.unwrap();
    let other = Sequenced { message_id: MessageId(5), ..text(pair(), 1, ANN, "b") };
    assert!(matches!(work(&mut stage, &[other]).await, Err(StageError::Fatal { .. })));
}

#[tokio::test]
async fn of_read_marks_those_that_rise_are_passed_on_as_the_store_has_them() {
    let test = sqlite_store().await;
    let mut stage = Persist::new(test.store.clone());
    let said: Vec<_> = (1..=5).map(|seq| text(pair(), seq, ANN, "a")).collect();
    work(&mut stage, &said).await.unwrap();
    let mark = |seq| read_mark(pair(), BEN, seq);
    assert_eq!(work(&mut stage, &[mark(4), mark(2), mark(4), mark(3)]).await.unwrap(), [mark(4)]);
    assert_eq!(work(&mut stage, &[mark(4)]).await.unwrap(), [], "a repeat");
    assert_eq!(work(&mut stage, &[mark(2)]).await.unwrap(), [], "back");
    assert_eq!(work(&mut stage, &[mark(i64::MAX)]).await.unwrap(), [mark(5)], "beyond the end");
    let nowhere = read_mark(ConversationId::World, BEN, 1);
    assert_eq!(work(&mut stage, &[nowhere]).await.unwrap(), [], "nothing was said there");
    let both = [read_mark(pair(), ANN, 1), text(pair(), 6, ANN, "a"), read_mark(pair(), ANN, 3), mark(6)];
    assert_eq!(work(&mut stage, &both).await.unwrap(), both[1..], "the furthest of each user");
}

#[tokio::test]
async fn a_mark_that_rose_in_an_attempt_that_was_given_up_is_passed_on_by_the_next() {
    let test = sqlite_store().await;
    let mut stage = Persist::new(test.store.clone());
    work(&mut stage, &[text(pair(), 1, ANN, "a"), text(pair(), 2, ANN, "b")]).await.unwrap();
    let batch = inputs(&[read_mark(pair(), BEN, 1), read_mark(pair(), BEN, 2)]);
    stage.prepare(&batch).await.unwrap();
    let context = Context { now_ms: NOW, ids_not_after_ms: None };
    stage.process(batch, &mut Outputs::default(), &context).unwrap();
    stage.aborted();
    // The next attempt may have less in its hands.
    assert_eq!(work(&mut stage, &[read_mark(pair(), BEN, 1)]).await.unwrap(), []);
    assert_eq!(work(&mut stage, &[read_mark(pair(), BEN, 2)]).await.unwrap(), [read_mark(pair(), BEN, 2)]);
    assert_eq!(work(&mut stage, &[read_mark(pair(), BEN, 2)]).await.unwrap(), []);
}
