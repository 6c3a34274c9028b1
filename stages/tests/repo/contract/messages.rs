//! Messages, conversations and read marks.

use std::sync::Arc;

use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::repo::model::{ConversationView, ConversationsAfter, HistoryRange, Message};
use stages::repo::store::{Class, Store, StoreError};

use crate::fixtures::{ANN, BEN, CLEO, DAN, NOW, about, group, pair, read_mark, text, with_group, write};

type Dyn = Arc<dyn Store>;

async fn history(store: &Dyn, range: HistoryRange, limit: usize) -> (Vec<i64>, bool) {
    let page = store.history(pair(), range, Seq(1), limit).await.unwrap();
    (page.messages.iter().map(|m| m.seq_id.0).collect(), page.has_more)
}

async fn at(store: &Dyn, seq: i64) -> Message {
    store.message_at(pair(), Seq(seq)).await.unwrap().unwrap()
}

async fn view(store: &Dyn, user: UserId, conversation: ConversationId) -> Option<ConversationView> {
    let views = store.conversations(user, None, 100).await.unwrap();
    views.into_iter().find(|view| view.id == conversation)
}

async fn unread(store: &Dyn, user: UserId) -> i64 {
    view(store, user, pair()).await.unwrap().unread
}

async fn refused(store: &Dyn, batch: &[Sequenced]) -> StoreError {
    let batch: Vec<_> = batch.iter().collect();
    let error = store.write_batch(&batch).await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal, "{error}");
    error
}

pub async fn a_batch_written_twice_is_written_once(store: Dyn) {
    let batch: Vec<_> = (1..=20).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    write(&store, &batch).await;
    let before = (history(&store, HistoryRange::Newest, 100).await, view(&store, BEN, pair()).await);
    write(&store, &batch).await;
    write(&store, &batch[5..9]).await;
    let more: Vec<_> = (15..=22).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    assert_eq!((history(&store, HistoryRange::Newest, 100).await, view(&store, BEN, pair()).await), before);
    write(&store, &more).await;
    assert_eq!(history(&store, HistoryRange::Newest, 100).await, ((1..=22).collect(), false));
}

pub async fn a_place_taken_by_another_message_is_fatal(store: Dyn) {
    write(&store, &[text(pair(), 1, ANN, "first")]).await;
    let other = Sequenced { message_id: MessageId(99), ..text(pair(), 1, BEN, "second") };
    let error = refused(&store, &[other]).await;
    assert!(matches!(error, StoreError::IdentityTaken { given: MessageId(99), seq: Seq(1), .. }), "{error}");
    assert!(error.to_string().contains(&pair().to_string()) && error.to_string().contains("99"), "{error}");
    assert_eq!(at(&store, 1).await.content, "first");
}

pub async fn an_id_taken_by_another_place_is_fatal(store: Dyn) {
    write(&store, &[text(pair(), 1, ANN, "first")]).await;
    let first = text(pair(), 1, ANN, "first");
    let error = refused(&store, &[Sequenced { message_id: first.message_id, ..text(pair(), 2, ANN, "second") }]).await;
    assert!(matches!(error, StoreError::IdentityTaken { seq: Seq(2), .. }), "{error}");
}

pub async fn a_batch_is_written_whole_or_not_at_all(store: Dyn) {
    write(&store, &[text(pair(), 1, ANN, "first")]).await;
    let before = view(&store, BEN, pair()).await;
    let mut batch: Vec<_> = (2..=600).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    batch.push(Sequenced { message_id: MessageId(99), ..text(pair(), 1, BEN, "second") });
    batch.push(read_mark(pair(), BEN, 5));
    refused(&store, &batch).await;
    assert_eq!(history(&store, HistoryRange::Newest, 100).await, (vec![1], false));
    assert_eq!(view(&store, BEN, pair()).await, before);
}

pub async fn a_record_without_identity_is_fatal(store: Dyn) {
    let error = refused(&store, &[text(pair(), 0, ANN, "nowhere")]).await;
    assert!(matches!(error, StoreError::NoIdentity { .. }), "{error}");
}

pub async fn every_text_comes_back_as_it_was(store: Dyn) {
    let texts = [
        "'; DROP TABLE messages; --",
        "{\"json\": [1, 2, \"\\u0000\"]}",
        "%_\\ \" ` ? ?1 :name $1 @x",
        "👩‍👩‍👧‍👦 🏳️‍🌈 é e\u{301} ﷽ \u{202e}rtl \u{feff}bom",
        "line\r\nline\ttab\u{1}\u{7f}",
        "\u{10ffff}\u{d7ff}\u{e000}",
        "",
        " spaces ",
    ];
    let long = "ß".repeat(4_096);
    let key = "é".repeat(64);
    let texts: Vec<_> = texts.into_iter().chain([long.as_str()]).collect();
    let batch: Vec<_> = (1..)
        .zip(&texts)
        .map(|(seq, content)| Sequenced { client_msg_id: key.as_str().into(), ..text(pair(), seq, ANN, content) })
        .collect();
    write(&store, &batch).await;
    let page = store.history(pair(), HistoryRange::Newest, Seq(1), 100).await.unwrap();
    assert_eq!(page.messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>(), texts);
    assert!(page.messages.iter().all(|m| m.client_msg_id == key));
}

