//! `MessageRepo`, and the history that `ConversationService` shows too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use schemas::admission::{self, Intent};
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::{ConversationId, Seq};
use schemas::pb;
use topics::headers::TraceParent;

use super::upstream::trace_of;
use super::{CallError, Repo, input, service};
use crate::repo::grpc::message_repo_server::MessageRepo;
use crate::repo::model::{HistoryRange, Message};

/// Ids in one GetMessages.
const MESSAGE_IDS_MAX: usize = 200;

service! {
    MessageRepo
    get_message(GetMessageRequest) -> Message;
    get_messages(GetMessagesRequest) -> GetMessagesResponse;
    get_conversation_messages(GetConversationMessagesRequest) -> GetConversationMessagesResponse;
    save_message(SaveMessageRequest) -> Empty, trace_of;
}

impl Repo {
    async fn get_message(&self, request: pb::GetMessageRequest) -> Result<pb::Message, CallError> {
        use pb::get_message_request::By;
        let found = match request.by {
            Some(By::MessageId(id)) => self.store.messages(&[input::message_id(id)?]).await?.pop(),
            Some(By::Position(pb::MessagePosition { conversation_id, seq_id })) => {
                let conversation = admission::conversation_id(&conversation_id)?;
                self.store.message_at(conversation, Seq(input::positive("seq_id", seq_id)?)).await?
            }
            None => return Err(Refusal::invalid("message_id or position is to be set").into()),
        };
        let reader = request.reader_id.map(|reader| input::user_id("reader_id", reader)).transpose()?;
        let shown = match (found, reader) {
            (Some(found), Some(reader)) => {
                let standing = self.store.standing(found.conversation_id, reader).await?;
                let first = standing.and_then(|standing| standing.reads_from);
                first.is_some_and(|first| found.seq_id >= first).then_some(found)
            }
            (found, _) => found,
        };
        let missing = || Refusal::new(ErrorCode::ConversationNotFound, "there is no such message");
        Ok(message_to_pb(shown.ok_or_else(missing)?))
    }

    async fn get_messages(&self, request: pb::GetMessagesRequest) -> Result<pb::GetMessagesResponse, CallError> {
        input::check_count("message_ids", request.message_ids.len(), MESSAGE_IDS_MAX)?;
        let ids = request.message_ids.into_iter().map(input::message_id).collect::<Result<Vec<_>, _>>()?;
        let mut messages = self.store.messages(&ids).await?;
        if let Some(reader) = request.reader_id {
            let reader = input::user_id("reader_id", reader)?;
            let mut first_of: HashMap<ConversationId, Option<Seq>> = HashMap::new();
            for message in &messages {
                if let Entry::Vacant(unknown) = first_of.entry(message.conversation_id) {
                    let standing = self.store.standing(message.conversation_id, reader).await?;
                    unknown.insert(standing.and_then(|standing| standing.reads_from));
                }
            }
            messages.retain(|message| first_of[&message.conversation_id].is_some_and(|first| message.seq_id >= first));
        }
        Ok(pb::GetMessagesResponse { messages: messages.into_iter().map(message_to_pb).collect() })
    }

    pub(super) async fn get_conversation_messages(
        &self,
        request: pb::GetConversationMessagesRequest,
    ) -> Result<pb::GetConversationMessagesResponse, CallError> {
        let conversation = admission::conversation_id(&request.conversation_id)?;
        let limit = input::PAGE.read(request.limit)?;
        let range = match (request.before_seq, request.after_seq) {
            (None, None) => HistoryRange::Newest,
            (Some(seq), None) => HistoryRange::Before(Seq(input::positive("before_seq", seq)?)),
            (None, Some(seq)) if seq >= 0 => HistoryRange::After(Seq(seq)),
            (None, Some(_)) => return Err(Refusal::invalid("after_seq is not negative").into()),
            (Some(_), Some(_)) => return Err(Refusal::invalid("before_seq or after_seq, not both").into()),
        };
        let first = match request.reader_id {
            Some(reader) => self.reads_from(conversation, input::user_id("reader_id", reader)?).await?,
            None => Seq(1),
        };
        let bytes_max = match usize::try_from(request.bytes_max) {
            Ok(0) => usize::MAX,
            Ok(bytes_max) => bytes_max,
            Err(_negative) => return Err(Refusal::invalid("bytes_max is not negative").into()),
        };
        let mut page = self.store.history(conversation, range, first, limit).await?;
        page.has_more |= cut(&mut page.messages, range, bytes_max);
        Ok(pb::GetConversationMessagesResponse {
            messages: page.messages.into_iter().map(message_to_pb).collect(),
            has_more: page.has_more,
            last_seq: page.last_seq.0,
            first_seq: first.max(page.first_seq).0,
        })
    }

    async fn save_message(
        &self,
        request: pb::SaveMessageRequest,
        trace: Option<TraceParent>,
    ) -> Result<pb::Empty, CallError> {
        let pb::SaveMessageRequest { conversation_id, sender_id, client_msg_id, message_type, content } = request;
        let sender = input::user_id("sender_id", sender_id)?;
        let said = Intent::Say { message_type, content };
        let record = admission::admit(sender, &conversation_id, &client_msg_id, said)?;
        self.say(&record, trace).await?;
        Ok(pb::Empty {})
    }
}

pub(super) fn message_to_pb(message: Message) -> pb::Message {
    pb::Message {
        conversation_id: message.conversation_id.to_string(),
        message_id: message.message_id.0,
        seq_id: message.seq_id.0,
        sender_id: message.sender_id.0,
        kind: message.kind.name().to_owned(),
        content: message.content,
        client_msg_id: message.client_msg_id,
        created_at: message.created_at,
        target_seq: message.target_seq.map(|seq| seq.0),
        remove: message.remove,
        edited_at: message.edited_at,
        recalled: message.recalled,
    }
}

/// Leaves out what is beyond so many bytes of content: the newest of a page that goes on to newer messages, the oldest of
/// others. One message stays. Whether it left any out.
fn cut(messages: &mut Vec<Message>, range: HistoryRange, bytes_max: usize) -> bool {
    let count = messages.len();
    let mut bytes = 0;
    let mut fits = |message: &&Message| {
        bytes += message.content.len();
        bytes <= bytes_max
    };
    let kept = match range {
        HistoryRange::After(_) => messages.iter().take_while(&mut fits).count(),
        HistoryRange::Newest | HistoryRange::Before(_) => messages.iter().rev().take_while(&mut fits).count(),
    };
    let kept = kept.max(1).min(count);
    match range {
        HistoryRange::After(_) => messages.truncate(kept),
        HistoryRange::Newest | HistoryRange::Before(_) => drop(messages.drain(..count - kept)),
    }
    kept < count
}
