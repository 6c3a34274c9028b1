//! Edits and recalls, and what becomes of the text.

use std::sync::Arc;

use schemas::ids::Seq;
use schemas::kind::Kind;
use stages::repo::model::{HistoryRange, Message};
use stages::repo::store::Store;

use crate::fixtures::{ANN, BEN, NOW, about, pair, text, write};

type Dyn = Arc<dyn Store>;

async fn at(store: &Dyn, seq: i64) -> Message {
    store.message_at(pair(), Seq(seq)).await.unwrap().unwrap()
}

async fn contents(store: &Dyn) -> Vec<String> {
    let page = store.history(pair(), HistoryRange::Newest, Seq(1), 100).await.unwrap();
    page.messages.into_iter().map(|message| message.content).collect()
}

pub async fn edits_move_forward_only(store: Dyn) {
    let edit = |seq, content| about(Kind::Edit, 1, 2, text(pair(), seq, ANN, content));
    write(&store, &[text(pair(), 1, ANN, "one"), text(pair(), 2, BEN, "two"), edit(3, "edit 3"), edit(4, "edit 4")])
        .await;
    assert_eq!((at(&store, 1).await.content, at(&store, 1).await.edited_at), ("edit 4".into(), Some(NOW + 4)));
    write(&store, &[edit(3, "edit 3")]).await;
    assert_eq!(at(&store, 1).await.content, "edit 4");
    write(&store, &[edit(5, "edit 5")]).await;
    assert_eq!(at(&store, 1).await.content, "edit 5");
    // The event itself says what it said.
    assert_eq!((at(&store, 3).await.content, at(&store, 3).await.target_seq), ("edit 3".into(), Some(Seq(1))));
}

pub async fn only_the_sender_changes_an_earlier_message(store: Dyn) {
    write(&store, &[text(pair(), 1, ANN, "one")]).await;
    let foreign = [
        about(Kind::Edit, 1, 1, text(pair(), 2, BEN, "mine now")),
        about(Kind::Recall, 1, 1, text(pair(), 3, BEN, "")),
    ];
    let ahead =
        [about(Kind::Edit, 6, 1, text(pair(), 4, ANN, "early")), about(Kind::Recall, 6, 1, text(pair(), 5, ANN, ""))];
    write(&store, &foreign).await;
    write(&store, &ahead).await;
    write(&store, &[text(pair(), 6, ANN, "six")]).await;
    write(&store, &ahead).await;
    assert_eq!((at(&store, 1).await.content.as_str(), at(&store, 6).await.content.as_str()), ("one", "six"));
    assert!(!at(&store, 1).await.recalled && !at(&store, 6).await.recalled);
}

pub async fn a_recall_blanks_the_message_and_its_edits_for_good(store: Dyn) {
    let edit = |seq| about(Kind::Edit, 1, 1, text(pair(), seq, ANN, "secret too"));
    let batch = [text(pair(), 1, ANN, "secret"), edit(2), about(Kind::Recall, 1, 1, text(pair(), 3, ANN, "")), edit(4)];
    write(&store, &batch).await;
    write(&store, &batch).await;
    let page = store.history(pair(), HistoryRange::Newest, Seq(1), 10).await.unwrap();
    assert!(page.messages.iter().all(|m| m.content.is_empty()), "{page:?}");
    assert_eq!(page.messages.iter().map(|m| m.recalled).collect::<Vec<_>>(), [true, false, false, false]);
    let views = store.conversations(BEN, None, 100).await.unwrap();
    let last = views.into_iter().find(|view| view.id == pair()).unwrap().last_message.unwrap();
    assert!(last.recalled && last.content.is_empty() && last.seq_id == Seq(1), "{last:?}");
}

pub async fn an_edit_keeps_its_text_until_its_own_target_is_recalled(store: Dyn) {
    let edit = |target, seq, sender| about(Kind::Edit, target, 2, text(pair(), seq, sender, "edited"));
    let recall = |target, seq, sender| about(Kind::Recall, target, 2, text(pair(), seq, sender, ""));
    let said = [text(pair(), 1, ANN, "one"), text(pair(), 2, ANN, "two"), edit(1, 3, ANN), edit(2, 4, ANN)];
    write(&store, &said).await;
    write(&store, &[edit(1, 5, BEN), recall(1, 6, BEN)]).await;
    assert_eq!(
        contents(&store).await,
        ["edited", "edited", "edited", "edited", "edited", ""],
        "Ben recalls nothing of Ann's"
    );
    write(&store, &[recall(1, 7, ANN)]).await;
    assert_eq!(contents(&store).await, ["", "edited", "", "edited", "edited", "", ""]);
    write(&store, &[edit(1, 8, ANN)]).await;
    write(&store, &said).await;
    assert_eq!(contents(&store).await, ["", "edited", "", "edited", "edited", "", "", ""]);
}
