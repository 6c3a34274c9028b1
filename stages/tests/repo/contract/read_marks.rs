//! Read marks, as others see them.

use std::sync::Arc;

use schemas::ids::{ConversationId, Seq, UserId};
use schemas::records::Sequenced;
use stages::repo::model::{GroupChange, RaisedMark, ReadMark};
use stages::repo::store::Store;

use crate::fixtures::{
    ANN, BEN, CLEO, DAN, GROUP, act, group, pair, read_mark, text, with_group, with_many_users, write,
};

type Dyn = Arc<dyn Store>;

async fn check(store: &Dyn, conversation: ConversationId, expected: &[(UserId, i64)]) {
    let expected: Vec<_> = expected.iter().map(|&(user_id, seq)| ReadMark { user_id, seq_id: Seq(seq) }).collect();
    assert_eq!(store.read_marks(conversation).await.unwrap(), expected);
}

pub async fn both_marks_of_a_pair_are_shown(store: Dyn) {
    check(&store, pair(), &[]).await;
    write(&store, &(1..=5).map(|seq| text(pair(), seq, ANN, "hi")).collect::<Vec<_>>()).await;
    write(&store, &[read_mark(pair(), BEN, 3)]).await;
    check(&store, pair(), &[(BEN, 3)]).await;
    write(&store, &[read_mark(pair(), ANN, 5), read_mark(pair(), BEN, i64::MAX)]).await;
    check(&store, pair(), &[(ANN, 5), (BEN, 5)]).await;
}

pub async fn marks_of_present_members_of_a_group_are_shown(store: Dyn) {
    with_group(&store, &[BEN, CLEO, DAN], 1_000).await;
    write(&store, &(1..=5).map(|seq| text(group(), seq, ANN, "hi")).collect::<Vec<_>>()).await;
    let marks = [read_mark(group(), BEN, 3), read_mark(group(), CLEO, 4), read_mark(group(), DAN, 5)];
    write(&store, &marks).await;
    check(&store, group(), &[(BEN, 3), (CLEO, 4), (DAN, 5)]).await;
    store.change_group(GROUP, &GroupChange::Remove { user_id: CLEO }, &act(ANN)).await.unwrap();
    check(&store, group(), &[(BEN, 3), (DAN, 5)]).await;
}

pub async fn in_large_groups_and_the_world_no_marks_are_shown(store: Dyn) {
    let many = with_many_users(&store, 500).await;
    with_group(&store, &many, 1_000).await;
    let batch =
        [text(group(), 1, ANN, "hi"), text(ConversationId::World, 1, ANN, "hi"), read_mark(group(), many[0], 1)];
    write(&store, &batch).await;
    write(&store, &[read_mark(ConversationId::World, BEN, 1)]).await;
    check(&store, group(), &[]).await;
    check(&store, ConversationId::World, &[]).await;
}

pub async fn a_batch_tells_which_marks_it_raised(store: Dyn) {
    let raised = async |batch: &[Sequenced]| {
        let mut raised = store.write_batch(&batch.iter().collect::<Vec<_>>()).await.unwrap();
        raised.sort_by_key(|raised| (raised.conversation_id, raised.mark.user_id));
        raised
    };
    let expected =
        |conversation_id, user_id, seq| RaisedMark { conversation_id, mark: ReadMark { user_id, seq_id: Seq(seq) } };
    let world = ConversationId::World;
    let said: Vec<_> = (1..=5).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    assert_eq!(raised(&said).await, []);
    let marks = [read_mark(pair(), BEN, 2), read_mark(pair(), BEN, 4), read_mark(pair(), BEN, 3)];
    assert_eq!(raised(&marks).await, [expected(pair(), BEN, 4)]);
    assert_eq!(raised(&marks).await, [], "a repeat raises nothing");
    assert_eq!(raised(&[read_mark(pair(), BEN, 1)]).await, []);
    let batch = [
        text(world, 1, ANN, "hi"),
        read_mark(pair(), BEN, i64::MAX),
        read_mark(pair(), ANN, 3),
        read_mark(world, BEN, 1),
        read_mark(group(), BEN, 1),
    ];
    let all = [expected(pair(), ANN, 3), expected(pair(), BEN, 5), expected(world, BEN, 1)];
    assert_eq!(raised(&batch).await, all, "no further than what was said, and nothing where nothing was");
    let many: Vec<_> = (1..=700).map(|user| read_mark(world, UserId(user), 1)).collect();
    assert_eq!(raised(&many).await.len(), 699, "Ben's is there");
}
