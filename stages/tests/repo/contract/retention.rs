//! Removal of messages that are too old, or too many.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::repo::model::{ConversationView, Extent, GroupChange, HistoryRange};
use stages::repo::store::{Class, Store};

use crate::fixtures::{ANN, BEN, CLEO, GROUP, NOW, about, act, group, pair, read_mark, text, with_group, write};

type Dyn = Arc<dyn Store>;

fn places(conversation: ConversationId, seqs: RangeInclusive<i64>) -> Vec<(ConversationId, Seq)> {
    seqs.map(|seq| (conversation, Seq(seq))).collect()
}

async fn retire(store: &Dyn, seqs: RangeInclusive<i64>) -> u64 {
    store.retire(&places(pair(), seqs)).await.unwrap()
}

fn said(seqs: RangeInclusive<i64>) -> Vec<Sequenced> {
    seqs.map(|seq| text(pair(), seq, ANN, "hi")).collect()
}

async fn check_page(store: &Dyn, range: HistoryRange, limit: usize, seqs: RangeInclusive<i64>, has_more: bool) {
    let page = store.history(pair(), range, Seq(1), limit).await.unwrap();
    let found: Vec<_> = page.messages.iter().map(|message| message.seq_id.0).collect();
    assert_eq!((found, page.has_more), (seqs.collect(), has_more), "{range:?} {limit}");
    let extent = store.extent(pair()).await.unwrap();
    assert_eq!((page.first_seq, page.last_seq), (extent.first, extent.last), "{range:?} {limit}");
}

async fn view(store: &Dyn, user: UserId, conversation: ConversationId) -> ConversationView {
    let views = store.conversations(user, None, 100).await.unwrap();
    views.into_iter().find(|view| view.id == conversation).unwrap()
}

pub async fn what_is_removed_is_gone_and_the_sequence_goes_on(store: Dyn) {
    write(&store, &said(1..=10)).await;
    write(&store, &[text(group(), 1, ANN, "elsewhere")]).await;
    assert_eq!(retire(&store, 1..=6).await, 6);
    assert_eq!(store.extent(pair()).await.unwrap(), Extent { first: Seq(7), last: Seq(10) });
    check_page(&store, HistoryRange::Newest, 3, 8..=10, true).await;
    check_page(&store, HistoryRange::Newest, 4, 7..=10, false).await;
    check_page(&store, HistoryRange::Before(Seq(9)), 5, 7..=8, false).await;
    check_page(&store, HistoryRange::After(Seq(0)), 2, 7..=8, true).await;
    check_page(&store, HistoryRange::After(Seq(2)), 10, 7..=10, false).await;
    assert!(store.message_at(pair(), Seq(6)).await.unwrap().is_none());
    assert!(store.messages(&[said(6..=6)[0].message_id]).await.unwrap().is_empty());
    assert_eq!(store.message_at(group(), Seq(1)).await.unwrap().unwrap().content, "elsewhere");
    write(&store, &said(11..=12)).await;
    assert_eq!(store.extent(pair()).await.unwrap(), Extent { first: Seq(7), last: Seq(12) });
    assert_eq!(retire(&store, 1..=7).await, 1, "what is gone is gone");
    assert_eq!(retire(&store, 1..=6).await, 0);
    assert_eq!(store.extent(pair()).await.unwrap().first, Seq(8), "it never goes back");
}

pub async fn a_conversation_without_messages_keeps_its_place_and_its_head(store: Dyn) {
    write(&store, &said(1..=5)).await;
    let before = view(&store, BEN, pair()).await;
    assert_eq!(retire(&store, 1..=5).await, 5);
    let after = view(&store, BEN, pair()).await;
    assert_eq!(after, ConversationView { last_message: None, unread: 0, ..before });
    assert_eq!(store.heads(BEN, 0, 10).await.unwrap(), [(pair(), Seq(5))]);
    for range in [HistoryRange::Newest, HistoryRange::After(Seq(0)), HistoryRange::After(Seq(5))] {
        let page = store.history(pair(), range, Seq(1), 10).await.unwrap();
        let (first_seq, last_seq) = (page.first_seq, page.last_seq);
        assert_eq!((page.messages, page.has_more, first_seq, last_seq), (vec![], false, Seq(6), Seq(5)), "{range:?}");
    }
    write(&store, &said(6..=6)).await;
    let next = view(&store, BEN, pair()).await;
    assert_eq!((next.unread, next.last_message.unwrap().seq_id), (1, Seq(6)));
}

