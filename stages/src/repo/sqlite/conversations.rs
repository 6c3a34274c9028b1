//! A user's conversations, their heads, and what the user may do in them.

use std::collections::HashMap;

use schemas::ids::{ConversationId, GroupId, Seq, UserId};
use sqlx::sqlite::SqliteConnection;

use super::messages::{message_of, select_messages};
use super::{Fault, id_list, limit_of, parsed, users};
use crate::repo::model::{ConversationView, ConversationsAfter, ReadMark, Role, Standing, UserStatus};

/// Conversations of a user (`?1`), `world` always among them.
macro_rules! with_mine {
    ($rest:literal) => {
        concat!(
            "WITH mine (conversation_id, joined_seq, own_seq) AS ( \
             SELECT conversation_id, joined_seq, own_seq FROM user_conversations WHERE user_id = ?1 \
             UNION ALL SELECT 'world', 1, 0 WHERE NOT EXISTS (SELECT 1 FROM user_conversations \
             WHERE user_id = ?1 AND conversation_id = 'world')) ",
            $rest
        )
    };
}

/// Unread is counted from the later of the read mark and the own newest, and never from before the
/// user joined.
const LIST: &str = with_mine!(
    "SELECT mine.conversation_id, coalesce(c.last_seq, 0), coalesce(r.seq_id, 0), \
     max(0, coalesce(c.last_ordinal, 0) - coalesce(base.ordinal, 0)), \
     CASE WHEN c.newest_seq >= mine.joined_seq THEN c.newest_seq ELSE 0 END, coalesce(c.updated_at, 0) \
     FROM mine LEFT JOIN conversations c ON c.conversation_id = mine.conversation_id \
     LEFT JOIN read_marks r ON r.user_id = ?1 AND r.conversation_id = mine.conversation_id \
     LEFT JOIN messages base ON base.conversation_id = mine.conversation_id \
     AND base.seq_id = max(coalesce(r.seq_id, 0), mine.own_seq, mine.joined_seq - 1) \
     WHERE (coalesce(c.updated_at, 0), mine.conversation_id) < (?2, ?3) \
     ORDER BY coalesce(c.updated_at, 0) DESC, mine.conversation_id DESC LIMIT ?4"
);

type ListRow = (String, i64, i64, i64, i64, i64);

pub(super) async fn list(
    conn: &mut SqliteConnection,
    user: UserId,
    after: Option<ConversationsAfter>,
    limit: usize,
) -> Result<Vec<ConversationView>, Fault> {
    let (updated_at, id) = after.map_or((i64::MAX, String::new()), |a| (a.updated_at, a.id.to_string()));
    let rows: Vec<ListRow> =
        sqlx::query_as(LIST).bind(user.0).bind(updated_at).bind(id).bind(limit_of(limit)).fetch_all(&mut *conn).await?;
    let ids = rows.iter().map(|row| parsed(&row.0)).collect::<Result<Vec<ConversationId>, _>>()?;
    let titles = Titles::load(conn, user, &ids).await?;
    let mut views = Vec::with_capacity(rows.len());
    for (id, (text, last_seq, read_seq, unread, newest_seq, updated_at)) in ids.into_iter().zip(rows) {
        let newest = sqlx::query_as(select_messages!("WHERE m.conversation_id = ? AND m.seq_id = ?"))
            .bind(text)
            .bind(newest_seq)
            .fetch_optional(&mut *conn)
            .await?;
        views.push(ConversationView {
            title: titles.of(id, user),
            id,
            last_seq: Seq(last_seq),
            read_seq: Seq(read_seq),
            unread,
            last_message: newest.map(message_of).transpose()?,
            updated_at,
        });
    }
    Ok(views)
}

/// Names of the users and groups behind a page of conversations.
struct Titles {
    users: HashMap<i64, String>,
    groups: HashMap<i64, String>,
}

impl Titles {
    async fn load(conn: &mut SqliteConnection, user: UserId, ids: &[ConversationId]) -> Result<Self, Fault> {
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        for id in ids {
            match id {
                ConversationId::Single { .. } => users.extend(id.peer_of(user).map(|peer| peer.0)),
                ConversationId::Group(group) => groups.push(group.0),
                ConversationId::World => {}
            }
        }
        const USERS: &str = "SELECT user_id, display_name FROM users WHERE user_id IN (SELECT value FROM json_each(?))";
        const GROUPS: &str = "SELECT group_id, name FROM groups WHERE group_id IN (SELECT value FROM json_each(?))";
        let users: Vec<(i64, String)> = sqlx::query_as(USERS).bind(id_list(&users)).fetch_all(&mut *conn).await?;
        let groups: Vec<(i64, String)> = sqlx::query_as(GROUPS).bind(id_list(&groups)).fetch_all(conn).await?;
        Ok(Self { users: users.into_iter().collect(), groups: groups.into_iter().collect() })
    }

