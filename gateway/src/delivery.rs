//! Delivers messages from the slot's partition to the sockets of their recipients.
//!
//! Each message becomes JSON once; all sockets share the text. A message that does not arrive here is not lost: clients
//! learn of it from `heads` and fetch it with `sync`.

use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use futures::StreamExt;
use schemas::avro::Record;
use schemas::kind::Kind;
use schemas::records::{Delivery, Sequenced};
use tokio_util::sync::CancellationToken;
use topics::catalogue::DELIVERIES;
use topics::dead_letter::{self, Reason, dead_letter};
use topics::headers::{HopTimes, Origin};
use topics::log::{Class, Incoming, Log, LogError, Outgoing, Reader, StartAt};

use crate::edge::Edge;
use crate::frames::frame;
use crate::presence::SlotLease;
use crate::receipts::Receipts;
use crate::send_queue::Socket;
use crate::views::{MessageView, ReadReceiptView, StoredView};

const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Deliveries after which the task yields.
const TURN_DELIVERIES: usize = 64;

/// Opens the slot's partition at its end. Called before presence is published, so that everything addressed to this
/// epoch lies behind the position.
///
/// # Errors
/// When the log has no such partition, or can't be reached.
pub async fn open(log: &dyn Log, lease: &SlotLease) -> Result<Reader, LogError> {
    log.read(&DELIVERIES.spec, &[(lease.slot, StartAt::Latest)]).await
}

/// Delivers until `stop`.
///
/// # Errors
/// When the partition can't be read any more.
pub async fn run(log: &dyn Log, mut reader: Reader, edge: &Edge, stop: &CancellationToken) -> Result<(), LogError> {
    let lease = &edge.lease;
    let mut receipts = Receipts::new();
    loop {
        let Some(Some(read)) = stop.run_until_cancelled(reader.next()).await else { return Ok(()) };
        match read {
            Ok(batch) => {
                let mut dead = Vec::new();
                for turn in batch.records.chunks(TURN_DELIVERIES) {
                    for record in turn {
                        dead.extend(deliver(record, edge, &mut receipts).await);
                    }
                    tokio::task::yield_now().await;
                }
                dead_letter::append(log, dead).await;
                observe(&batch.records, edge.clock.now_ms());
            }
            Err(error) => {
                tracing::error!(%error, slot = lease.slot, "deliveries could not be read");
                reader = reopened(log, lease, reader, error, stop).await?;
            }
        }
    }
}

/// Reads on after an error, where that is possible.
async fn reopened(
    log: &dyn Log,
    lease: &SlotLease,
    reader: Reader,
    error: LogError,
    stop: &CancellationToken,
) -> Result<Reader, LogError> {
    let position = reader.position(lease.slot);
    stop.run_until_cancelled(tokio::time::sleep(RETRY_AFTER)).await;
    let from = match (&error, error.class()) {
        // More was dropped than clients should get at once: they sync.
        (LogError::OffsetOutOfRange { .. }, _) => StartAt::Latest,
        (_, Class::Retry) => return Ok(reader),
        (_, Class::Abort | Class::Rebuild) => position.map_or(StartAt::Latest, StartAt::Offset),
        (_, Class::Fatal) => return Err(error),
    };
    log.read(&DELIVERIES.spec, &[(lease.slot, from)]).await
}

/// Hands a delivery to its recipients' sockets. Returns a dead letter for bytes that are no delivery.
async fn deliver(record: &Incoming, edge: &Edge, receipts: &mut Receipts) -> Option<Outgoing> {
    let (lease, sessions) = (&edge.lease, &edge.sessions);
    let delivery = match Delivery::decode(&record.value) {
        Ok(delivery) => delivery,
        Err(error) => {
            tracing::error!(%error, offset = record.offset, "not a delivery: set aside as a dead letter");
            let reason = Reason { reader: "gateway", error: &error };
            return Some(dead_letter(&DELIVERIES.spec, lease.slot, record, reason));
        }
    };
    if delivery.epoch != lease.epoch {
        return None; // Addressed to an earlier owner of the slot.
    }
    if !receipts.is_news(&delivery.message) {
        return None;
    }
    edge.rights.forget_former_members(&delivery).await;
    let own = |origin: &Origin| origin.slot == lease.slot && origin.epoch == lease.epoch;
    let origin = record.headers.origin.filter(own).map(|origin| origin.socket);
    let frames = Frames::of(&delivery.message, origin);
    if delivery.recipients.is_empty() {
        sessions.for_all(|socket| frames.push_to(socket));
    }
    for &user in &delivery.recipients {
        sessions.for_user(user, |socket| frames.push_to(socket));
    }
    None
}

/// The frames of one message.
struct Frames {
    everybody: Utf8Bytes,
    /// The socket that sent the message, and its frame.
    origin: Option<(u64, Utf8Bytes)>,
}

impl Frames {
    fn of(message: &Sequenced, origin: Option<u64>) -> Self {
        if message.kind == Kind::ReadMark {
            return Self { everybody: frame("read-receipt", None, &ReadReceiptView::of(message)), origin: None };
        }
        let stored = |socket| (socket, frame("message-stored", None, &StoredView::of(message)));
        Self { everybody: frame("message", None, &MessageView::delivered(message)), origin: origin.map(stored) }
    }

    fn push_to(&self, socket: &Socket) {
        match &self.origin {
            Some((origin, stored)) if *origin == socket.identity.socket => socket.push(stored.clone()),
            Some(_) | None => socket.push(self.everybody.clone()),
        }
    }
}

/// Updates the metrics once a batch, with the latency of its oldest message.
fn observe(records: &[Incoming], now_ms: i64) {
    metrics::counter!("gochat_deliveries_total").increment(records.len() as u64);
    let admitted = |record: &Incoming| record.headers.hops.map(|hops: HopTimes| hops.admitted_at);
    if let Some(oldest) = records.iter().filter_map(admitted).min() {
        let seconds = now_ms.saturating_sub(oldest).max(0) as f64 / 1_000.0;
        metrics::histogram!("gochat_delivery_latency_seconds").record(seconds);
    }
}
