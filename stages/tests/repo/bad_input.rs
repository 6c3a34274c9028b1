//! Input at the edges, over gRPC: the right code, and nothing half done.

use schemas::error::ErrorCode;
use schemas::ids::{ConversationId, MessageId, UserId};
use schemas::pb;
use schemas::records::Sequenced;
use stages::repo::store::Users;

use crate::fixtures::{NOW, text, user, write};
use crate::served::{Served, code, upstream, upstream_count};

/// Text that has been trouble somewhere: combining, joined, right to left, beyond the basic plane,
/// other systems' syntax.
const TEXTS: [&str; 9] = [
    "e\u{301} \u{1112}\u{1161}\u{11ab} \u{928}\u{93f}",
    "👩‍👩‍👧‍👦 🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f} 👍🏽",
    "\u{202e}txt.exe \u{2066}x\u{2069} \u{200b}\u{feff}",
    "\u{10ffff}\u{e000}\u{fffd}\u{fdd0}",
    "İıſß ﬁ Ǆ",
    "'; DROP TABLE users; -- \" ` $1 ? :x @y %s {0}",
    "{\"type\": \"message\", \"content\": \"\\u0000\"} [1,2",
    "\r\n\t\u{1}\u{7f}\u{85}\u{2028}",
    "🙂",
];

#[tokio::test]
async fn every_kind_of_text_enters_the_chain_as_it_is() {
    let (repo, [ann, ben]) = Served::with_users(["ann", "ben"]).await;
    let conversation_id = ConversationId::single(UserId(ann), UserId(ben)).to_string();
    for (n, content) in TEXTS.iter().enumerate() {
        // 64 characters of four bytes each.
        let client_msg_id = format!("{}{n}", "𝕏".repeat(63));
        let say = pb::SaveMessageRequest {
            conversation_id: conversation_id.clone(),
            sender_id: ann,
            client_msg_id: client_msg_id.clone(),
            message_type: "text".into(),
            content: (*content).into(),
        };
        repo.messages().save_message(say.clone()).await.unwrap();
        let longer = pb::SaveMessageRequest { client_msg_id: format!("{client_msg_id}x"), ..say };
        assert_eq!(code(repo.messages().save_message(longer).await), ErrorCode::InvalidInput);
    }
    let records = upstream(&repo.log, TEXTS.len()).await;
    assert!(records.iter().map(|(record, _)| &*record.content).eq(TEXTS));
    assert!(records.iter().all(|(record, _)| record.client_msg_id.chars().count() == 64));
    assert_eq!(upstream_count(&repo.log).await, TEXTS.len() as u64);
}

#[tokio::test]
async fn ids_at_the_edge_of_64_bits_are_ids_and_no_others_are() {
    let (repo, [ann]) = Served::with_users(["ann"]).await;
    for id in [i64::MIN, -1, 0] {
        assert_eq!(code(repo.users().get_user(pb::GetUserRequest { user_id: id }).await), ErrorCode::InvalidInput);
        let group = pb::GetGroupRequest { group_id: id, reader_id: None };
        assert_eq!(code(repo.groups().get_group(group).await), ErrorCode::InvalidInput);
        let by = pb::GetMessagesRequest { message_ids: vec![id], reader_id: None };
        assert_eq!(code(repo.messages().get_messages(by).await), ErrorCode::InvalidInput);
    }
    for id in [1, i64::MAX - 1, i64::MAX] {
        assert_eq!(code(repo.users().get_user(pb::GetUserRequest { user_id: id }).await), ErrorCode::UserNotFound);
        let group = pb::GetGroupRequest { group_id: id, reader_id: None };
        assert_eq!(code(repo.groups().get_group(group).await), ErrorCode::ConversationNotFound);
        let add = pb::AddGroupMemberRequest { group_id: id, actor_id: ann, user_ids: vec![id] };
        assert_eq!(code(repo.groups().add_group_member(add).await), ErrorCode::ConversationNotFound);
    }
    let access = |conversation_id: &str| pb::GetAccessRequest { conversation_id: conversation_id.into(), user_id: ann };
    let known = [
        (format!("group_{}", i64::MAX), ErrorCode::ConversationNotFound),
        (format!("single_{ann}_{}", i64::MAX), ErrorCode::UserNotFound),
        ("group_9223372036854775808".into(), ErrorCode::InvalidInput),
        ("group_01".into(), ErrorCode::InvalidInput),
        ("group_+1".into(), ErrorCode::InvalidInput),
        (format!("single_{}_{ann}", i64::MAX), ErrorCode::InvalidInput),
        ("group_٣".into(), ErrorCode::InvalidInput),
    ];
    for (conversation, expected) in known {
        assert_eq!(code(repo.conversations().get_access(access(&conversation)).await), expected, "{conversation}");
    }
}

