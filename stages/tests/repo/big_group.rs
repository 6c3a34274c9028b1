//! A group of 100,000: made by ordinary calls, paged, and loaded whole.

use std::time::Duration;

use futures::TryStreamExt;
use schemas::error::ErrorCode;
use schemas::pb;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::Instant;

use crate::served::{Served, code};

const MEMBERS: i64 = 100_000;
/// What one call adds.
const ADDED_AT_ONCE: usize = 1_000;
/// Loading takes some 0.1 s on an idle machine, and shall take less than 1 s; a test shares its machine.
const LOAD_TIME_MAX: Duration = Duration::from_secs(5);

/// One user more than the group may have.
async fn users(repo: &Served) -> Vec<i64> {
    let path = repo.files.dir.path().join("repo.db");
    let mut file = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::query(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= ?) \
         INSERT INTO users (user_id, username, display_name, avatar_url, email, status, created_at) \
         SELECT 5000000 + i, 'user' || i, 'User ' || i, '', '', 'active', 0 FROM n",
    )
    .bind(MEMBERS)
    .execute(&mut file)
    .await
    .unwrap();
    (1..=MEMBERS + 1).map(|i| 5_000_000 + i).collect()
}

#[tokio::test]
async fn a_group_of_a_hundred_thousand_is_paged_and_loaded_within_the_bound() {
    let repo = Served::start().await;
    let users = users(&repo).await;
    let (members, one_more) = users.split_at(MEMBERS as usize);
    let mut groups = repo.groups();
    let new = pb::CreateGroupRequest { owner_id: members[0], name: "All".into(), ..Default::default() };
    let group_id = groups.create_group(new).await.unwrap().into_inner().group_id;
    let made = Instant::now();
    for some in members[1..].chunks(ADDED_AT_ONCE) {
        let add = pb::AddGroupMemberRequest { group_id, actor_id: members[0], user_ids: some.to_vec() };
        groups.add_group_member(add).await.unwrap();
    }
    let made = made.elapsed();

    let loaded = Instant::now();
    let ask = pb::GetMembershipsRequest { group_ids: vec![group_id] };
    let parts: Vec<_> = groups.get_memberships(ask).await.unwrap().into_inner().try_collect().await.unwrap();
    let loaded = loaded.elapsed();
    assert_eq!(parts.iter().flat_map(|part| &part.user_ids).copied().collect::<Vec<_>>(), members);
    assert!(parts.len() == 10 && parts.iter().all(|part| part.version == 101 && part.large), "{}", parts.len());

    let (paged, mut found, mut cursor) = (Instant::now(), Vec::new(), String::new());
    loop {
        let ask = pb::GetGroupMembersRequest { group_id, cursor, limit: 1_000, reader_id: Some(members[7]) };
        let page = groups.get_group_members(ask).await.unwrap().into_inner();
        found.extend(page.members.into_iter().map(|member| member.user_id));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    let paged = paged.elapsed();
    assert_eq!(found, members);
    println!("{MEMBERS} members: added in {made:?}, loaded whole in {loaded:?}, paged by 1,000 in {paged:?}");
    assert!(loaded < LOAD_TIME_MAX, "loading {MEMBERS} members took {loaded:?}");

    let full = pb::AddGroupMemberRequest { group_id, actor_id: members[0], user_ids: one_more.to_vec() };
    assert_eq!(code(groups.add_group_member(full).await), ErrorCode::GroupFull);
    let group = groups.get_group(pb::GetGroupRequest { group_id, reader_id: None }).await.unwrap().into_inner();
    assert_eq!((i64::from(group.member_count), group.version), (MEMBERS, 101));
}
