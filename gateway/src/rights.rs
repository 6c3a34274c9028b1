//! What a user may do in a conversation. The repo decides; grants are cached for at most five seconds, and dropped
//! earlier when a delivered group event takes them away.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::{EventClass, Kind, MemberChange};
use schemas::pb::{self, get_message_request::By};
use schemas::records::{Delivery, GroupEvent, Upstream};

use crate::config::{GatewayConfig, TYPING_MEMBERS_MAX, Writers};
use crate::repo::Repo;

/// Longest lifetime of a cached grant.
const AGE_MAX: Duration = Duration::from_secs(5);

/// Checks rights, and knows the members of small groups. Clones share the caches.
#[derive(Debug, Clone)]
pub struct Rights {
    repo: Repo,
    /// Only grants are cached, so that a new member is let in at once.
    granted: Cache<(UserId, ConversationId), Granted>,
    /// `None`: too large for typing signals.
    members: Cache<GroupId, Option<Arc<[UserId]>>>,
    members_max: usize,
    world_writers: Arc<[UserId]>,
    large_group_writers: Writers,
}

/// What a user may do in a conversation that they may read.
#[derive(Debug, Clone, Copy)]
pub struct Granted {
    /// May say something new there.
    pub writes: bool,
    /// What is said there goes to many: it is `world`, or a large group.
    pub to_crowd: bool,
}

impl Rights {
    /// With empty caches.
    pub fn new(repo: Repo, config: &GatewayConfig) -> Self {
        let age = Duration::from_millis(config.access_cache_ms).min(AGE_MAX);
        let (entries_max, members_max) = (config.access_cache_entries_max, config.typing_members_max);
        Self {
            repo,
            world_writers: config.world_writers.as_slice().into(),
            large_group_writers: config.large_group_writers,
            granted: Cache::builder().max_capacity(entries_max).time_to_live(age).build(),
            members: Cache::builder().max_capacity(entries_max / 100 + 1).time_to_live(age).build(),
            members_max,
        }
    }

    /// What a user may do in a conversation.
    ///
    /// # Errors
    /// ConversationNotFound when there is none, or the user may not read it; UserNotFound when there is no such
    /// peer; PermissionDenied when the user is banned or the group dissolved; Busy when the repo does not answer.
    pub async fn check_member(&self, user: UserId, conversation: ConversationId) -> Result<Granted, Refusal> {
        match conversation {
            ConversationId::Single { .. } if conversation.peer_of(user).is_none() => return Err(absent()),
            // The world is open to all who are not banned.
            ConversationId::Single { .. } | ConversationId::Group(_) | ConversationId::World => {}
        }
        if let Some(granted) = self.granted.get(&(user, conversation)).await {
            return Ok(granted);
        }
        let request = pb::GetAccessRequest { conversation_id: conversation.to_string(), user_id: user.0 };
        let access = self.repo.of(user).get_access(request).await?;
        if !access.member {
            let message = "nothing can be said here: the group was dissolved, or you are banned";
            return Err(Refusal::new(ErrorCode::PermissionDenied, message));
        }
        let granted = match conversation {
            ConversationId::Single { .. } => Granted { writes: true, to_crowd: false },
            ConversationId::World => {
                let writes = self.world_writers.is_empty() || self.world_writers.contains(&user);
                Granted { writes, to_crowd: true }
            }
            ConversationId::Group(_) => {
                let writes = match self.large_group_writers {
                    Writers::Members => true,
                    Writers::Admins => !access.large || matches!(&*access.role, "owner" | "admin"),
                };
                Granted { writes, to_crowd: access.large }
            }
        };
        self.granted.insert((user, conversation), granted).await;
        Ok(granted)
    }