pub async fn ids_reach_to_the_edge_of_64_bits(store: Dyn) {
    let conversation = ConversationId::single(UserId(i64::MAX - 1), DAN);
    let edge = Sequenced {
        message_id: MessageId(i64::MAX),
        seq_id: Seq(i64::MAX),
        ordinal: i64::MAX,
        created_at: i64::MAX,
        ..text(conversation, 1, DAN, "edge")
    };
    let unknown = Sequenced {
        kind: Kind::Unknown("poll".into()),
        message_id: MessageId(i64::MAX - 1),
        seq_id: Seq(i64::MAX - 1),
        target_seq: Some(Seq(i64::MAX)),
        remove: true,
        ..edge.clone()
    };
    write(&store, &[unknown, edge]).await;
    let found = store.messages(&[MessageId(i64::MAX), MessageId(5), MessageId(i64::MAX - 1)]).await.unwrap();
    assert_eq!(found.iter().map(|m| m.seq_id.0).collect::<Vec<_>>(), [i64::MAX, i64::MAX - 1]);
    assert_eq!((found[0].created_at, found[1].kind.name(), found[1].remove), (i64::MAX, "poll", true));
    assert_eq!(found[1].target_seq, Some(Seq(i64::MAX)));
}

pub async fn both_users_have_a_conversation_once_one_has_spoken(store: Dyn) {
    assert!(view(&store, BEN, pair()).await.is_none());
    write(&store, &[text(pair(), 1, ANN, "hello")]).await;
    let (anns, bens) = (view(&store, ANN, pair()).await.unwrap(), view(&store, BEN, pair()).await.unwrap());
    assert_eq!((anns.title.as_str(), anns.unread, bens.title.as_str(), bens.unread), ("BEN", 0, "ANN", 1));
    assert_eq!(bens.last_message.unwrap().content, "hello");
    assert!(view(&store, CLEO, pair()).await.is_none());
    let world = view(&store, CLEO, ConversationId::World).await.unwrap();
    assert_eq!((world.title.as_str(), world.last_seq, world.last_message), ("World", Seq(0), None));
}

pub async fn unread_counts_from_the_later_of_mark_and_own_message(store: Dyn) {
    let batch: Vec<_> = (1..=10).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    write(&store, &batch).await;
    assert_eq!((unread(&store, ANN).await, unread(&store, BEN).await), (0, 10));
    write(&store, &[read_mark(pair(), BEN, 4)]).await;
    assert_eq!(unread(&store, BEN).await, 6);
    write(&store, &[about(Kind::Reaction, 1, 10, text(pair(), 11, BEN, "👍"))]).await;
    assert_eq!(unread(&store, BEN).await, 6, "a reaction is not counted, and does not mean that all was read");
    let reply = Sequenced { ordinal: 11, ..text(pair(), 12, BEN, "hello") };
    write(&store, &[reply]).await;
    assert_eq!((unread(&store, ANN).await, unread(&store, BEN).await), (1, 0));
    let next = Sequenced { ordinal: 12, ..text(pair(), 13, ANN, "and?") };
    write(&store, &[next, read_mark(pair(), ANN, 13)]).await;
    assert_eq!((unread(&store, ANN).await, unread(&store, BEN).await), (0, 1));
}

pub async fn read_marks_never_move_back_nor_beyond_the_end(store: Dyn) {
    let batch: Vec<_> = (1..=10).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    write(&store, &[read_mark(pair(), BEN, 3)]).await;
    write(&store, &batch).await;
    let read = async |store: &Dyn| view(store, BEN, pair()).await.unwrap().read_seq.0;
    assert_eq!(read(&store).await, 0, "a mark in a conversation without a message marks nothing");
    write(&store, &[read_mark(pair(), BEN, 7), read_mark(pair(), BEN, 5)]).await;
    assert_eq!(read(&store).await, 7);
    write(&store, &[read_mark(pair(), BEN, 2)]).await;
    assert_eq!(read(&store).await, 7);
    write(&store, &[read_mark(pair(), BEN, i64::MAX)]).await;
    assert_eq!(read(&store).await, 10);
    write(&store, &[text(pair(), 11, ANN, "one more")]).await;
    assert_eq!((read(&store).await, unread(&store, BEN).await), (10, 1));
}

pub async fn an_older_batch_does_not_move_a_conversation_back(store: Dyn) {
    let batch: Vec<_> = (1..=10).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    write(&store, &batch).await;
    let before = view(&store, BEN, pair()).await.unwrap();
    write(&store, &batch[..3]).await;
    assert_eq!(view(&store, BEN, pair()).await.unwrap(), before);
    assert_eq!((before.last_seq, before.updated_at), (Seq(10), NOW + 10));
}

