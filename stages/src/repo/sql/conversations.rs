//! A user's conversations, their heads, and what the user may do in them.

use std::collections::HashMap;

use schemas::ids::{ConversationId, GroupId, Seq, UserId};

use super::fault::Fault;
use super::rows::{limit_of, parsed, read_mark_of, role_named};
use super::session::{Session, values};
use super::statement::Statement;
use crate::repo::model::{ConversationView, ConversationsAfter, ReadMark, Standing, UserStatus};

/// Conversations of a user (`$1`), `world` always among them.
macro_rules! with_mine {
    ($rest:literal) => {
        concat!(
            "WITH mine (conversation_id, joined_seq, own_seq) AS ( \
             SELECT conversation_id, joined_seq, own_seq FROM user_conversations WHERE user_id = $1 \
             UNION ALL SELECT 'world', 1, 0 FROM (SELECT 1) AS one WHERE NOT EXISTS (SELECT 1 \
             FROM user_conversations WHERE user_id = $1 AND conversation_id = 'world')) ",
            $rest
        )
    };
}

/// conversation_id, last_seq, read_seq, unread, newest_seq (0: none that the user may see), updated_at.
type ListRow = (String, i64, i64, i64, i64, i64);

const NOTHING: Standing = Standing { reads_from: None, may_speak: false, role: None, large: false, banned: false };

/// Names of the users and groups behind a page of conversations.
struct Titles {
    users: HashMap<i64, String>,
    groups: HashMap<i64, String>,
}