    fn of(&self, id: ConversationId, user: UserId) -> String {
        let name = match id {
            ConversationId::Single { .. } => id.peer_of(user).and_then(|peer| self.users.get(&peer.0)),
            ConversationId::Group(GroupId(group)) => self.groups.get(&group),
            ConversationId::World => return "World".into(),
        };
        name.cloned().unwrap_or_default()
    }
}

pub(super) async fn heads(
    conn: &mut SqliteConnection,
    user: UserId,
    since: i64,
    limit: usize,
) -> Result<Vec<(ConversationId, Seq)>, Fault> {
    let rows: Vec<(String, i64)> = sqlx::query_as(with_mine!(
        "SELECT c.conversation_id, c.last_seq FROM mine JOIN conversations c USING (conversation_id) \
         WHERE c.updated_at >= ?2 ORDER BY c.updated_at DESC, c.conversation_id DESC LIMIT ?3"
    ))
    .bind(user.0)
    .bind(since)
    .bind(limit_of(limit))
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|(text, seq)| Ok((parsed(&text)?, Seq(seq)))).collect()
}

pub(super) async fn read_marks(
    conn: &mut SqliteConnection,
    conversation: ConversationId,
) -> Result<Vec<ReadMark>, Fault> {
    const OF_PAIR: &str = "SELECT user_id, seq_id FROM read_marks WHERE user_id IN (?, ?) AND conversation_id = ? \
         ORDER BY user_id";
    const OF_GROUP: &str = "SELECT r.user_id, r.seq_id FROM groups g JOIN group_members m ON m.group_id = g.group_id \
         JOIN read_marks r ON r.user_id = m.user_id AND r.conversation_id = ? \
         WHERE g.group_id = ? AND g.large = 0 ORDER BY r.user_id";
    let text = conversation.to_string();
    let rows: Vec<(i64, i64)> = match conversation {
        ConversationId::Single { low, high } => {
            sqlx::query_as(OF_PAIR).bind(low.0).bind(high.0).bind(text).fetch_all(conn).await?
        }
        ConversationId::Group(group) => sqlx::query_as(OF_GROUP).bind(text).bind(group.0).fetch_all(conn).await?,
        ConversationId::World => Vec::new(),
    };
    Ok(rows.into_iter().map(|(user, seq)| ReadMark { user_id: UserId(user), seq_id: Seq(seq) }).collect())
}

pub(super) async fn standing(
    conn: &mut SqliteConnection,
    conversation: ConversationId,
    user: UserId,
) -> Result<Option<Standing>, Fault> {
    let Some(known) = users::by_id(conn, user).await? else { return Ok(None) };
    let active = match known.status {
        UserStatus::Active | UserStatus::Inactive => true,
        UserStatus::Banned => false,
    };
    let open = Standing { reads_from: active.then_some(Seq(1)), may_speak: active, role: None };
    match conversation {
        ConversationId::World => Ok(Some(open)),
        ConversationId::Single { .. } => match conversation.peer_of(user) {
            None => Ok(Some(NOTHING)),
            Some(peer) if peer == user || users::by_id(conn, peer).await?.is_some() => Ok(Some(open)),
            Some(_) => Ok(None),
        },
        ConversationId::Group(group) => {
            let standing = in_group(conn, group, user).await?;
            Ok(standing.map(|standing| if active { standing } else { NOTHING }))
        }
    }
}

const NOTHING: Standing = Standing { reads_from: None, may_speak: false, role: None };

async fn in_group(conn: &mut SqliteConnection, group: GroupId, user: UserId) -> Result<Option<Standing>, Fault> {
    let row: Option<(bool, Option<String>, i64)> = sqlx::query_as(
        "SELECT g.dissolved, m.role, coalesce(uc.joined_seq, 1) FROM groups g \
         LEFT JOIN group_members m ON m.group_id = g.group_id AND m.user_id = ?2 \
         LEFT JOIN user_conversations uc ON uc.user_id = ?2 AND uc.conversation_id = ?3 WHERE g.group_id = ?1",
    )
    .bind(group.0)
    .bind(user.0)
    .bind(ConversationId::Group(group).to_string())
    .fetch_optional(conn)
    .await?;
    let Some((dissolved, role, joined)) = row else { return Ok(None) };
    let Some(role) = role else { return Ok(Some(NOTHING)) };
    let role = Role::named(&role).ok_or(Fault::Unreadable(format!("role {role:?}")))?;
    Ok(Some(Standing { reads_from: Some(Seq(joined)), may_speak: !dissolved, role: Some(role) }))
}