pub async fn unread_counts_what_is_still_there(store: Dyn) {
    with_group(&store, &[BEN], 10).await;
    write(&store, &(1..=10).map(|seq| text(group(), seq, ANN, "hi")).collect::<Vec<_>>()).await;
    store.change_group(GROUP, &GroupChange::Add { user_ids: vec![CLEO] }, &act(ANN)).await.unwrap();
    write(&store, &[read_mark(group(), BEN, 2)]).await;
    let unread = async |user| view(&store, user, group()).await.unread;
    assert_eq!((unread(BEN).await, unread(CLEO).await, unread(ANN).await), (8, 0, 0));
    store.retire(&places(group(), 1..=6)).await.unwrap();
    assert_eq!((unread(BEN).await, unread(CLEO).await, unread(ANN).await), (4, 0, 0));
    assert_eq!(view(&store, BEN, group()).await.read_seq, Seq(2));
    write(&store, &[read_mark(group(), BEN, 8)]).await;
    assert_eq!(unread(BEN).await, 2);
    store.retire(&places(group(), 7..=10)).await.unwrap();
    assert_eq!((unread(BEN).await, unread(CLEO).await, unread(ANN).await), (0, 0, 0));
    write(&store, &[text(group(), 11, ANN, "hi")]).await;
    assert_eq!((unread(BEN).await, unread(CLEO).await, unread(ANN).await), (1, 1, 0));
}

pub async fn a_repeat_does_not_bring_back_what_was_removed(store: Dyn) {
    write(&store, &said(1..=10)).await;
    retire(&store, 1..=6).await;
    write(&store, &said(1..=10)).await;
    check_page(&store, HistoryRange::Newest, 20, 7..=10, false).await;
    write(&store, &said(4..=12)).await;
    write(&store, &said(1..=3)).await;
    check_page(&store, HistoryRange::Newest, 20, 7..=12, false).await;
    let other = Sequenced { message_id: MessageId(99), ..text(pair(), 7, BEN, "in its place") };
    assert_eq!(store.write_batch(&[&other]).await.unwrap_err().class(), Class::Fatal);
}

pub async fn what_is_about_a_removed_message_is_blanked(store: Dyn) {
    let of = |kind, target, seq, content| about(kind, target, 3, text(pair(), seq, ANN, content));
    let batch = [
        text(pair(), 1, ANN, "one"),
        text(pair(), 2, ANN, "two"),
        text(pair(), 3, ANN, "three"),
        of(Kind::Edit, 1, 4, "one, edited"),
        of(Kind::Reaction, 2, 5, "👍"),
        of(Kind::Edit, 3, 6, "three, edited"),
        of(Kind::Reaction, 3, 7, "👍"),
    ];
    write(&store, &batch).await;
    assert_eq!(retire(&store, 1..=2).await, 2);
    let contents = async || {
        let page = store.history(pair(), HistoryRange::Newest, Seq(1), 20).await.unwrap();
        page.messages.into_iter().map(|message| message.content).collect::<Vec<_>>()
    };
    assert_eq!(contents().await, ["three, edited", "", "", "three, edited", "👍"]);
    write(&store, &batch).await;
    write(&store, &[of(Kind::Edit, 1, 8, "late"), of(Kind::Reaction, 2, 9, "🎉"), of(Kind::Reaction, 3, 10, "🎉")])
        .await;
    assert_eq!(contents().await, ["three, edited", "", "", "three, edited", "👍", "", "", "🎉"]);
    assert_eq!(retire(&store, 3..=10).await, 8);
    assert_eq!(store.extent(pair()).await.unwrap(), Extent { first: Seq(11), last: Seq(10) });
}

pub async fn the_oldest_messages_are_found_by_id(store: Dyn) {
    let group_of = |n| ConversationId::Group(GroupId(n + 1));
    let batch: Vec<_> =
        (1..=12).map(|n| Sequenced { message_id: MessageId(n * 10), ..text(group_of(n % 3), n, ANN, "hi") }).collect();
    write(&store, &batch).await;
    let expected: Vec<_> = (1..=5).map(|n| (group_of(n % 3), Seq(n))).collect();
    assert_eq!(store.oldest(MessageId(60), 100).await.unwrap(), expected);
    assert_eq!(store.oldest(MessageId(60), 2).await.unwrap(), expected[..2]);
    assert_eq!(store.oldest(MessageId(10), 2).await.unwrap(), []);
    store.retire(&expected).await.unwrap();
    assert_eq!(store.oldest(MessageId(61), 2).await.unwrap(), [(group_of(0), Seq(6))]);
}