    /// Forgets the rights that a delivery takes away: of who left the group or was removed, of all when it ended.
    pub async fn forget_former_members(&self, delivery: &Delivery) {
        let message = &delivery.message;
        let (ConversationId::Group(group), Some(change)) = (message.conversation_id, message.kind.rules().members)
        else {
            return;
        };
        // The delivery goes to every former member who is online here.
        let former: Cow<'_, [UserId]> = match change {
            MemberChange::Leave => match serde_json::from_str::<GroupEvent>(&message.content) {
                Ok(event) => event.user_ids.into(),
                Err(_of_a_newer_version) => (&delivery.recipients).into(),
            },
            MemberChange::Dissolve => (&delivery.recipients).into(),
            MemberChange::Join | MemberChange::Create => Cow::default(),
            MemberChange::Nothing => return,
        };
        self.members.invalidate(&group).await;
        for &user in former.iter() {
            self.granted.invalidate(&(user, message.conversation_id)).await;
        }
    }

    /// Checks that the message that an edit, recall or reaction is about exists, and that this sender may change it.
    /// Accepts every other kind.
    ///
    /// # Errors
    /// ConversationNotFound when it is not there, or the sender may not read it; PermissionDenied when it is not the
    /// sender's own; InvalidInput when it is recalled or not something a user said, or has the clientMsgId of the
    /// record.
    pub async fn check_target(&self, record: &Upstream) -> Result<(), Refusal> {
        let (Kind::Edit | Kind::Recall | Kind::Reaction) = record.kind else { return Ok(()) };
        let Some(seq) = record.target_seq else { return Err(Refusal::invalid("targetSeqId is missing")) };
        let position = pb::MessagePosition { conversation_id: record.conversation_id.to_string(), seq_id: seq.0 };
        let reader_id = Some(record.sender_id.0);
        let repo = self.repo.of(record.sender_id);
        let target = repo.get_message(pb::GetMessageRequest { by: Some(By::Position(position)), reader_id }).await?;
        if Kind::named(&target.kind).class() != EventClass::Message {
            return Err(Refusal::invalid("targetSeqId is not of a message that somebody sent"));
        }
        if target.sender_id == record.sender_id.0 && *target.client_msg_id == *record.client_msg_id {
            // The chain would drop it as a repeat of the message.
            return Err(Refusal::invalid(
                "this clientMsgId is that of the message itself: give each edit, recall and reaction a new one",
            ));
        }
        if target.recalled {
            return Err(Refusal::invalid("the message was recalled"));
        }
        if record.kind != Kind::Reaction && target.sender_id != record.sender_id.0 {
            return Err(Refusal::new(ErrorCode::PermissionDenied, "only the sender may change a message"));
        }
        Ok(())
    }

    /// Who gets a typing signal in a conversation: nobody in large groups and in the world.
    ///
    /// # Errors
    /// Busy when the repo does not answer.
    pub async fn typing_recipients(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Arc<[UserId]>, Refusal> {
        match conversation {
            ConversationId::World => Ok(Arc::from([])),
            ConversationId::Single { .. } => Ok(conversation.peer_of(user).into_iter().collect()),
            ConversationId::Group(group) => Ok(self.members(user, group).await?.unwrap_or_default()),
        }
    }

    async fn members(&self, asker: UserId, group: GroupId) -> Result<Option<Arc<[UserId]>>, Refusal> {
        if let Some(members) = self.members.get(&group).await {
            return Ok(members);
        }
        let limit = i32::try_from(self.members_max.clamp(1, TYPING_MEMBERS_MAX)).unwrap_or(i32::MAX);
        let request = pb::GetGroupMembersRequest { group_id: group.0, limit, cursor: String::new(), reader_id: None };
        let page = self.repo.of(asker).get_group_members(request).await?;
        let all = page.next_cursor.is_empty();
        let members = all.then(|| page.members.iter().map(|member| UserId(member.user_id)).collect());
        self.members.insert(group, members.clone()).await;
        Ok(members)
    }
}

/// Says the same as the repo, so that clients see no difference.
fn absent() -> Refusal {
    Refusal::new(ErrorCode::ConversationNotFound, "there is no such conversation")
}
