//! Appends to `upstream-messages`, with the same checks as the gateway.

use schemas::admission;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::{ConversationId, Seq, UserId};
use schemas::records::Upstream;
use tonic::metadata::MetadataMap;
use topics::catalogue::UPSTREAM;
use topics::codec::Encoder;
use topics::headers::{Headers, HopTimes, TRACE_HEADER, TraceParent};

use super::auth::banned;
use super::{CallError, Repo};
use crate::repo::group_rules::no_conversation;
use crate::repo::model::Standing;

/// The trace that a call belongs to.
pub(super) fn trace_of(metadata: &MetadataMap) -> Option<TraceParent> {
    metadata.get(TRACE_HEADER)?.to_str().ok()?.parse().ok()
}

impl Repo {
    /// Appends a record, and returns once it is durable. Refused while the lag is over its limit, and when the sender
    /// may not speak there.
    pub(super) async fn say(&self, record: &Upstream, trace: Option<TraceParent>) -> Result<(), CallError> {
        if self.backlog.is_full() {
            return Err(admission::chain_is_full().into());
        }
        let standing = self.standing(record.conversation_id, record.sender_id).await?;
        if standing.banned {
            return Err(banned().into());
        }
        if !standing.may_speak {
            return Err(Refusal::new(ErrorCode::PermissionDenied, "the group was dissolved").into());
        }
        let headers = Headers { trace, hops: Some(HopTimes::starting(self.clock.now_ms())), ..Headers::default() };
        let mut encoder = Encoder::default();
        encoder
            .put(&UPSTREAM, &record.conversation_id, record, headers)
            .map_err(|e| CallError::internal("a record could not be encoded", e))?;
        self.log.append(encoder.finish()).await?;
        Ok(())
    }

    /// What a user may do in a conversation. If they may not read it, the answer is that it does not exist.
    pub(super) async fn standing(&self, conversation: ConversationId, user: UserId) -> Result<Standing, CallError> {
        let known = self.store.standing(conversation, user).await?;
        let theirs = known.filter(|standing| standing.banned || standing.reads_from.is_some());
        Ok(theirs.ok_or_else(|| match conversation.peer_of(user) {
            Some(_) => Refusal::new(ErrorCode::UserNotFound, "there is no such user"),
            None => no_conversation(),
        })?)
    }

    /// The first seq that a user may read in a conversation.
    pub(super) async fn reads_from(&self, conversation: ConversationId, user: UserId) -> Result<Seq, CallError> {
        Ok(self.standing(conversation, user).await?.reads_from.ok_or_else(banned)?)
    }
}