impl Titles {
    async fn load(session: &mut Session<'_>, user: UserId, ids: &[ConversationId]) -> Result<Self, Fault> {
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        for id in ids {
            match id {
                ConversationId::Single { .. } => users.extend(id.peer_of(user).map(|peer| peer.0)),
                ConversationId::Group(group) => groups.push(group.0),
                ConversationId::World => {}
            }
        }
        let users = session.display_names(&users).await?;
        let groups = session.group_names(&groups).await?;
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

impl Session<'_> {
    /// Newest first, `world` always among them.
    pub(super) async fn conversations(
        &mut self,
        user: UserId,
        after: Option<ConversationsAfter>,
        limit: usize,
    ) -> Result<Vec<ConversationView>, Fault> {
        let rows = self.conversation_rows(user, after, limit).await?;
        let ids = rows.iter().map(|row| parsed(&row.0)).collect::<Result<Vec<ConversationId>, _>>()?;
        let titles = Titles::load(self, user, &ids).await?;
        let places = rows.iter().filter(|row| row.4 > 0).map(|row| (row.0.as_str(), row.4));
        let (texts, seqs): (Vec<_>, Vec<_>) = places.unzip();
        let newest = self.pages().messages_at(&texts, &seqs).await?;
        let mut newest: HashMap<_, _> = newest.into_iter().map(|message| (message.conversation_id, message)).collect();
        let view = |(id, row): (ConversationId, ListRow)| {
            let (_, last_seq, read_seq, unread, _, updated_at) = row;
            ConversationView {
                title: titles.of(id, user),
                id,
                last_seq: Seq(last_seq),
                read_seq: Seq(read_seq),
                unread,
                last_message: newest.remove(&id),
                updated_at,
            }
        };
        Ok(ids.into_iter().zip(rows).map(view).collect())
    }

    /// Unread is counted from the later of the read mark and the own newest, and never from before the user
    /// joined, nor what was removed.
    async fn conversation_rows(
        &mut self,
        user: UserId,
        after: Option<ConversationsAfter>,
        limit: usize,
    ) -> Result<Vec<ListRow>, Fault> {
        static SELECT: Statement = Statement::new(with_mine!(
            "SELECT mine.conversation_id, coalesce(c.last_seq, 0), coalesce(r.seq_id, 0), \
             greatest(0, coalesce(c.last_ordinal, 0) - greatest(coalesce(base.ordinal, 0), coalesce(t.ordinal, 0))), \
             CASE WHEN c.newest_seq >= mine.joined_seq THEN c.newest_seq ELSE 0 END, coalesce(c.updated_at, 0) \
             FROM mine LEFT JOIN conversations c ON c.conversation_id = mine.conversation_id \
             LEFT JOIN retired t ON t.conversation_id = mine.conversation_id \
             LEFT JOIN read_marks r ON r.user_id = $1 AND r.conversation_id = mine.conversation_id \
             LEFT JOIN messages base ON base.conversation_id = mine.conversation_id \
             AND base.seq_id = greatest(coalesce(r.seq_id, 0), mine.own_seq, mine.joined_seq - 1) \
             WHERE (coalesce(c.updated_at, 0), mine.conversation_id) < ($2, $3) \
             ORDER BY coalesce(c.updated_at, 0) DESC, mine.conversation_id DESC LIMIT $4"
        ));
        let (updated_at, id) = after.map_or((i64::MAX, String::new()), |a| (a.updated_at, a.id.to_string()));
        Ok(self.rows(&SELECT, values![user, updated_at, &id, limit_of(limit)]).await?)
    }

    pub(super) async fn heads(
        &mut self,
        user: UserId,
        since: i64,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Seq)>, Fault> {
        static SELECT: Statement = Statement::new(with_mine!(
            "SELECT c.conversation_id, c.last_seq FROM mine JOIN conversations c USING (conversation_id) \
             WHERE c.updated_at >= $2 ORDER BY c.updated_at DESC, c.conversation_id DESC LIMIT $3"
        ));
        let rows: Vec<(String, i64)> = self.rows(&SELECT, values![user, since, limit_of(limit)]).await?;
        rows.into_iter().map(|(text, seq)| Ok((parsed(&text)?, Seq(seq)))).collect()
    }

    /// Of the users of a pair, or the members of a group that is not large, by user id; none of others.
    pub(super) async fn read_marks(&mut self, conversation: ConversationId) -> Result<Vec<ReadMark>, Fault> {
        static OF_PAIR: Statement = Statement::new(
            "SELECT user_id, seq_id FROM read_marks WHERE user_id IN ($1, $2) AND conversation_id = $3 \
             ORDER BY user_id",
        );
        static OF_GROUP: Statement = Statement::new(
            "SELECT r.user_id, r.seq_id FROM groups g JOIN group_members m ON m.group_id = g.group_id \
             JOIN read_marks r ON r.user_id = m.user_id AND r.conversation_id = $1 \
             WHERE g.group_id = $2 AND NOT g.large ORDER BY r.user_id",
        );
        let text = conversation.to_string();
        let rows = match conversation {
            ConversationId::Single { low, high } => self.rows(&OF_PAIR, values![low, high, &text]).await?,
            ConversationId::Group(group) => self.rows(&OF_GROUP, values![&text, group]).await?,
            ConversationId::World => Vec::new(),
        };
        Ok(rows.into_iter().map(read_mark_of).collect())
    }

    async fn display_names(&mut self, users: &[i64]) -> Result<Vec<(i64, String)>, Fault> {
        static SELECT: Statement = Statement::new("SELECT user_id, display_name FROM users WHERE user_id = ANY($1)")
            .mysql(
                "SELECT u.user_id, u.display_name FROM UNNEST($1::bigint[]) AS given (id) \
                 STRAIGHT_JOIN users u ON u.user_id = given.id",
            );
        Ok(self.rows(&SELECT, values![users]).await?)
    }

    async fn group_names(&mut self, groups: &[i64]) -> Result<Vec<(i64, String)>, Fault> {
        static SELECT: Statement = Statement::new("SELECT group_id, name FROM groups WHERE group_id = ANY($1)").mysql(
            "SELECT g.group_id, g.name FROM UNNEST($1::bigint[]) AS given (id) \
             STRAIGHT_JOIN groups g ON g.group_id = given.id",
        );
        Ok(self.rows(&SELECT, values![groups]).await?)
    }

    /// What a user may do in a conversation. `None`: there is none.
    pub(super) async fn standing(
        &mut self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Option<Standing>, Fault> {
        let Some(known) = self.user(user).await? else { return Ok(None) };
        let active = match known.status {
            UserStatus::Active | UserStatus::Inactive => true,
            UserStatus::Banned => false,
        };
        if !active {
            return Ok(Some(Standing { banned: true, ..NOTHING }));
        }
        let open = Standing { reads_from: Some(Seq(1)), may_speak: true, ..NOTHING };
        match conversation {
            ConversationId::World => Ok(Some(open)),
            ConversationId::Single { .. } => match conversation.peer_of(user) {
                None => Ok(Some(NOTHING)),
                Some(peer) if peer == user || self.user(peer).await?.is_some() => Ok(Some(open)),
                Some(_) => Ok(None),
            },
            ConversationId::Group(group) => self.standing_in_group(group, user).await,
        }
    }

    async fn standing_in_group(&mut self, group: GroupId, user: UserId) -> Result<Option<Standing>, Fault> {
        /// Whether the group is dissolved and large, the user's role in it, and the seq from which they read.
        type Place = (bool, bool, Option<String>, i64);
        static SELECT: Statement = Statement::new(
            "SELECT g.dissolved, g.large, m.role, coalesce(uc.joined_seq, 1) FROM groups g \
             LEFT JOIN group_members m ON m.group_id = g.group_id AND m.user_id = $2 \
             LEFT JOIN user_conversations uc ON uc.user_id = $2 AND uc.conversation_id = $3 WHERE g.group_id = $1",
        );
        let conversation = ConversationId::Group(group).to_string();
        let row: Option<Place> = self.row(&SELECT, values![group, user, &conversation]).await?;
        let Some((dissolved, large, role, joined)) = row else { return Ok(None) };
        let Some(role) = role else { return Ok(Some(NOTHING)) };
        let role = Some(role_named(&role)?);
        Ok(Some(Standing { reads_from: Some(Seq(joined)), may_speak: !dissolved, role, large, ..NOTHING }))
    }
}
