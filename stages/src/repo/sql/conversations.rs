//! A user's conversations, their heads, and what the user may do in them.

use std::collections::HashMap;

use schemas::ids::{ConversationId, GroupId, Seq, UserId};

use super::tables::Tables;
use super::{Fault, parsed, role_named};
use crate::repo::model::{ConversationView, ConversationsAfter, Standing, UserStatus};

pub(super) async fn list(
    tables: &mut dyn Tables,
    user: UserId,
    after: Option<ConversationsAfter>,
    limit: usize,
) -> Result<Vec<ConversationView>, Fault> {
    let rows = tables.list(user, after, limit).await?;
    let ids = rows.iter().map(|row| parsed(&row.0)).collect::<Result<Vec<ConversationId>, _>>()?;
    let titles = Titles::load(tables, user, &ids).await?;
    let places = rows.iter().filter(|row| row.4 > 0).map(|row| (row.0.as_str(), row.4));
    let (texts, seqs): (Vec<_>, Vec<_>) = places.unzip();
    let newest = tables.messages_at(&texts, &seqs).await?;
    let mut newest: HashMap<_, _> = newest.into_iter().map(|message| (message.conversation_id, message)).collect();
    let view = |(id, row): (ConversationId, super::tables::ListRow)| {
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

/// Names of the users and groups behind a page of conversations.
struct Titles {
    users: HashMap<i64, String>,
    groups: HashMap<i64, String>,
}

impl Titles {
    async fn load(tables: &mut dyn Tables, user: UserId, ids: &[ConversationId]) -> Result<Self, Fault> {
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        for id in ids {
            match id {
                ConversationId::Single { .. } => users.extend(id.peer_of(user).map(|peer| peer.0)),
                ConversationId::Group(group) => groups.push(group.0),
                ConversationId::World => {}
            }
        }
        let users = tables.display_names(&users).await?;
        let groups = tables.group_names(&groups).await?;
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
    tables: &mut dyn Tables,
    user: UserId,
    since: i64,
    limit: usize,
) -> Result<Vec<(ConversationId, Seq)>, Fault> {
    let rows = tables.heads(user, since, limit).await?;
    rows.into_iter().map(|(text, seq)| Ok((parsed(&text)?, Seq(seq)))).collect()
}

pub(super) async fn standing(
    tables: &mut dyn Tables,
    conversation: ConversationId,
    user: UserId,
) -> Result<Option<Standing>, Fault> {
    let Some(known) = tables.user(user).await? else { return Ok(None) };
    let active = match known.status {
        UserStatus::Active | UserStatus::Inactive => true,
        UserStatus::Banned => false,
    };
    if !active {
        return Ok(Some(Standing { banned: true, ..NOTHING }));
    }
    let open = Standing { reads_from: Some(Seq(1)), may_speak: true, role: None, banned: false };
    match conversation {
        ConversationId::World => Ok(Some(open)),
        ConversationId::Single { .. } => match conversation.peer_of(user) {
            None => Ok(Some(NOTHING)),
            Some(peer) if peer == user || tables.user(peer).await?.is_some() => Ok(Some(open)),
            Some(_) => Ok(None),
        },
        ConversationId::Group(group) => in_group(tables, group, user).await,
    }
}

const NOTHING: Standing = Standing { reads_from: None, may_speak: false, role: None, banned: false };

async fn in_group(tables: &mut dyn Tables, group: GroupId, user: UserId) -> Result<Option<Standing>, Fault> {
    let Some((dissolved, role, joined)) = tables.place_in_group(group, user).await? else { return Ok(None) };
    let Some(role) = role else { return Ok(Some(NOTHING)) };
    let role = Some(role_named(&role)?);
    Ok(Some(Standing { reads_from: Some(Seq(joined)), may_speak: !dissolved, role, banned: false }))
}
