//! `ConversationService`.

use schemas::admission::{self, Intent};
use schemas::ids::ConversationId;
use schemas::pb;
use topics::headers::TraceParent;

use super::messages::message_to_pb;
use super::upstream::trace_of;
use super::{CallError, Repo, input, service};
use crate::repo::grpc::conversation_service_server::ConversationService;
use crate::repo::model::{ConversationView, ConversationsAfter, ReadMark};

/// Heads in one answer.
const HEADS_MAX: usize = 1_000;
/// A conversation's time is that of its newest message, which is stored a little later. So heads of the last two
/// minutes are sent again, and none is missed. A repeat is harmless.
const HEADS_OVERLAP_MS: i64 = 120_000;

service! {
    ConversationService
    get_conversations(GetConversationsRequest) -> GetConversationsResponse;
    get_conversation_messages(GetConversationMessagesRequest) -> GetConversationMessagesResponse;
    mark_as_read(MarkAsReadRequest) -> Empty, trace_of;
    get_read_marks(GetReadMarksRequest) -> GetReadMarksResponse;
    create_group(CreateGroupRequest) -> Group;
    get_heads(GetHeadsRequest) -> GetHeadsResponse;
    get_access(GetAccessRequest) -> Access;
}

impl Repo {
    async fn get_conversations(
        &self,
        request: pb::GetConversationsRequest,
    ) -> Result<pb::GetConversationsResponse, CallError> {
        let user = input::user_id("user_id", request.user_id)?;
        let limit = input::PAGE.read(request.limit)?;
        let after = input::read_conversations_cursor(&request.cursor)?;
        // One more than asked for shows whether there is a next page.
        let mut views = self.store.conversations(user, after, limit + 1).await?;
        let more = views.len() > limit;
        views.truncate(limit);
        let last = views.last().filter(|_| more);
        let next = last.map(|view| ConversationsAfter { updated_at: view.updated_at, id: view.id });
        Ok(pb::GetConversationsResponse {
            next_cursor: next.map(input::conversations_cursor).unwrap_or_default(),
            conversations: views.into_iter().map(view_to_pb).collect(),
        })
    }

    async fn mark_as_read(
        &self,
        request: pb::MarkAsReadRequest,
        trace: Option<TraceParent>,
    ) -> Result<pb::Empty, CallError> {
        let user = input::user_id("user_id", request.user_id)?;
        let read = Intent::MarkRead { seq: request.seq_id };
        let record = admission::admit(user, &request.conversation_id, "", read)?;
        self.say(&record, trace).await?;
        Ok(pb::Empty {})
    }

    async fn get_read_marks(&self, request: pb::GetReadMarksRequest) -> Result<pb::GetReadMarksResponse, CallError> {
        let conversation = admission::conversation_id(&request.conversation_id)?;
        if let Some(reader) = request.reader_id {
            self.reads_from(conversation, input::user_id("reader_id", reader)?).await?;
        }
        let marks = self.store.read_marks(conversation).await?;
        let mark = |mark: ReadMark| pb::ReadMark { user_id: mark.user_id.0, seq_id: mark.seq_id.0 };
        Ok(pb::GetReadMarksResponse { read_marks: marks.into_iter().map(mark).collect() })
    }

    async fn get_heads(&self, request: pb::GetHeadsRequest) -> Result<pb::GetHeadsResponse, CallError> {
        let user = input::user_id("user_id", request.user_id)?;
        if let Some(session_id) = request.session_id {
            self.check_sign_in(pb::CheckSignInRequest { user_id: user.0, session_id }).await?;
        }
        let as_of = self.clock.now_ms() - HEADS_OVERLAP_MS;
        // Where the clock was set back, what was said since has earlier times than what was said before.
        let by_clock = request.elapsed_ms.map_or(i64::MAX, |elapsed| as_of.saturating_sub(elapsed));
        let heads = self.store.heads(user, request.changed_since.min(by_clock), HEADS_MAX).await?;
        let head = |(id, seq): (ConversationId, schemas::ids::Seq)| pb::ConversationHead {
            conversation_id: id.to_string(),
            last_seq: seq.0,
        };
        Ok(pb::GetHeadsResponse { heads: heads.into_iter().map(head).collect(), as_of })
    }

    async fn get_access(&self, request: pb::GetAccessRequest) -> Result<pb::Access, CallError> {
        let conversation = admission::conversation_id(&request.conversation_id)?;
        let standing = self.standing(conversation, input::user_id("user_id", request.user_id)?).await?;
        let role = standing.role.map(|role| role.name().to_owned()).unwrap_or_default();
        Ok(pb::Access { member: standing.may_speak, role, large: standing.large })
    }
}

fn view_to_pb(view: ConversationView) -> pb::Conversation {
    let kind = match view.id {
        ConversationId::Single { .. } => "single",
        ConversationId::Group(_) => "group",
        ConversationId::World => "world",
    };
    pb::Conversation {
        conversation_id: view.id.to_string(),
        kind: kind.to_owned(),
        title: view.title,
        last_seq: view.last_seq.0,
        read_seq: view.read_seq.0,
        unread: view.unread,
        last_message: view.last_message.map(message_to_pb),
        updated_at: view.updated_at,
    }
}
