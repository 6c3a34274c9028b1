//! Who may read what, by id, by place and by mark; and users who are banned.

use schemas::error::ErrorCode;
use schemas::ids::{ConversationId, GroupId, MessageId, UserId};
use schemas::pb;
use schemas::pb::get_message_request::By;
use schemas::records::Sequenced;

use crate::fixtures::{read_mark, text, write};
use crate::served::{Served, code};

struct Scene {
    repo: Served,
    ann: i64,
    ben: i64,
    carl: i64,
    pair: ConversationId,
    group: ConversationId,
}

/// Ann and Ben have talked (messages 11 to 13), and Ann in her group (21 to 23), which Ben joined after
/// the second.
async fn scene() -> Scene {
    let (repo, [ann, ben, carl]) = Served::with_users(["ann", "ben", "carl"]).await;
    let new = pb::CreateGroupRequest { owner_id: ann, name: "Tea".into(), ..Default::default() };
    let group_id = repo.groups().create_group(new).await.unwrap().into_inner().group_id;
    let (pair, group) = (ConversationId::single(UserId(ann), UserId(ben)), ConversationId::Group(GroupId(group_id)));
    let said =
        |conversation, seq, id| Sequenced { message_id: MessageId(id), ..text(conversation, seq, UserId(ann), "hi") };
    write(&repo.store, &[said(pair, 1, 11), said(pair, 2, 12), said(pair, 3, 13)]).await;
    write(&repo.store, &[said(group, 1, 21), said(group, 2, 22)]).await;
    let add = pb::AddGroupMemberRequest { group_id, actor_id: ann, user_ids: vec![ben] };
    repo.groups().add_group_member(add).await.unwrap();
    write(&repo.store, &[said(group, 3, 23)]).await;
    Scene { repo, ann, ben, carl, pair, group }
}

#[tokio::test]
async fn a_message_is_given_by_id_to_those_who_may_read_it() {
    let Scene { repo, ann, ben, carl, group, .. } = scene().await;
    let get = async |id, reader| {
        let request = pb::GetMessageRequest { by: Some(By::MessageId(id)), reader_id: Some(reader) };
        repo.messages().get_message(request).await.map(|message| message.into_inner().seq_id)
    };
    assert_eq!((get(11, ben).await.unwrap(), get(21, ann).await.unwrap(), get(23, ben).await.unwrap()), (1, 1, 3));
    assert_eq!(code(get(11, carl).await), ErrorCode::ConversationNotFound);
    assert_eq!(code(get(23, carl).await), ErrorCode::ConversationNotFound);
    assert_eq!(code(get(22, ben).await), ErrorCode::ConversationNotFound, "it was said before Ben joined");
    assert_eq!(code(get(99, ann).await), ErrorCode::ConversationNotFound);
    assert_eq!(code(get(11, -1).await), ErrorCode::InvalidInput);
    let place = pb::MessagePosition { conversation_id: group.to_string(), seq_id: 2 };
    let at = pb::GetMessageRequest { by: Some(By::Position(place)), reader_id: Some(ben) };
    assert_eq!(code(repo.messages().get_message(at).await), ErrorCode::ConversationNotFound);
}

#[tokio::test]
async fn of_many_messages_by_id_the_readable_ones_are_given() {
    let Scene { repo, ann, ben, carl, .. } = scene().await;
    let get = async |reader_id| {
        let request = pb::GetMessagesRequest { message_ids: vec![23, 11, 22, 99, 13], reader_id };
        let found = repo.messages().get_messages(request).await.unwrap().into_inner().messages;
        found.into_iter().map(|message| message.message_id).collect::<Vec<_>>()
    };
    assert_eq!(get(None).await, [23, 11, 22, 13]);
    assert_eq!(get(Some(ann)).await, [23, 11, 22, 13]);
    assert_eq!(get(Some(ben)).await, [23, 11, 13]);
    assert!(get(Some(carl)).await.is_empty());
}

#[tokio::test]
async fn read_marks_are_shown_to_those_who_may_read() {
    let Scene { repo, ann, ben, carl, pair, group } = scene().await;
    write(&repo.store, &[read_mark(pair, UserId(ben), 2), read_mark(group, UserId(ben), 3)]).await;
    let get = async |conversation: ConversationId, reader_id| {
        let request = pb::GetReadMarksRequest { conversation_id: conversation.to_string(), reader_id };
        let marks = repo.conversations().get_read_marks(request).await?.into_inner().read_marks;
        Ok::<_, tonic::Status>(marks.into_iter().map(|mark| (mark.user_id, mark.seq_id)).collect::<Vec<_>>())
    };
    assert_eq!(get(pair, Some(ann)).await.unwrap(), [(ben, 2)]);
    assert_eq!(get(group, None).await.unwrap(), [(ben, 3)]);
    assert_eq!(code(get(pair, Some(carl)).await), ErrorCode::ConversationNotFound);
    assert_eq!(code(get(group, Some(carl)).await), ErrorCode::ConversationNotFound);
    assert_eq!(code(get(ConversationId::Group(GroupId(1)), Some(ann)).await), ErrorCode::ConversationNotFound);
}

#[tokio::test]
async fn who_is_banned_reads_and_says_nothing_until_the_ban_is_lifted() {
    let Scene { repo, ann, pair, group, .. } = scene().await;
    let set = async |status: &str| {
        let request = pb::UpdateUserRequest { user_id: ann, status: Some(status.into()), ..Default::default() };
        repo.users().update_user(request).await.map(|user| user.into_inner().status)
    };
    assert_eq!(set("banned").await.unwrap(), "banned");
    for conversation in [pair, group, ConversationId::World] {
        let access = pb::GetAccessRequest { conversation_id: conversation.to_string(), user_id: ann };
        assert!(!repo.conversations().get_access(access).await.unwrap().into_inner().member, "{conversation}");
        let say = pb::SaveMessageRequest {
            conversation_id: conversation.to_string(),
            sender_id: ann,
            client_msg_id: "m".into(),
            message_type: "text".into(),
            content: "hi".into(),
        };
        assert_eq!(code(repo.messages().save_message(say).await), ErrorCode::PermissionDenied);
    }
    let heads = pb::GetHeadsRequest { user_id: ann, changed_since: 0, session_id: Some(1), elapsed_ms: None };
    assert_eq!(code(repo.conversations().get_heads(heads).await), ErrorCode::PermissionDenied);
    assert_eq!(code(set("king").await), ErrorCode::InvalidInput);
    assert_eq!(set("active").await.unwrap(), "active");
    assert_eq!(code(repo.conversations().get_heads(heads).await), ErrorCode::Unauthenticated, "no such sign-in");
    let heads = pb::GetHeadsRequest { session_id: None, ..heads };
    assert_eq!(repo.conversations().get_heads(heads).await.unwrap().into_inner().heads.len(), 2);
}
