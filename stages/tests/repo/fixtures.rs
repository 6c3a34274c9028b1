//! Messages, users and stores that the tests share.

use std::sync::Arc;

use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::repo::model::{Act, Group, NewGroup, User, UserStatus};
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use stages::repo::store::{Groups, MessageSink, Store, Users};
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

pub async fn nobody(_: &Arc<dyn Store>) {}

pub async fn with_users(store: &Arc<impl Users + ?Sized>) {
    for (id, name) in [(ANN, "ann"), (BEN, "ben"), (CLEO, "cleo"), (DAN, "dan")] {
        store.create_user(&user(id, name), None).await.unwrap();
    }
}

pub async fn write(store: &Arc<impl MessageSink + ?Sized>, batch: &[Sequenced]) {
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

pub fn new_group(id: GroupId, member_ids: &[UserId], max_members: i32) -> NewGroup {
    NewGroup { id, name: "Tea".into(), description: String::new(), member_ids: member_ids.to_vec(), max_members }
}

/// A group of Ann's with these members beside her.
pub async fn with_group(store: &Arc<impl Groups + ?Sized>, member_ids: &[UserId], max_members: i32) -> Group {
    store.create_group(&new_group(GROUP, member_ids, max_members), &act(ANN)).await.unwrap()
}

/// Users from 1,000 on.
pub async fn with_many_users(store: &Arc<impl Users + ?Sized>, count: i64) -> Vec<UserId> {
    let many: Vec<_> = (1_000..1_000 + count).map(UserId).collect();
    for id in &many {
        store.create_user(&user(*id, &format!("user{id}")), None).await.unwrap();
    }
    many
}

/// What takes a store with the users of [`with_users`] back to when several could have one email address, and gives
/// three of them the same one.
pub fn before_emails_were_unique(drop_keys: &str) -> [String; 5] {
    let give = |email: &str, at: i64, user: UserId| {
        format!("UPDATE users SET email = '{email}', created_at = {at} WHERE user_id = {user}")
    };
    [
        drop_keys.to_owned(),
        "DELETE FROM _sqlx_migrations WHERE version = 2".into(),
        give("A@example.org", 30, ANN),
        give("a@Example.org", 10, BEN),
        give("a@example.org", 10, CLEO),
    ]
}

/// What takes a store back to when a recall did not blank the edits, with a message of Ann's that was recalled then.
pub async fn before_edits_were_blanked(store: &Arc<dyn Store>, drop_keys: &str) -> [String; 3] {
    let edit = |target, seq| about(Kind::Edit, target, 2, text(pair(), seq, ANN, "edited"));
    let recall = about(Kind::Recall, 1, 2, text(pair(), 5, ANN, ""));
    write(store, &[text(pair(), 1, ANN, "one"), text(pair(), 2, ANN, "two"), edit(1, 3), edit(2, 4), recall]).await;
    [
        drop_keys.to_owned(),
        "DELETE FROM _sqlx_migrations WHERE version = 4".into(),
        "UPDATE messages SET content = 'edited' WHERE kind = 'edit'".into(),
    ]
}

/// The edit of the message that was recalled is blank, also one that comes now.
pub async fn check_edits_are_blanked(store: &Arc<dyn Store>) {
    let content = async |seq| store.message_at(pair(), Seq(seq)).await.unwrap().unwrap().content;
    assert_eq!((content(3).await.as_str(), content(4).await.as_str()), ("", "edited"));
    write(store, &[about(Kind::Recall, 2, 2, text(pair(), 6, ANN, ""))]).await;
    assert_eq!(content(4).await, "", "an edit from before is found");
}

/// The oldest has the address, and it is taken.
pub async fn check_the_oldest_keeps_the_address(store: &Arc<dyn Store>) {
    let emails = async |user| store.user(user).await.unwrap().unwrap().email;
    assert_eq!((emails(ANN).await, emails(CLEO).await), (String::new(), String::new()));
    assert_eq!((emails(BEN).await.as_str(), emails(DAN).await.as_str()), ("a@Example.org", ""));
    let eve = |email: &str| User { email: email.into(), ..user(UserId(44), "eve") };
    store.create_user(&eve("A@EXAMPLE.org"), None).await.unwrap_err();
    store.create_user(&eve("eve@example.org"), None).await.unwrap();
}
