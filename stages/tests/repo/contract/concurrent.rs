//! Several callers at once, as of several processes: they wait for each other, and lose nothing.

use std::sync::Arc;
use std::time::Duration;

use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::repo::model::{GroupChange, HistoryRange, NewToken, Rotation};
use stages::repo::store::{Class, Store};
use tokio::task::JoinSet;

use crate::fixtures::{ANN, BEN, CLEO, GROUP, NOW, about, act, group, read_mark, text, user, with_group, with_users};

type Dyn = Arc<dyn Store>;

/// Calls until it is done, as a stage does, while it is said to be of use.
macro_rules! retried {
    ($call:expr) => {
        loop {
            match $call.await {
                Ok(done) => break done,
                Err(error) if error.class() == Class::Retry => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
            }
        }
    };
}

fn place(n: i64) -> ConversationId {
    match n % 3 {
        0 => ConversationId::Group(GroupId(100 + n)),
        _ => ConversationId::single(UserId(1 + n), UserId(200 + n)),
    }
}

/// What is said in a round: in each of some conversations a few messages, an edit and a read mark.
fn round(round: i64, conversations: &[i64]) -> Vec<Sequenced> {
    let mut batch = Vec::new();
    for &n in conversations {
        let (first, speaker) = (round * 4 + 1, UserId(1 + n));
        let mut said: Vec<_> = (first..first + 4).map(|seq| text(place(n), seq, speaker, "hi")).collect();
        said[3] = about(Kind::Edit, first, first + 2, said[3].clone());
        for message in &mut said {
            message.message_id = MessageId(n * 1_000_000 + message.seq_id.0);
        }
        batch.extend(said);
        batch.push(read_mark(place(n), UserId(200 + n), first + 2));
    }
    batch
}

pub async fn writers_of_the_same_conversations_lose_nothing(store: Dyn) {
    const CONVERSATIONS: i64 = 24;
    const ROUNDS: i64 = 12;
    const WRITERS: usize = 4;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            // Each in an order of its own: forwards, backwards, from the middle.
            let mut order: Vec<_> = (0..CONVERSATIONS).collect();
            order.rotate_left(writer * 7);
            if writer % 2 == 1 {
                order.reverse();
            }
            for n in 0..ROUNDS {
                let batch = round(n, &order);
                let batch: Vec<_> = batch.iter().collect();
                retried!(store.write_batch(&batch));
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    for n in 0..CONVERSATIONS {
        let page = store.history(place(n), HistoryRange::After(Seq(0)), Seq(1), 1_000).await.unwrap();
        let seqs: Vec<_> = page.messages.iter().map(|message| message.seq_id.0).collect();
        assert_eq!((seqs, page.last_seq), ((1..=ROUNDS * 4).collect(), Seq(ROUNDS * 4)), "{n}");
        assert_eq!(page.messages.iter().filter(|message| message.edited_at.is_some()).count() as i64, ROUNDS);
    }
}

pub async fn members_come_and_go_while_messages_come(store: Dyn) {
    with_users(&store).await;
    with_group(&store, &[BEN], 10).await;
    let talk = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..60 {
                let batch: Vec<_> = (n * 3 + 1..=n * 3 + 3).map(|seq| text(group(), seq, BEN, "hi")).collect();
                let batch: Vec<_> = batch.iter().collect();
                retried!(store.write_batch(&batch));
            }
        })
    };
    let changes = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..15 {
                let join = GroupChange::Add { user_ids: vec![CLEO] };
                retried!(store.change_group(GROUP, &join, &act(ANN)));
                let leave = GroupChange::Remove { user_id: CLEO };
                retried!(store.change_group(GROUP, &leave, &act(CLEO)));
            }
        })
    };
    talk.await.unwrap();
    changes.await.unwrap();
    let now = store.group(GROUP).await.unwrap().unwrap();
    assert_eq!((now.version, now.member_count), (31, 2));
    assert_eq!(store.outbox(100).await.unwrap().len(), 31);
    let page = store.history(group(), HistoryRange::Newest, Seq(1), 1).await.unwrap();
    assert_eq!(page.last_seq, Seq(180));
}

pub async fn of_two_uses_of_a_token_at_once_one_is_reuse(store: Dyn) {
    store.create_user(&user(ANN, "ann"), None).await.unwrap();
    let token = |n: u8| NewToken { hash: [n; 32], expires_at: NOW + 1_000 };
    store.start_family(ANN, 70, token(1), NOW).await.unwrap();
    let mut uses = JoinSet::new();
    for n in [2, 3] {
        let store = Arc::clone(&store);
        uses.spawn(async move { retried!(store.rotate_token([1; 32], token(n), NOW)) });
    }
    let outcomes = uses.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Rotation::Rotated { .. })).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Rotation::Reused).count(), 1);
    for n in [1, 2, 3] {
        assert_eq!(store.rotate_token([n; 32], token(9), NOW).await.unwrap(), Rotation::Unknown, "{n}");
    }
}