pub async fn conversations_are_walked_through_page_by_page(store: Dyn) {
    let conversations: Vec<_> = (1..=25).map(|n| ConversationId::single(ANN, UserId(100 + n))).collect();
    let batch: Vec<_> = (1..)
        .zip(&conversations)
        .map(|(n, &conversation)| Sequenced { message_id: MessageId(n), ..text(conversation, 1, ANN, "hi") })
        .collect();
    write(&store, &batch).await;
    write(&store, &[text(ConversationId::World, 1, ANN, "hi"), text(ConversationId::World, 2, ANN, "hi")]).await;
    store.retire(&places(ConversationId::World, 1..=1)).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.extents(after, 7).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        assert!(page.len() <= 7);
        after = Some(*last);
        found.extend(page);
    }
    found.sort_unstable_by_key(|(conversation, _)| *conversation);
    let whole = |&conversation| (conversation, Extent { first: Seq(1), last: Seq(1) });
    let mut expected: Vec<_> = conversations.iter().map(whole).collect();
    expected.push((ConversationId::World, Extent { first: Seq(2), last: Seq(2) }));
    expected.sort_unstable_by_key(|(conversation, _)| *conversation);
    assert_eq!(found, expected);
}

pub async fn one_holder_at_a_time_has_the_lease(store: Dyn) {
    let lease = async |holder, now| store.lease_retention(holder, now, now + 100).await.unwrap();
    assert!(lease(0, NOW).await);
    assert!(!lease(1, NOW).await && !lease(1, NOW + 99).await);
    assert!(lease(0, NOW + 50).await, "its own goes on");
    assert!(!lease(1, NOW + 149).await && lease(1, NOW + 150).await);
    assert!(!lease(0, NOW + 200).await);
    assert!(lease(0, NOW - 1_000).await, "a lease that lasts longer than it may is none");
}

pub async fn two_who_remove_at_once_and_a_writer_lose_nothing(store: Dyn) {
    const MESSAGES: i64 = 1_000;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for from in (1..MESSAGES).step_by(20) {
                let batch: Vec<_> = said(from..=from + 19).into_iter().chain(in_world(from..=from + 19)).collect();
                while let Err(error) = store.write_batch(&batch.iter().collect::<Vec<_>>()).await {
                    assert_eq!(error.class(), Class::Retry, "{error}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        })
    };
    let remover = |forwards: bool| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            loop {
                let (of_pair, of_world) =
                    (store.extent(pair()).await.unwrap(), store.extent(ConversationId::World).await.unwrap());
                let beyond = |extent: Extent| extent.first.0..=(extent.last.0 - 10).min(extent.first.0 + 15);
                let mut places = places(pair(), beyond(of_pair));
                places.extend(self::places(ConversationId::World, beyond(of_world)));
                if !forwards {
                    places.reverse();
                }
                match store.retire(&places).await {
                    Ok(_) if of_pair.first.0 > MESSAGES - 10 && of_world.first.0 > MESSAGES - 10 => break,
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.class(), Class::Retry, "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    let removers = [remover(true), remover(false)];
    writer.await.unwrap();
    for remover in removers {
        remover.await.unwrap();
    }
    for conversation in [pair(), ConversationId::World] {
        let page = store.history(conversation, HistoryRange::After(Seq(0)), Seq(1), 2_000).await.unwrap();
        let seqs: Vec<_> = page.messages.iter().map(|message| message.seq_id.0).collect();
        assert_eq!(seqs, (MESSAGES - 9..=MESSAGES).collect::<Vec<_>>());
        assert_eq!((page.first_seq, page.last_seq), (Seq(MESSAGES - 9), Seq(MESSAGES)));
    }
    assert_eq!(view(&store, BEN, pair()).await.unread, 10);
}

fn in_world(seqs: RangeInclusive<i64>) -> impl Iterator<Item = Sequenced> {
    seqs.map(|seq| text(ConversationId::World, seq, CLEO, "hi"))
}
