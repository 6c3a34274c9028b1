//! Groups, their members and the events they leave.

use std::sync::Arc;

use schemas::error::ErrorCode;
use schemas::ids::{GroupId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::GroupEvent;
use stages::repo::model::{GroupChange, OutboxRow, Role};
use stages::repo::store::Store;

use super::users::code_of;
use crate::fixtures::{
    ANN, BEN, CLEO, DAN, GROUP, act, group, new_group, text, user, with_group, with_many_users, write,
};

type Dyn = Arc<dyn Store>;

fn add(users: &[UserId]) -> GroupChange {
    GroupChange::Add { user_ids: users.to_vec() }
}

fn remove(user_id: UserId) -> GroupChange {
    GroupChange::Remove { user_id }
}

fn rename(name: &str) -> GroupChange {
    GroupChange::Rename { name: Some(name.into()), description: None }
}

fn role(user_id: UserId, role: Role) -> GroupChange {
    GroupChange::SetRole { user_id, role }
}

async fn change(store: &Dyn, actor: UserId, change: GroupChange) -> Result<i64, ErrorCode> {
    let changed = store.change_group(GROUP, &change, &act(actor)).await;
    changed.map(|group| group.version).map_err(|error| code_of(&error))
}

async fn events(store: &Dyn) -> Vec<(OutboxRow, GroupEvent)> {
    let rows = store.outbox(1_000).await.unwrap();
    rows.into_iter().map(|row| (row.clone(), serde_json::from_str(&row.content).unwrap())).collect()
}

pub async fn every_change_raises_the_version_and_leaves_one_event(store: Dyn) {
    let made = with_group(&store, &[BEN], 10).await;
    assert_eq!((made.version, made.member_count, made.owner_id, made.large), (1, 2, ANN, false));
    assert_eq!(change(&store, ANN, rename("Coffee")).await, Ok(2));
    assert_eq!(change(&store, BEN, add(&[BEN, CLEO, DAN])).await, Ok(3));
    assert_eq!(change(&store, DAN, remove(DAN)).await, Ok(4));
    assert_eq!(change(&store, ANN, role(BEN, Role::Owner)).await, Ok(5));
    assert_eq!(change(&store, ANN, remove(CLEO)).await, Ok(6));
    assert_eq!(change(&store, BEN, GroupChange::Dissolve).await, Ok(7));
    let events = events(&store).await;
    let told: Vec<_> = events.iter().map(|(row, event)| (row.kind.clone(), event.version, event.actor_id)).collect();
    let expected = [
        (Kind::GroupCreated, 1, ANN),
        (Kind::Renamed, 2, ANN),
        (Kind::Joined, 3, BEN),
        (Kind::Left, 4, DAN),
        (Kind::Renamed, 5, ANN),
        (Kind::Removed, 6, ANN),
        (Kind::Dissolved, 7, BEN),
    ];
    assert_eq!(told, expected);
    assert!(events.iter().all(|(row, event)| row.conversation_id == group() && event.group_id == GROUP));
    let whom: Vec<_> = events.iter().map(|(_, event)| event.user_ids.clone()).collect();
    assert_eq!(whom, [vec![ANN, BEN], vec![], vec![CLEO, DAN], vec![DAN], vec![BEN], vec![CLEO], vec![]]);
    assert_eq!((events[1].1.name.as_deref(), events[4].1.role.as_deref()), (Some("Coffee"), Some("owner")));
    let now = store.group(GROUP).await.unwrap().unwrap();
    assert_eq!((now.owner_id, now.member_count, now.dissolved, now.name.as_str()), (BEN, 2, true, "Coffee"));
    assert_eq!(store.members_among(GROUP, &[ANN]).await.unwrap()[0].role, Role::Admin);
}

pub async fn each_actor_may_do_what_the_rules_say(store: Dyn) {
    use ErrorCode::{ConversationNotFound, InvalidInput, PermissionDenied, UserNotFound};
    let stranger = UserId(44);
    store.create_user(&user(stranger, "stranger"), None).await.unwrap();
    with_group(&store, &[BEN, CLEO, DAN], 10).await;
    change(&store, ANN, role(BEN, Role::Admin)).await.unwrap();
    let refused = [
        (stranger, add(&[stranger]), ConversationNotFound),
        (stranger, remove(stranger), ConversationNotFound),
        (stranger, rename("x"), ConversationNotFound),
        (CLEO, rename("x"), PermissionDenied),
        (CLEO, remove(DAN), PermissionDenied),
        (CLEO, role(CLEO, Role::Admin), PermissionDenied),
        (CLEO, GroupChange::Dissolve, PermissionDenied),
        (BEN, remove(ANN), PermissionDenied),
        (BEN, role(CLEO, Role::Admin), PermissionDenied),
        (BEN, GroupChange::Dissolve, PermissionDenied),
        (BEN, remove(stranger), UserNotFound),
        (ANN, remove(ANN), PermissionDenied),
        (ANN, remove(stranger), UserNotFound),
        (ANN, role(stranger, Role::Admin), UserNotFound),
        (ANN, role(ANN, Role::Member), InvalidInput),
    ];
    let before = store.group(GROUP).await.unwrap().unwrap();
    for (actor, attempt, code) in refused {
        assert_eq!(change(&store, actor, attempt.clone()).await, Err(code), "{actor} {attempt:?}");
    }
    assert_eq!(store.group(GROUP).await.unwrap().unwrap(), before);
    let missing = store.change_group(GroupId(1), &rename("x"), &act(ANN)).await.unwrap_err();
    assert_eq!(code_of(&missing), ConversationNotFound);
    assert!(change(&store, BEN, rename("x")).await.is_ok());
    assert!(change(&store, CLEO, add(&[stranger])).await.is_ok());
    assert!(change(&store, BEN, remove(stranger)).await.is_ok());
    change(&store, ANN, role(CLEO, Role::Admin)).await.unwrap();
    assert_eq!(change(&store, BEN, remove(CLEO)).await, Err(PermissionDenied));
    assert!(change(&store, ANN, remove(CLEO)).await.is_ok());
    assert!(change(&store, BEN, remove(BEN)).await.is_ok());
}

pub async fn a_full_group_takes_nobody(store: Dyn) {
    with_group(&store, &[BEN], 3).await;
    assert_eq!(change(&store, ANN, add(&[CLEO, DAN])).await, Err(ErrorCode::GroupFull));
    assert_eq!(store.membership(GROUP).await.unwrap().unwrap().user_ids, [ANN, BEN]);
    assert_eq!(change(&store, ANN, add(&[BEN, CLEO])).await, Ok(2));
    assert_eq!(change(&store, ANN, add(&[BEN, CLEO])).await, Ok(2), "members are passed over");
    assert_eq!(change(&store, ANN, add(&[DAN])).await, Err(ErrorCode::GroupFull));
    let small = new_group(GroupId(8), &[BEN, CLEO], 2);
    assert_eq!(code_of(&store.create_group(&small, &act(ANN)).await.unwrap_err()), ErrorCode::GroupFull);
    assert!(store.group(GroupId(8)).await.unwrap().is_none());
}

pub async fn what_changes_nothing_leaves_no_event(store: Dyn) {
    with_group(&store, &[BEN], 10).await;
    assert_eq!(change(&store, ANN, rename("Tea")).await, Ok(1));
    assert_eq!(change(&store, ANN, add(&[BEN])).await, Ok(1));
    assert_eq!(change(&store, ANN, role(BEN, Role::Member)).await, Ok(1));
    assert_eq!(events(&store).await.len(), 1);
}

pub async fn a_new_member_reads_from_where_they_joined(store: Dyn) {
    with_group(&store, &[BEN], 10).await;
    let batch: Vec<_> = (1..=5).map(|seq| text(group(), seq, BEN, "before")).collect();
    write(&store, &batch).await;
    change(&store, BEN, add(&[CLEO])).await.unwrap();
    let standing = store.standing(group(), CLEO).await.unwrap().unwrap();
    assert_eq!((standing.reads_from, standing.may_speak, standing.role), (Some(Seq(6)), true, Some(Role::Member)));
    let view = async |user| {
        let views = store.conversations(user, None, 10).await.unwrap();
        views.into_iter().find(|view| view.id == group()).unwrap()
    };
    let cleos = view(CLEO).await;
    assert_eq!((cleos.unread, cleos.last_message, cleos.title.as_str()), (0, None, "Tea"));
    write(&store, &[text(group(), 6, BEN, "after")]).await;
    assert_eq!((view(CLEO).await.unread, view(ANN).await.unread, view(BEN).await.unread), (1, 6, 0));
    assert_eq!(view(CLEO).await.last_message.unwrap().content, "after");
}

pub async fn who_left_has_nothing_any_more(store: Dyn) {
    with_group(&store, &[BEN], 10).await;
    write(&store, &[text(group(), 1, BEN, "a")]).await;
    change(&store, BEN, remove(BEN)).await.unwrap();
    write(&store, &[text(group(), 2, BEN, "late"), text(group(), 3, ANN, "b")]).await;
    let standing = store.standing(group(), BEN).await.unwrap().unwrap();
    assert_eq!((standing.reads_from, standing.may_speak, standing.role), (None, false, None));
    assert!(store.conversations(BEN, None, 10).await.unwrap().iter().all(|view| view.id != group()));
    change(&store, ANN, add(&[BEN])).await.unwrap();
    assert_eq!(store.standing(group(), BEN).await.unwrap().unwrap().reads_from, Some(Seq(4)));
    assert!(store.standing(group(), UserId(1)).await.unwrap().is_none());
}

pub async fn a_group_once_large_stays_large(store: Dyn) {
    let many = with_many_users(&store, 500).await;
    with_group(&store, &many[..499], 1_000).await;
    let membership = store.membership(GROUP).await.unwrap().unwrap();
    assert_eq!((membership.user_ids.len(), membership.large, membership.version), (500, false, 1));
    change(&store, ANN, add(&many)).await.unwrap();
    assert!(store.membership(GROUP).await.unwrap().unwrap().large);
    change(&store, ANN, remove(many[0])).await.unwrap();
    let membership = store.membership(GROUP).await.unwrap().unwrap();
    assert_eq!((membership.user_ids.len(), membership.large, membership.version), (500, true, 3));
    assert!(membership.user_ids.is_sorted());
    assert!(store.membership(GroupId(1)).await.unwrap().is_none());
}

pub async fn an_unknown_user_is_named_and_nobody_is_added(store: Dyn) {
    with_group(&store, &[], 10).await;
    let error = store.change_group(GROUP, &add(&[BEN, UserId(404)]), &act(ANN)).await.unwrap_err();
    assert_eq!(code_of(&error), ErrorCode::UserNotFound);
    assert!(error.to_string().contains("404"), "{error}");
    assert_eq!(store.membership(GROUP).await.unwrap().unwrap().user_ids, [ANN]);
}

pub async fn a_dissolved_group_keeps_its_history_only(store: Dyn) {
    with_group(&store, &[BEN], 10).await;
    change(&store, ANN, GroupChange::Dissolve).await.unwrap();
    let standing = store.standing(group(), BEN).await.unwrap().unwrap();
    assert_eq!((standing.reads_from, standing.may_speak), (Some(Seq(1)), false));
    for attempt in [rename("x"), add(&[CLEO]), remove(BEN), role(BEN, Role::Admin), GroupChange::Dissolve] {
        assert_eq!(change(&store, ANN, attempt).await, Err(ErrorCode::ConversationNotFound));
    }
    assert_eq!(events(&store).await.len(), 2);
}

pub async fn published_events_are_gone(store: Dyn) {
    with_group(&store, &[BEN], 10).await;
    for name in ["a", "b", "c"] {
        change(&store, ANN, rename(name)).await.unwrap();
    }
    let rows = store.outbox(3).await.unwrap();
    assert!(rows.len() == 3 && rows.windows(2).all(|pair| pair[0].id < pair[1].id));
    store.outbox_published(&[rows[0].id, rows[2].id]).await.unwrap();
    let left: Vec<_> = events(&store).await.into_iter().map(|(_, event)| event.version).collect();
    assert_eq!(left, [2, 4]);
}

pub async fn members_come_page_by_page(store: Dyn) {
    with_group(&store, &[DAN, CLEO, BEN], 10).await;
    let first = store.members(GROUP, UserId(0), 3).await.unwrap();
    assert_eq!(
        first.iter().map(|m| (m.user_id, m.role)).collect::<Vec<_>>(),
        [(ANN, Role::Owner), (BEN, Role::Member), (CLEO, Role::Member)]
    );
    assert_eq!((first[1].username.as_str(), first[1].display_name.as_str()), ("ben", "BEN"));
    let rest = store.members(GROUP, CLEO, 3).await.unwrap();
    assert_eq!(rest.iter().map(|m| m.user_id).collect::<Vec<_>>(), [DAN]);
    let among = store.members_among(GROUP, &[DAN, UserId(5), ANN]).await.unwrap();
    assert_eq!(among.iter().map(|m| m.user_id).collect::<Vec<_>>(), [ANN, DAN]);
}

pub async fn a_group_made_twice_is_there_once(store: Dyn) {
    let make = |actor| {
        let store = Arc::clone(&store);
        let group = new_group(GROUP, &[ANN, BEN], 10);
        tokio::spawn(async move { store.create_group(&group, &act(actor)).await })
    };
    let at_once: Vec<_> = (0..4).map(|_| make(ANN)).collect();
    for made in at_once {
        assert_eq!(made.await.unwrap().unwrap().version, 1);
    }
    change(&store, ANN, rename("Coffee")).await.unwrap();
    let again = make(ANN).await.unwrap().unwrap();
    assert_eq!((again.name.as_str(), again.version, again.member_count), ("Coffee", 2, 2));
    assert_eq!(code_of(&make(CLEO).await.unwrap().unwrap_err()), ErrorCode::PermissionDenied);
    assert_eq!(events(&store).await.len(), 2);
    assert_eq!(store.membership(GROUP).await.unwrap().unwrap().user_ids, [ANN, BEN]);
}
