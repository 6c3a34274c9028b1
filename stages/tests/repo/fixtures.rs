//! Messages, users and stores that the tests share.

use std::sync::Arc;

use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::repo::model::{Act, Group, NewGroup, User, UserStatus};
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use stages::repo::store::Store;
use tempfile::TempDir;

pub const NOW: i64 = 1_800_000_000_000;
pub const ANN: UserId = UserId(11);
pub const BEN: UserId = UserId(22);
pub const CLEO: UserId = UserId(33);
pub const DAN: UserId = UserId(i64::MAX);
pub const GROUP: GroupId = GroupId(7_000);

/// A store in a directory of its own, which goes when this is dropped.
pub struct TestStore {
    pub store: Arc<dyn Store>,
    pub dir: TempDir,
}

pub async fn sqlite_store() -> TestStore {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("repo.db"), SqliteConfig::default()).await.unwrap();
    TestStore { store, dir }
}

pub fn pair() -> ConversationId {
    ConversationId::single(ANN, BEN)
}

pub fn group() -> ConversationId {
    ConversationId::Group(GROUP)
}

/// A text at a place; its message id follows from the place, its ordinal is its seq.
pub fn text(conversation: ConversationId, seq: i64, sender: UserId, content: &str) -> Sequenced {
    let base = match conversation {
        ConversationId::Single { low, .. } => low.0,
        ConversationId::Group(id) => id.0,
        ConversationId::World => 1,
    };
    Sequenced {
        message_id: MessageId(base % 1_000_000 * 1_000_000 + seq),
        seq_id: Seq(seq),
        ordinal: seq,
        created_at: NOW + seq,
        conversation_id: conversation,
        sender_id: sender,
        client_msg_id: format!("{sender}-{seq}").into(),
        kind: Kind::Text,
        content: content.into(),
        target_seq: None,
        remove: false,
    }
}

/// An event about an earlier message; it does not raise the ordinal.
pub fn about(kind: Kind, target: i64, ordinal: i64, message: Sequenced) -> Sequenced {
    Sequenced { kind, target_seq: Some(Seq(target)), ordinal, ..message }
}

pub fn read_mark(conversation: ConversationId, user: UserId, seq: i64) -> Sequenced {
    Sequenced {
        message_id: MessageId(0),
        seq_id: Seq(0),
        ordinal: 0,
        client_msg_id: "".into(),
        kind: Kind::ReadMark,
        target_seq: Some(Seq(seq)),
        ..text(conversation, 0, user, "")
    }
}

pub fn user(id: UserId, username: &str) -> User {
    User {
        id,
        username: username.into(),
        display_name: username.to_uppercase(),
        avatar_url: String::new(),
        email: String::new(),
        status: UserStatus::Active,
        created_at: NOW,
    }
}

pub async fn with_users(store: &Arc<dyn Store>) {
    for (id, name) in [(ANN, "ann"), (BEN, "ben"), (CLEO, "cleo"), (DAN, "dan")] {
        store.create_user(&user(id, name), None).await.unwrap();
    }
}

pub async fn write(store: &Arc<dyn Store>, batch: &[Sequenced]) {
    let batch: Vec<_> = batch.iter().collect();
    store.write_batch(&batch).await.unwrap();
}

/// What a tool reads with sees what is written meanwhile, and changes nothing.
pub async fn check_reads_only(reader: &dyn Store, writer: &Arc<dyn Store>) {
    write(writer, &[text(pair(), 1, ANN, "hi")]).await;
    assert_eq!(reader.message_at(pair(), Seq(1)).await.unwrap().unwrap().content, "hi");
    reader.write_batch(&[&text(pair(), 2, ANN, "ho")]).await.unwrap_err();
    reader.create_user(&user(ANN, "ann"), None).await.unwrap_err();
    assert_eq!(writer.message_at(pair(), Seq(2)).await.unwrap(), None);
    assert_eq!(writer.user(ANN).await.unwrap(), None);
}

pub fn act(actor: UserId) -> Act {
    Act { actor, at: NOW, event_id: format!("outbox-by-{actor}") }
}

/// A group of Ann's with these members beside her.
pub async fn with_group(store: &Arc<dyn Store>, member_ids: &[UserId], max_members: i32) -> Group {
    let group = NewGroup {
        id: GROUP,
        name: "Tea".into(),
        description: String::new(),
        member_ids: member_ids.to_vec(),
        max_members,
    };
    store.create_group(&group, &act(ANN)).await.unwrap()
}
