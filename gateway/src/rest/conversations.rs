//! Conversations: a user's list, the history, read marks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemas::admission::{self, Intent};
use schemas::error::Refusal;
use schemas::ids::MessageId;
use schemas::pb::{self, get_message_request::By};
use serde::{Deserialize, Serialize};

use crate::admit::{Request, admit};
use crate::appender::durable;
use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::{Body, Caller, PathParams, QueryParams};
use crate::rest::params::{id, limit, next_cursor};
use crate::views::{ConversationView, MessageView, ReadMarkView};

const PAGE_DEFAULT: i32 = 50;
const PAGE_MAX: i32 = 200;

#[derive(Deserialize)]
pub struct Page {
    #[serde(default)]
    cursor: String,
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Range {
    before_seq: Option<i64>,
    after_seq: Option<i64>,
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadMark {
    seq_id: i64,
}

/// `GET /api/conversations`.
pub async fn list(caller: Caller, QueryParams(page): QueryParams<Page>) -> Result<Response, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        conversations: Vec<ConversationView<'a>>,
        next_cursor: Option<String>,
    }
    let limit = limit(page.limit, PAGE_DEFAULT, PAGE_MAX)?;
    let request = pb::GetConversationsRequest { user_id: caller.user.0, cursor: page.cursor, limit };
    let answer = caller.repo.get_conversations(request).await?;
    let conversations = answer.conversations.iter().map(ConversationView::of).collect();
    Ok(Json(List { conversations, next_cursor: next_cursor(answer.next_cursor) }).into_response())
}

/// `GET /api/conversations/{id}/messages`.
pub async fn messages(
    caller: Caller,
    PathParams(id): PathParams<String>,
    QueryParams(range): QueryParams<Range>,
) -> Result<Response, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct History<'a> {
        messages: Vec<MessageView<'a>>,
        has_more: bool,
    }
    let conversation = admission::conversation_id(&id)?;
    let Range { before_seq, after_seq, .. } = range;
    if before_seq.is_some() && after_seq.is_some() {
        return Err(Refusal::invalid("beforeSeq and afterSeq exclude each other").into());
    }
    if before_seq.or(after_seq).is_some_and(|seq| seq < 0) {
        return Err(Refusal::invalid("beforeSeq and afterSeq are not negative").into());
    }
    let request = pb::GetConversationMessagesRequest {
        conversation_id: conversation.to_string(),
        before_seq,
        after_seq,
        limit: limit(range.limit, PAGE_DEFAULT, PAGE_MAX)?,
        reader_id: Some(caller.user.0),
        bytes_max: 0,
    };
    let page = caller.repo.get_conversation_messages(request).await?;
    let messages = page.messages.iter().map(MessageView::stored).collect();
    Ok(Json(History { messages, has_more: page.has_more }).into_response())
}

/// `GET /api/messages/{id}`.
pub async fn message(caller: Caller, PathParams(message): PathParams<String>) -> Result<Response, Failure> {
    let by = Some(By::MessageId(id::<MessageId>("the message's id", &message)?.0));
    let found = caller.repo.get_message(pb::GetMessageRequest { by, reader_id: Some(caller.user.0) }).await?;
    Ok(Json(MessageView::stored(&found)).into_response())
}

/// `GET /api/conversations/{id}/read`.
pub async fn read_marks(caller: Caller, PathParams(id): PathParams<String>) -> Result<Response, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ReadMarks {
        read_marks: Vec<ReadMarkView>,
    }
    let conversation_id = admission::conversation_id(&id)?.to_string();
    let request = pb::GetReadMarksRequest { conversation_id, reader_id: Some(caller.user.0) };
    let marks = caller.repo.get_read_marks(request).await?.read_marks;
    Ok(Json(ReadMarks { read_marks: marks.iter().map(ReadMarkView::of).collect() }).into_response())
}

/// `POST /api/conversations/{id}/read`: appended to the log like the frame `mark-read`.
pub async fn mark_read(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    Body(mark): Body<ReadMark>,
) -> Result<StatusCode, Failure> {
    let request = Request {
        sender: caller.user,
        socket: None,
        client_msg_id: "",
        conversation_id: &id,
        intent: Intent::MarkRead { seq: mark.seq_id },
        sent_at_ms: None,
    };
    durable(&mut admit(&edge, request).await?).await?;
    Ok(StatusCode::NO_CONTENT)
}
