//! The persist stage.

use std::sync::Arc;

use schemas::ids::{MessageId, Seq};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::persist::Persist;
use stages::repo::model::HistoryRange;
use stages::stage::{Context, Input, Outputs, Source, Stage, StageError};
use topics::headers::Headers;

use crate::fixtures::{ANN, NOW, pair, read_mark, sqlite_store, text};

fn inputs(records: &[Sequenced]) -> Vec<Input<Sequenced>> {
    let source = |offset| Source { partition: 0, offset, time_ms: NOW };
    (0..)
        .zip(records)
        .map(|(n, value)| Input { source: source(n), headers: Headers::default(), value: value.clone() })
        .collect()
}

async fn work(stage: &mut Persist, records: &[Sequenced]) -> Result<Vec<Sequenced>, StageError> {
    let batch = inputs(records);
    stage.prepare(&batch).await?;
    let mut out = Outputs::default();
    stage.process(batch, &mut out, &Context { now_ms: NOW, ids_not_after_ms: None })?;
    stage.committed();
    Ok(out.records.into_iter().map(|output| output.value).collect())
}

#[tokio::test]
async fn a_batch_is_stored_and_passed_on_whole_repeats_included() {
    let test = sqlite_store().await;
    let mut stage = Persist::new(Arc::clone(&test.store));
    let typing = Sequenced { kind: Kind::Typing, ..read_mark(pair(), ANN, 1) };
    let batch = [
        text(pair(), 1, ANN, "a"),
        text(pair(), 1, ANN, "a"),
        read_mark(pair(), ANN, 1),
        typing,
        text(pair(), 2, ANN, "b"),
    ];
    assert_eq!(work(&mut stage, &batch).await.unwrap(), batch);
    assert_eq!(work(&mut stage, &batch).await.unwrap(), batch);
    let page = test.store.history(pair(), HistoryRange::Newest, Seq(1), 10).await.unwrap();
    assert_eq!(page.messages.len(), 2);
}

#[tokio::test]
async fn a_restarted_sequence_stops_the_stage() {
    let test = sqlite_store().await;
    let mut stage = Persist::new(Arc::clone(&test.store));
    work(&mut stage, &[text(pair(), 1, ANN, "a")]).await.unwrap();
    let other = Sequenced { message_id: MessageId(5), ..text(pair(), 1, ANN, "b") };
    assert!(matches!(work(&mut stage, &[other]).await, Err(StageError::Fatal { .. })));
}
