//! Admits a request to the log: checks form, limits and rights, then appends it.
//!
//! Whatever can refuse a request does so here, before the ack.

use schemas::admission::{self, Intent};
use schemas::error::Refusal;
use schemas::ids::UserId;
use schemas::kind::Kind;
use topics::headers::{Headers, HopTimes, Origin, TraceParent};

use crate::appender::Receipt;
use crate::edge::{Edge, trace_from};

/// What a client wants appended.
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
    pub trace: Option<TraceParent>,
}

/// Queues a request for the log. The receipt answers once it is durable.
///
/// # Errors
/// Why the request is refused.
pub async fn admit(edge: &Edge, request: Request<'_>) -> Result<Receipt, Refusal> {
    let Request { sender, socket, client_msg_id, conversation_id, intent, sent_at_ms, trace } = request;
    let now_ms = edge.clock.now_ms();
    let record = admission::admit(sender, conversation_id, client_msg_id, intent)?;
    let window_ms = i64::try_from(edge.resend_window.as_millis()).unwrap_or(i64::MAX);
    admission::check_resend_window(sent_at_ms, now_ms, window_ms)?;
    edge.recent_requests.check(&record).await?;
    if edge.backlog.is_full() {
        return Err(admission::chain_is_full());
    }
    edge.rights.check_member(sender, record.conversation_id).await?;
    if let Kind::Edit | Kind::Recall | Kind::Reaction = record.kind {
        // Boxed: it is rare, and its state would make every socket's task larger.
        Box::pin(edge.rights.check_target(&record)).await?;
    }
    let origin = socket.map(|socket| Origin { slot: edge.lease.slot, epoch: edge.lease.epoch, socket });
    let headers =
        Headers { trace: Some(trace_from(trace)), origin, hops: Some(HopTimes::starting(now_ms)), other: Vec::new() };
    edge.recent_requests.remember(&record).await;
    edge.appender.submit(record, headers).await
}
