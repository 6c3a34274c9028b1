//! Users, messages, groups and conversations, over gRPC.

use futures::TryStreamExt;
use schemas::error::ErrorCode;
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::pb;
use schemas::records::Sequenced;
use tokio_stream::StreamExt;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::fixtures::{NOW, text, write};
use crate::served::{SOON, Served, code, upstream, upstream_count};

const SERVICES: [&str; 5] = ["UserRepo", "MessageRepo", "GroupRepo", "ConversationService", "AuthService"];

async fn group_of(repo: &Served, owner: i64, members: &[i64]) -> pb::Group {
    let request = pb::CreateGroupRequest {
        owner_id: owner,
        name: "Tea".into(),
        description: "for two".into(),
        member_ids: members.to_vec(),
    };
    repo.groups().create_group(request).await.unwrap().into_inner()
}

fn history(conversation: ConversationId) -> pb::GetConversationMessagesRequest {
    pb::GetConversationMessagesRequest { conversation_id: conversation.to_string(), ..Default::default() }
}

#[tokio::test]
async fn reflection_and_health_know_every_service() {
    let repo = Served::start().await;
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(repo.channel.clone());
    let mut answers = reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = StreamExt::next(&mut answers).await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(listed) = answer else { panic!("{answer:?}") };
    let listed: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    let mut health = HealthClient::new(repo.channel.clone());
    for service in SERVICES {
        let service = format!("gochat.repo.v1.{service}");
        assert!(listed.contains(&service), "{listed:?}");
        let request = tonic_health::pb::HealthCheckRequest { service };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);
    }
    assert!(listed.contains(&"grpc.health.v1.Health".to_owned()), "{listed:?}");
}

#[tokio::test]
async fn health_tells_of_every_service_that_the_store_is_away_and_back() {
    let repo = Served::start().await;
    let services = SERVICES.iter().map(|service| format!("gochat.repo.v1.{service}")).chain([String::new()]);
    for service in services {
        let request = tonic_health::pb::HealthCheckRequest { service: service.clone() };
        let mut watching = HealthClient::new(repo.channel.clone()).watch(request).await.unwrap().into_inner();
        for works in [true, false, true] {
            repo.store_works.send_if_modified(|before| std::mem::replace(before, works) != works);
            let said = tokio::time::timeout(SOON, watching.message()).await.unwrap().unwrap().unwrap();
            assert_eq!(said.status == 1, works, "{service}: {said:?}");
        }
    }
}

