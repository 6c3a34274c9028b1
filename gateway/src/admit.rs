//! The way of something said from a client to the log: form, limits, rights, then the append.
//!
//! All that could refuse it does so here, before the ack.

use schemas::admission::{self, Intent};
use schemas::error::Refusal;
use schemas::ids::UserId;
use schemas::kind::Kind;
use topics::headers::{Headers, HopTimes, Origin, TraceParent};

use crate::appender::Receipt;
use crate::edge::{Edge, trace_from};

/// What somebody wants said.
#[derive(Debug)]
pub struct Request<'a> {
    pub sender: UserId,
    /// The socket it came from, if any.
    pub socket: Option<u64>,
    /// The idempotency key; empty for read marks.
    pub client_msg_id: &'a str,
    pub conversation_id: &'a str,
    pub intent: Intent,
    /// The first attempt, ms since 1970 UTC.
    pub sent_at_ms: Option<i64>,
    /// The client's trace.
    pub trace: Option<TraceParent>,
}

/// Puts it on its way into the log. The receipt answers once it is durable there.
///
/// # Errors
/// Every reason to refuse it.
pub async fn admit(edge: &Edge, request: Request<'_>) -> Result<Receipt, Refusal> {
    let Request { sender, socket, client_msg_id, conversation_id, intent, sent_at_ms, trace } = request;
    let now_ms = edge.clock.now_ms();
    let record = admission::admit(sender, conversation_id, client_msg_id, intent)?;
    let window_ms = i64::try_from(edge.resend_window.as_millis()).unwrap_or(i64::MAX);
    admission::check_resend_window(sent_at_ms, now_ms, window_ms)?;
    edge.taken.check(&record).await?;
    if edge.backlog.is_full() {
        return Err(admission::chain_is_full());
    }
    edge.rights.check_member(sender, record.conversation_id).await?;
    if let Kind::Edit | Kind::Recall | Kind::Reaction = record.kind {
        // Boxed: rare, and its state must not lie in every socket's task.
        Box::pin(edge.rights.check_target(&record)).await?;
    }
    let origin = socket.map(|socket| Origin { slot: edge.lease.slot, epoch: edge.lease.epoch, socket });
    let headers =
        Headers { trace: Some(trace_from(trace)), origin, hops: Some(HopTimes::starting(now_ms)), other: Vec::new() };
    edge.taken.note(&record).await;
    edge.appender.submit(record, headers).await
}
