//! Admits a request to the log: checks form, limits and rights, then appends it.
//!
//! Whatever can refuse a request does so here, before the ack.

use schemas::admission::{self, Intent};
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;
use schemas::kind::Kind;
use schemas::records::Upstream;
use topics::headers::{Headers, HopTimes, Origin};

use crate::appender::Receipt;
use crate::content_rates::Said;
use crate::edge::{Edge, trace_from};
use crate::rights::Granted;
use crate::send_queue::Identity;

/// What a client wants appended.
#[derive(Debug)]
pub struct Request<'a> {
    pub sender: UserId,
    /// The socket it came from, if any.
    pub socket: Option<&'a Identity>,
    /// The idempotency key; empty for read marks.
    pub client_msg_id: &'a str,
    pub conversation_id: &'a str,
    pub intent: Intent,
    /// The first attempt, ms since 1970 UTC.
    pub sent_at_ms: Option<i64>,
}

/// Queues a request for the log. The receipt answers once it is durable.
///
/// # Errors
/// Why the request is refused.
pub async fn admit(edge: &Edge, request: Request<'_>) -> Result<Receipt, Refusal> {
    let Request { sender, socket, client_msg_id, conversation_id, intent, sent_at_ms } = request;
    let now_ms = edge.clock.now_ms();
    let record = admission::admit(sender, conversation_id, client_msg_id, intent)?;
    let window_ms = i64::try_from(edge.resend_window.as_millis()).unwrap_or(i64::MAX);
    admission::check_resend_window(sent_at_ms, now_ms, window_ms)?;
    edge.recent_requests.check(&record).await?;
    if edge.backlog.is_full() {
        return Err(admission::chain_is_full());
    }
    let granted = edge.rights.check_member(sender, record.conversation_id).await?;
    if record.kind != Kind::ReadMark {
        check_rates(edge, &record, socket, granted)?;
    }
    if let Kind::Edit | Kind::Recall | Kind::Reaction = record.kind {
        // Boxed: it is rare, and its state would make every socket's task larger.
        Box::pin(edge.rights.check_target(&record)).await?;
    }
    let (slot, epoch) = (edge.lease.slot, edge.lease.epoch);
    let origin = socket.map(|&Identity { socket, .. }| Origin { slot, epoch, socket });
    let trace = trace_from(socket.and_then(|identity| identity.trace));
    let headers = Headers { trace: Some(trace), origin, hops: Some(HopTimes::starting(now_ms)), other: Vec::new() };
    edge.recent_requests.remember(&record).await;
    edge.backlog.count_admitted();
    edge.appender.submit(record, headers).await
}

/// Counts something that is said. Recalls and reactions are for all who may read.
fn check_rates(edge: &Edge, record: &Upstream, socket: Option<&Identity>, granted: Granted) -> Result<(), Refusal> {
    if !granted.writes && !matches!(record.kind, Kind::Recall | Kind::Reaction) {
        return Err(Refusal::new(ErrorCode::PermissionDenied, "only some may write in this conversation"));
    }
    let sender = record.sender_id;
    if edge.backlog.is_late() && !edge.rates.content.take_share(sender) {
        return Err(admission::chain_is_full());
    }
    let conversation = record.conversation_id;
    let said = Said {
        sender,
        address: socket.map(|identity| identity.address),
        conversation,
        to_crowd: granted.to_crowd,
        bytes: record.content.len(),
    };
    edge.rates.content.take(said).inspect_err(|refusal| edge.rates.tell_content(sender, conversation, refusal))
}