#[tokio::test]
async fn a_read_mark_beyond_the_end_is_taken_and_one_of_nothing_is_not() {
    let (repo, [ann, ben]) = Served::with_users(["ann", "ben"]).await;
    let conversation = ConversationId::single(UserId(ann), UserId(ben));
    let mark = |seq_id| pb::MarkAsReadRequest { conversation_id: conversation.to_string(), user_id: ben, seq_id };
    for seq_id in [0, -1, i64::MIN] {
        assert_eq!(code(repo.conversations().mark_as_read(mark(seq_id)).await), ErrorCode::InvalidInput);
    }
    repo.conversations().mark_as_read(mark(i64::MAX)).await.unwrap();
    assert_eq!(upstream(&repo.log, 1).await[0].0.target_seq.unwrap().0, i64::MAX);
}

#[tokio::test]
async fn a_stale_cursor_goes_on_from_its_place() {
    let (repo, [ann]) = Served::with_users(["ann"]).await;
    let said = |peer: i64, seq: i64, at: i64| Sequenced {
        message_id: MessageId(peer * 10 + seq),
        created_at: NOW + at,
        ..text(ConversationId::single(UserId(ann), UserId(peer)), seq, UserId(peer), "hi")
    };
    write(&repo.store, &(1..=6).map(|peer| said(peer, 1, peer)).collect::<Vec<_>>()).await;
    let page = async |cursor: &str| {
        let ask = pb::GetConversationsRequest { user_id: ann, cursor: cursor.into(), limit: 2 };
        let page = repo.conversations().get_conversations(ask).await.unwrap().into_inner();
        let times: Vec<_> = page.conversations.iter().map(|c| c.updated_at - NOW).collect();
        (times, page.next_cursor)
    };
    let (first, cursor) = page("").await;
    assert_eq!(first, [6, 5]);
    // The one that the cursor names moves to the top, and so does one that comes later.
    write(&repo.store, &[said(5, 2, 100), said(3, 2, 101)]).await;
    let (second, _) = page(&cursor).await;
    assert_eq!(second, [4, 2], "nothing twice, and what moved is at the top of a new list");
    assert_eq!(page("").await.0, [101, 100]);

    let mut members = Vec::new();
    for n in 0..5 {
        members.push(repo.user(&format!("member{n}")).await);
    }
    let new =
        pb::CreateGroupRequest { owner_id: ann, name: "x".into(), member_ids: members.clone(), ..Default::default() };
    let group_id = repo.groups().create_group(new).await.unwrap().into_inner().group_id;
    let list = |cursor| pb::GetGroupMembersRequest { group_id, cursor, limit: 2, reader_id: None };
    let first = repo.groups().get_group_members(list(String::new())).await.unwrap().into_inner();
    let gone = pb::RemoveGroupMemberRequest { group_id, actor_id: ann, user_id: members[0] };
    repo.groups().remove_group_member(gone).await.unwrap();
    let next = repo.groups().get_group_members(list(first.next_cursor)).await.unwrap().into_inner();
    assert_eq!(next.members.iter().map(|member| member.user_id).collect::<Vec<_>>(), members[1..3]);
}

#[tokio::test]
async fn the_owner_can_be_neither_removed_nor_leave() {
    let (repo, [ann, ben]) = Served::with_users(["ann", "ben"]).await;
    let new = pb::CreateGroupRequest { owner_id: ann, name: "Tea".into(), member_ids: vec![ben], ..Default::default() };
    let group_id = repo.groups().create_group(new).await.unwrap().into_inner().group_id;
    let mut groups = repo.groups();
    let role = |actor_id, user_id, role: &str| pb::SetGroupMemberRoleRequest {
        group_id,
        actor_id,
        user_id,
        role: role.into(),
    };
    groups.set_group_member_role(role(ann, ben, "admin")).await.unwrap();
    for actor_id in [ann, ben] {
        let remove = pb::RemoveGroupMemberRequest { group_id, actor_id, user_id: ann };
        assert_eq!(code(groups.remove_group_member(remove).await), ErrorCode::PermissionDenied);
    }
    groups.set_group_member_role(role(ann, ben, "owner")).await.unwrap();
    let leave = pb::RemoveGroupMemberRequest { group_id, actor_id: ann, user_id: ann };
    groups.remove_group_member(leave).await.unwrap();
    let group = groups.get_group(pb::GetGroupRequest { group_id, reader_id: None }).await.unwrap().into_inner();
    assert_eq!((group.owner_id, group.member_count, group.version), (ben, 1, 4));
}

#[tokio::test]
async fn a_clock_that_was_set_back_repeats_no_id_after_a_restart() {
    let repo = Served::start().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(repo.user(&format!("early{n}")).await);
    }
    let new = pb::CreateGroupRequest { owner_id: ids[0], name: "Tea".into(), ..Default::default() };
    ids.push(repo.groups().create_group(new).await.unwrap().into_inner().group_id);
    // A user that was put there by hand is not gone on from.
    repo.store.create_user(&user(UserId(i64::MAX), "last"), None).await.unwrap();
    repo.clock.advance_ms(-3_600_000);
    let repo = repo.restart().await;
    for n in 0..20 {
        ids.push(repo.user(&format!("late{n}")).await);
    }
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    assert!(schemas::snowflake::time_of(ids[40]) < NOW + 1_000, "no further ahead than need be");
}