#[tokio::test]
async fn shutdown_ends_the_server_though_a_stream_is_open() {
    let repo = Served::start().await;
    let mut health = HealthClient::new(repo.channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let mut watching = health.watch(request).await.unwrap().into_inner();
    watching.message().await.unwrap();
    repo.shutdown.cancel();
    tokio::time::timeout(SOON, repo.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn users_are_made_found_and_changed() {
    let (repo, [ann]) = Served::with_users(["ann"]).await;
    let found = repo.users().get_user_by_username(pb::GetUserByUsernameRequest { username: "Ann".into() }).await;
    let found = found.unwrap().into_inner();
    assert_eq!((found.user_id, found.display_name.as_str(), found.status.as_str()), (ann, "ann", "active"));
    assert_eq!(found.created_at, NOW);
    let patch =
        pb::UpdateUserRequest { user_id: ann, display_name: Some("Änn".into()), avatar_url: None, status: None };
    assert_eq!(repo.users().update_user(patch.clone()).await.unwrap().into_inner().display_name, "Änn");
    let blank = pb::UpdateUserRequest { display_name: Some(" ".into()), ..patch.clone() };
    assert_eq!(code(repo.users().update_user(blank).await), ErrorCode::InvalidInput);
    let nobody = pb::UpdateUserRequest { user_id: i64::MAX, ..patch };
    assert_eq!(code(repo.users().update_user(nobody).await), ErrorCode::UserNotFound);
    let again = pb::CreateUserRequest { username: "ANN".into(), ..Default::default() };
    assert_eq!(code(repo.users().create_user(again).await), ErrorCode::UserExists);
    for id in [0, -1, i64::MIN] {
        assert_eq!(code(repo.users().get_user(pb::GetUserRequest { user_id: id }).await), ErrorCode::InvalidInput);
    }
}

#[tokio::test]
async fn many_users_come_in_the_order_asked_for() {
    let (repo, [ann, ben]) = Served::with_users(["ann", "ben"]).await;
    let get = async |user_ids| repo.users().get_users(pb::GetUsersRequest { user_ids }).await;
    let found = get(vec![ben, i64::MAX, ann, ben]).await.unwrap().into_inner().users;
    assert_eq!(found.iter().map(|user| user.user_id).collect::<Vec<_>>(), [ben, ann, ben]);
    let alone = repo.users().get_user(pb::GetUserRequest { user_id: ben }).await.unwrap().into_inner();
    assert_eq!(found[0], alone);
    assert_eq!(get(vec![]).await.unwrap().into_inner().users, []);
    assert_eq!(get((1..=200).collect()).await.unwrap().into_inner().users, []);
    for refused in [(1..=201).collect(), vec![ann, 0]] {
        assert_eq!(code(get(refused).await), ErrorCode::InvalidInput);
    }
}

#[tokio::test]
async fn a_session_is_remembered_until_another_takes_its_place() {
    let repo = Served::start().await;
    let ask = pb::GetUserSessionRequest { user_id: 5 };
    assert_eq!(code(repo.users().get_user_session(ask).await), ErrorCode::UserNotFound);
    for gateway in ["gateway-1", "gateway-2"] {
        let session = pb::UserSession { user_id: 5, gateway_id: gateway.into(), login_at: NOW, last_seen: NOW };
        repo.users().set_user_session(session.clone()).await.unwrap();
        assert_eq!(repo.users().get_user_session(ask).await.unwrap().into_inner(), session);
    }
}

#[tokio::test]
async fn a_saved_message_is_on_the_topic_with_its_trace() {
    let (repo, [ann, ben]) = Served::with_users(["ann", "ben"]).await;
    let conversation = ConversationId::single(UserId(ann), UserId(ben));
    let save = pb::SaveMessageRequest {
        conversation_id: conversation.to_string(),
        sender_id: ann,
        client_msg_id: "k".repeat(64),
        message_type: "text".into(),
        content: "'); DROP TABLE users; -- 👋 {\"a\": 1}".into(),
    };
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut request = tonic::Request::new(save.clone());
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    repo.messages().save_message(request).await.unwrap();
    let mark = pb::MarkAsReadRequest { conversation_id: conversation.to_string(), user_id: ben, seq_id: 1 };
    repo.conversations().mark_as_read(mark.clone()).await.unwrap();
    let records = upstream(&repo.log, 2).await;
    let (said, headers) = &records[0];
    assert_eq!((said.conversation_id, said.sender_id, &*said.content), (conversation, UserId(ann), &*save.content));
    assert_eq!((said.kind.clone(), headers.trace.unwrap().to_string()), (Kind::Text, trace.into()));
    assert_eq!((records[1].0.kind.clone(), records[1].0.target_seq), (Kind::ReadMark, Some(Seq(1))));

    let carl = repo.user("carl").await;
    let with_nobody = ConversationId::single(UserId(ann), UserId(i64::MAX)).to_string();
    let refused = [
        (pb::SaveMessageRequest { sender_id: carl, ..save.clone() }, ErrorCode::ConversationNotFound),
        (pb::SaveMessageRequest { conversation_id: with_nobody, ..save.clone() }, ErrorCode::UserNotFound),
        (pb::SaveMessageRequest { conversation_id: "group_5".into(), ..save.clone() }, ErrorCode::ConversationNotFound),
        (pb::SaveMessageRequest { conversation_id: "single_2_1".into(), ..save.clone() }, ErrorCode::InvalidInput),
        (pb::SaveMessageRequest { client_msg_id: "k".repeat(65), ..save.clone() }, ErrorCode::InvalidInput),
        (pb::SaveMessageRequest { message_type: "joined".into(), ..save.clone() }, ErrorCode::InvalidInput),
        (pb::SaveMessageRequest { content: "x".repeat(8_193), ..save.clone() }, ErrorCode::TooLarge),
    ];
    for (request, expected) in refused {
        assert_eq!(code(repo.messages().save_message(request.clone()).await), expected, "{request:?}");
    }
    let by_carl = pb::MarkAsReadRequest { user_id: carl, ..mark };
    assert_eq!(code(repo.conversations().mark_as_read(by_carl).await), ErrorCode::ConversationNotFound);
    assert_eq!(upstream_count(&repo.log).await, 2);
}

#[tokio::test]
async fn messages_are_read_by_id_place_and_page() {
    let (repo, [ann, ben]) = Served::with_users(["ann", "ben"]).await;
    let conversation = ConversationId::single(UserId(ann), UserId(ben));
    let said = |seq| Sequenced { message_id: MessageId(900 + seq), ..text(conversation, seq, UserId(ann), "hi") };
    write(&repo.store, &(1..=60).map(said).collect::<Vec<_>>()).await;
    let mut messages = repo.messages();
    let page = messages.get_conversation_messages(history(conversation)).await.unwrap().into_inner();
    assert_eq!((page.messages.len(), page.has_more, page.last_seq, page.first_seq), (50, true, 60, 1));
    let before = pb::GetConversationMessagesRequest { before_seq: Some(11), limit: 200, ..history(conversation) };
    let page = messages.get_conversation_messages(before.clone()).await.unwrap().into_inner();
    assert_eq!((page.messages.len(), page.has_more, page.messages[0].seq_id), (10, false, 1));
    // Each has two bytes.
    let after = pb::GetConversationMessagesRequest { after_seq: Some(0), limit: 200, ..history(conversation) };
    for (range, bytes_max, seqs, has_more) in [
        (&after, 7, 1..=3, true),
        (&after, 1, 1..=1, true),
        (&after, 120, 1..=60, false),
        (&before, 7, 8..=10, true),
        (&before, 20, 1..=10, false),
    ] {
        let cut = pb::GetConversationMessagesRequest { bytes_max, ..range.clone() };
        let page = messages.get_conversation_messages(cut).await.unwrap().into_inner();
        let read: Vec<_> = page.messages.iter().map(|message| message.seq_id).collect();
        assert_eq!((read, page.has_more), (seqs.collect(), has_more), "{bytes_max}");
    }
    let by_id = pb::GetMessagesRequest { message_ids: vec![930, 5, 901], reader_id: None };
    let found = messages.get_messages(by_id).await.unwrap().into_inner().messages;
    assert_eq!(found.iter().map(|m| m.seq_id).collect::<Vec<_>>(), [30, 1]);
    let place = pb::MessagePosition { conversation_id: conversation.to_string(), seq_id: 7 };
    let at = pb::GetMessageRequest { by: Some(pb::get_message_request::By::Position(place)), reader_id: None };
    assert_eq!(messages.get_message(at).await.unwrap().into_inner().message_id, 907);
    let missing = pb::GetMessageRequest { by: Some(pb::get_message_request::By::MessageId(5)), reader_id: None };
    assert_eq!(code(messages.get_message(missing).await), ErrorCode::ConversationNotFound);
    assert_eq!(
        code(messages.get_message(pb::GetMessageRequest { by: None, reader_id: None }).await),
        ErrorCode::InvalidInput
    );

    let many = pb::GetMessagesRequest { message_ids: vec![1; 201], reader_id: None };
    assert_eq!(code(messages.get_messages(many).await), ErrorCode::InvalidInput);
    let invalid = [
        pb::GetConversationMessagesRequest { limit: 201, ..history(conversation) },
        pb::GetConversationMessagesRequest { limit: -1, ..history(conversation) },
        pb::GetConversationMessagesRequest { after_seq: Some(1), ..before.clone() },
        pb::GetConversationMessagesRequest { after_seq: Some(-1), ..history(conversation) },
        pb::GetConversationMessagesRequest { bytes_max: -1, ..history(conversation) },
        pb::GetConversationMessagesRequest { conversation_id: "elsewhere".into(), ..before },
    ];
    for request in invalid {
        assert_eq!(code(messages.get_conversation_messages(request).await), ErrorCode::InvalidInput);
    }
}

#[tokio::test]
async fn a_reader_sees_what_is_theirs_only() {
    let (repo, [ann, ben, carl]) = Served::with_users(["ann", "ben", "carl"]).await;
    let group = group_of(&repo, ann, &[]).await;
    let conversation = ConversationId::Group(GroupId(group.group_id));
    let said = |seq| Sequenced { message_id: MessageId(seq), ..text(conversation, seq, UserId(ann), "hi") };
    write(&repo.store, &[said(1), said(2)]).await;
    let add = pb::AddGroupMemberRequest { group_id: group.group_id, actor_id: ann, user_ids: vec![ben] };
    repo.groups().add_group_member(add).await.unwrap();
    write(&repo.store, &[said(3)]).await;
    let read = |reader| pb::GetConversationMessagesRequest { reader_id: Some(reader), ..history(conversation) };
    let mut conversations = repo.conversations();
    let bens = conversations.get_conversation_messages(read(ben)).await.unwrap().into_inner();
    assert_eq!((bens.first_seq, bens.messages.len(), bens.messages[0].seq_id), (3, 1, 3));
    let anns = conversations.get_conversation_messages(read(ann)).await.unwrap().into_inner();
    assert_eq!((anns.first_seq, anns.messages.len()), (1, 3));
    assert_eq!(code(conversations.get_conversation_messages(read(carl)).await), ErrorCode::ConversationNotFound);
    let access = |user_id| pb::GetAccessRequest { conversation_id: conversation.to_string(), user_id };
    let of = conversations.get_access(access(ann)).await.unwrap().into_inner();
    assert_eq!((of.member, of.role.as_str()), (true, "owner"));
    assert_eq!(code(conversations.get_access(access(carl)).await), ErrorCode::ConversationNotFound);
    let world = pb::GetAccessRequest { conversation_id: "world".into(), user_id: carl };
    assert!(conversations.get_access(world).await.unwrap().into_inner().member);
    let nowhere = pb::GetAccessRequest { conversation_id: "group_1".into(), user_id: carl };
    assert_eq!(code(conversations.get_access(nowhere).await), ErrorCode::ConversationNotFound);
}

#[tokio::test]
async fn conversations_page_by_cursor_and_forged_cursors_are_refused() {
    let (repo, [ann]) = Served::with_users(["ann"]).await;
    let said = |n: i64| Sequenced {
        message_id: MessageId(n),
        created_at: NOW + n,
        ..text(ConversationId::single(UserId(ann), UserId(n)), 1, UserId(n), "hi")
    };
    write(&repo.store, &(1..=9).map(said).collect::<Vec<_>>()).await;
    let mut conversations = repo.conversations();
    let mut ask = pb::GetConversationsRequest { user_id: ann, cursor: String::new(), limit: 4 };
    let (mut listed, mut pages) = (Vec::new(), 0);
    loop {
        let page = conversations.get_conversations(ask.clone()).await.unwrap().into_inner();
        listed.extend(page.conversations);
        pages += 1;
        if page.next_cursor.is_empty() {
            break;
        }
        ask.cursor = page.next_cursor;
    }
    let times: Vec<_> = listed.iter().map(|c| (c.kind.as_str(), c.updated_at, c.unread)).collect();
    let expected: Vec<_> = (1..=9).rev().map(|n| ("single", NOW + n, 1)).chain([("world", 0, 0)]).collect();
    assert_eq!((times, pages), (expected, 3));
    let members = {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode("m5")
    };
    let long = "A".repeat(100_000);
    for forged in ["x", "AAAA", &ask.cursor[1..], &format!("{}=", ask.cursor), &members, &long, "' OR 1=1"] {
        let request = pb::GetConversationsRequest { cursor: forged.into(), ..ask.clone() };
        assert_eq!(code(conversations.get_conversations(request).await), ErrorCode::InvalidInput);
    }
    let heads = conversations
        .get_heads(pb::GetHeadsRequest { user_id: ann, changed_since: 0, session_id: None, elapsed_ms: None })
        .await
        .unwrap();
    let heads = heads.into_inner();
    assert_eq!(heads.heads.len(), 9, "nobody has said anything in world");
    assert!(heads.as_of <= NOW && heads.as_of > 0);
}

#[tokio::test]
async fn heads_tell_of_what_is_said_after_the_clock_was_set_back() {
    const HOUR: i64 = 3_600_000;
    let (repo, [ann, ben]) = Served::with_users(["ann", "ben"]).await;
    let world = Sequenced { created_at: NOW, ..text(ConversationId::World, 1, UserId(ben), "before") };
    write(&repo.store, &[world]).await;
    let ask = |changed_since, elapsed_ms| pb::GetHeadsRequest {
        user_id: ann,
        changed_since,
        session_id: None,
        elapsed_ms: Some(elapsed_ms),
    };
    let mut conversations = repo.conversations();
    let first = conversations.get_heads(ask(0, 0)).await.unwrap().into_inner();
    assert_eq!(first.heads.len(), 1);
    repo.clock.advance_ms(-HOUR);
    let pair = ConversationId::single(UserId(ann), UserId(ben));
    let new = Sequenced { created_at: NOW - HOUR + 1_000, ..text(pair, 1, UserId(ben), "after") };
    write(&repo.store, &[new]).await;
    repo.clock.advance_ms(30_000);
    let second = conversations.get_heads(ask(first.as_of, 30_000)).await.unwrap().into_inner();
    assert!(second.heads.iter().any(|head| head.conversation_id == pair.to_string()), "{second:?}");
    // And after it was set right again.
    repo.clock.advance_ms(HOUR + 30_000);
    let third = conversations.get_heads(ask(second.as_of, 30_000)).await.unwrap().into_inner();
    assert!(third.heads.iter().any(|head| head.conversation_id == pair.to_string()), "{third:?}");
    repo.clock.advance_ms(300_000);
    let fourth = conversations.get_heads(ask(NOW + 200_000, 30_000)).await.unwrap().into_inner();
    assert_eq!(fourth.heads, [], "nothing was said since");
}

#[tokio::test]
async fn groups_are_made_changed_and_left() {
    let (repo, [ann, ben, carl]) = Served::with_users(["ann", "ben", "carl"]).await;
    let group = group_of(&repo, ann, &[ben, ben, ann]).await;
    assert_eq!((group.member_count, group.version, group.max_members, group.owner_id), (2, 1, 100_000, ann));
    tokio::time::timeout(SOON, repo.group_changed.notified()).await.expect("a change wakes the relay");
    let group_id = group.group_id;
    let mut groups = repo.groups();
    let rename = pb::UpdateGroupRequest { group_id, actor_id: ann, name: Some("Coffee".into()), description: None };
    let renamed = groups.update_group(rename).await.unwrap().into_inner();
    assert_eq!((renamed.name.as_str(), renamed.description.as_str(), renamed.version), ("Coffee", "for two", 2));
    let add = pb::AddGroupMemberRequest { group_id, actor_id: ben, user_ids: vec![carl] };
    groups.add_group_member(add.clone()).await.unwrap();
    let role = pb::SetGroupMemberRoleRequest { group_id, actor_id: ann, user_id: carl, role: "admin".into() };
    groups.set_group_member_role(role.clone()).await.unwrap();
    repo.online.lock().unwrap().push(UserId(carl));
    let list = pb::GetGroupMembersRequest { group_id, cursor: String::new(), limit: 2, reader_id: Some(ben) };
    let page = groups.get_group_members(list.clone()).await.unwrap().into_inner();
    assert_eq!(page.members.iter().map(|m| (m.user_id, m.online)).collect::<Vec<_>>(), [(ann, false), (ben, false)]);
    let next = pb::GetGroupMembersRequest { cursor: page.next_cursor, ..list.clone() };
    let page = groups.get_group_members(next).await.unwrap().into_inner();
    assert_eq!((page.members[0].role.as_str(), page.members[0].online, page.next_cursor.as_str()), ("admin", true, ""));
    let online = groups.get_online_group_members(list.clone()).await.unwrap().into_inner();
    assert_eq!(online.members.iter().map(|m| m.user_id).collect::<Vec<_>>(), [carl]);
    let remove = pb::RemoveGroupMemberRequest { group_id, actor_id: ben, user_id: ben };
    groups.remove_group_member(remove).await.unwrap();

    let too_many = pb::AddGroupMemberRequest { user_ids: vec![carl; 1_001], ..add.clone() };
    assert_eq!(code(groups.add_group_member(too_many).await), ErrorCode::InvalidInput);
    let nobody = pb::AddGroupMemberRequest { user_ids: vec![], ..add };
    assert_eq!(code(groups.add_group_member(nobody).await), ErrorCode::InvalidInput);
    let king = pb::SetGroupMemberRoleRequest { role: "king".into(), ..role };
    assert_eq!(code(groups.set_group_member_role(king).await), ErrorCode::InvalidInput);
    assert_eq!(code(groups.get_group_members(list.clone()).await), ErrorCode::ConversationNotFound);
    let forged = pb::GetGroupMembersRequest { cursor: "forged".into(), reader_id: None, ..list };
    assert_eq!(code(groups.get_group_members(forged).await), ErrorCode::InvalidInput);
    let by_carl = pb::DissolveGroupRequest { group_id, actor_id: carl };
    assert_eq!(code(groups.dissolve_group(by_carl).await), ErrorCode::PermissionDenied);
    groups.dissolve_group(pb::DissolveGroupRequest { group_id, actor_id: ann }).await.unwrap();
    let ended = groups.get_group(pb::GetGroupRequest { group_id, reader_id: Some(ann) }).await.unwrap().into_inner();
    assert_eq!((ended.dissolved, ended.version), (true, 6));
    let waiting = repo.files.store.outbox(100).await.unwrap();
    assert_eq!(waiting.len(), 6);
    let keys: std::collections::HashSet<_> = waiting.iter().map(|row| row.client_msg_id.as_str()).collect();
    assert!(keys.len() == 6 && keys.iter().all(|key| key.len() <= 64));
}

#[tokio::test]
async fn memberships_come_group_by_group_and_unknown_groups_are_left_out() {
    let (repo, [ann, ben]) = Served::with_users(["ann", "ben"]).await;
    let (a, b) = (group_of(&repo, ann, &[ben]).await.group_id, group_of(&repo, ben, &[]).await.group_id);
    let ask = pb::GetMembershipsRequest { group_ids: vec![a, 1, b] };
    let parts: Vec<_> = repo.groups().get_memberships(ask).await.unwrap().into_inner().try_collect().await.unwrap();
    let shape: Vec<_> =
        parts.iter().map(|p| (p.group_id, p.version, p.large, p.user_ids.clone(), p.last_part)).collect();
    assert_eq!(shape, [(a, 1, false, vec![ann, ben], true), (b, 1, false, vec![ben], true)]);
    let many = pb::GetMembershipsRequest { group_ids: vec![1; 101] };
    assert_eq!(code(repo.groups().get_memberships(many).await.map(|_| ())), ErrorCode::InvalidInput);
}