pub async fn history_pages_in_both_directions(store: Dyn) {
    let batch: Vec<_> = (1..=10).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    assert_eq!(history(&store, HistoryRange::Newest, 5).await, (vec![], false));
    write(&store, &batch).await;
    let check = async |range, limit, seqs: std::ops::RangeInclusive<i64>, more| {
        assert_eq!(history(&store, range, limit).await, (seqs.collect(), more), "{range:?} {limit}");
    };
    check(HistoryRange::Newest, 4, 7..=10, true).await;
    check(HistoryRange::Newest, 10, 1..=10, false).await;
    check(HistoryRange::Before(Seq(7)), 4, 3..=6, true).await;
    check(HistoryRange::Before(Seq(3)), 2, 1..=2, false).await;
    check(HistoryRange::After(Seq(0)), 4, 1..=4, true).await;
    check(HistoryRange::After(Seq(6)), 4, 7..=10, false).await;
    check(HistoryRange::After(Seq(6)), 3, 7..=9, true).await;
    let from_8 = store.history(pair(), HistoryRange::After(Seq(0)), Seq(8), 100).await.unwrap();
    assert_eq!(from_8.messages.iter().map(|m| m.seq_id.0).collect::<Vec<_>>(), [8, 9, 10]);
    assert_eq!(from_8.last_seq, Seq(10));
    for (range, first) in [(HistoryRange::After(Seq(10)), Seq(1)), (HistoryRange::Newest, Seq(11))] {
        let empty = store.history(pair(), range, first, 100).await.unwrap();
        assert!(empty.messages.is_empty() && empty.last_seq == Seq(10), "an empty page tells where the end is, too");
    }
}

pub async fn conversations_come_newest_first_page_by_page(store: Dyn) {
    // Several at the same instant: the id decides.
    let peers: Vec<_> = (100..125).map(|id| ConversationId::single(ANN, UserId(id))).collect();
    let batch: Vec<_> = (1..)
        .zip(&peers)
        .map(|(n, &peer)| Sequenced { message_id: MessageId(n), created_at: NOW + n / 4, ..text(peer, 1, ANN, "hi") })
        .collect();
    write(&store, &batch).await;
    let all = store.conversations(ANN, None, 100).await.unwrap();
    assert_eq!(all.len(), 26);
    assert!(all.windows(2).all(|pair| pair[0].updated_at >= pair[1].updated_at));
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = store.conversations(ANN, after, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(ConversationsAfter { updated_at: last.updated_at, id: last.id });
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

pub async fn heads_are_those_that_changed(store: Dyn) {
    with_group(&store, &[BEN], 10).await;
    write(&store, &[text(pair(), 1, ANN, "a"), text(group(), 5, ANN, "b"), text(ConversationId::World, 9, CLEO, "c")])
        .await;
    let heads = store.heads(BEN, 0, 100).await.unwrap();
    assert_eq!(heads, [(ConversationId::World, Seq(9)), (group(), Seq(5)), (pair(), Seq(1))]);
    assert_eq!(store.heads(BEN, NOW + 5, 100).await.unwrap(), heads[..2]);
    assert_eq!(store.heads(BEN, 0, 1).await.unwrap(), heads[..1]);
    assert_eq!(store.heads(DAN, 0, 100).await.unwrap(), heads[..1]);
}

pub async fn a_thousand_messages_of_many_conversations_are_all_there(store: Dyn) {
    let batch: Vec<_> = (0..1_777)
        .map(|n| Sequenced {
            message_id: MessageId(1 + n),
            ..text(ConversationId::Group(GroupId(1 + n % 100)), 1 + n / 100, UserId(1 + n % 7), "hi")
        })
        .collect();
    write(&store, &batch).await;
    let ids: Vec<_> = batch.iter().map(|m| m.message_id).collect();
    let found = store.messages(&ids).await.unwrap();
    let place = |m: &Message| (m.message_id, m.conversation_id, m.seq_id, m.sender_id);
    let given = batch.iter().map(|m| (m.message_id, m.conversation_id, m.seq_id, m.sender_id));
    assert!(found.iter().map(place).eq(given));
    let last = store.history(ConversationId::Group(GroupId(1)), HistoryRange::Newest, Seq(1), 1).await.unwrap();
    assert_eq!(last.last_seq, Seq(18));
}

pub async fn a_scan_reads_every_message_by_id(store: Dyn) {
    let mut batch: Vec<_> = (1..=7).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    batch.extend((1..=5).map(|seq| text(group(), seq, BEN, "all")));
    write(&store, &batch).await;
    let (mut ids, mut after) = (vec![], MessageId(0));
    loop {
        let page = store.scan(after, 5).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 5);
        after = last.message_id;
        ids.extend(page.iter().map(|message| message.message_id));
    }
    let mut written: Vec<_> = batch.iter().map(|message| message.message_id).collect();
    written.sort_unstable();
    assert_eq!(ids, written);
}
