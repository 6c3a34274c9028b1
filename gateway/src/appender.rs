//! One task appends the records of all sockets, in batches, and answers each sender once its record is durable.

use std::sync::Arc;
use std::time::Duration;

use schemas::error::{ErrorCode, Refusal};
use schemas::records::Upstream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use topics::catalogue::UPSTREAM;
use topics::codec::Encoder;
use topics::headers::Headers;
use topics::log::{Class, Log};

/// Records in one append. The embedded log and Kafka's producer both reach their best rate well below.
const BATCH_RECORDS_MAX: usize = 4_096;
/// Bytes in one append, far below the limit of any log.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// About what a record has beyond its content: key, ids, headers.
const RECORD_OVERHEAD_BYTES: usize = 512;

/// Answers once the record is durable or refused.
pub type Receipt = oneshot::Receiver<Result<(), Refusal>>;

/// Hands records to the one task that appends them.
#[derive(Debug, Clone)]
pub struct Appender {
    queue: mpsc::Sender<Waiting>,
    timeout: Duration,
}

struct Waiting {
    record: Upstream,
    headers: Headers,
    done: oneshot::Sender<Result<(), Refusal>>,
}

/// The task behind an [`Appender`].
pub struct AppendTask {
    queue: mpsc::Receiver<Waiting>,
    log: Arc<dyn Log>,
    timeout: Duration,
}

/// An appender with a queue of `queue_records_max`. An append may take `timeout`.
pub fn appender(log: Arc<dyn Log>, queue_records_max: usize, timeout: Duration) -> (Appender, AppendTask) {
    let (sender, queue) = mpsc::channel(queue_records_max.max(1));
    (Appender { queue: sender, timeout }, AppendTask { queue, log, timeout })
}

impl Appender {
    /// How many records wait, and how many may.
    pub fn waiting(&self) -> (usize, usize) {
        let limit = self.queue.max_capacity();
        (limit - self.queue.capacity(), limit)
    }

    /// Queues a record; waits while the queue is full. A caller that awaits each call keeps the order of its records.
    ///
    /// # Errors
    /// Busy when the queue stays full, or the gateway stops.
    pub async fn submit(&self, record: Upstream, headers: Headers) -> Result<Receipt, Refusal> {
        let (done, receipt) = oneshot::channel();
        let waiting = Waiting { record, headers, done };
        match self.queue.try_send(waiting) {
            Ok(()) => Ok(receipt),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(busy()),
            Err(mpsc::error::TrySendError::Full(waiting)) => {
                self.queue.send_timeout(waiting, self.timeout).await.map_err(|_| busy())?;
                Ok(receipt)
            }
        }
    }
}

/// Waits for a receipt. Cancel-safe; answers once.
///
/// # Errors
/// Why the record was refused.
pub async fn durable(receipt: &mut Receipt) -> Result<(), Refusal> {
    receipt.await.unwrap_or_else(|_| Err(busy()))
}

impl AppendTask {
    /// Appends until `stop`, and then what is still queued.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let taken = tokio::select! {
                biased;
                taken = self.queue.recv_many(&mut batch, BATCH_RECORDS_MAX) => taken,
                () = stop.cancelled(), if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
            };
            if taken == 0 {
                return;
            }
            let mut waiting = batch.drain(..).peekable();
            while waiting.peek().is_some() {
                self.append(&mut waiting).await;
            }
        }
    }

    /// Appends what fits into one call.
    async fn append(&self, waiting: &mut impl Iterator<Item = Waiting>) {
        let mut encoder = Encoder::default();
        let mut receipts = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES_MAX
            && let Some(Waiting { record, headers, done }) = waiting.next()
        {
            bytes += record.content.len() + RECORD_OVERHEAD_BYTES;
            match encoder.put(&UPSTREAM, &record.conversation_id, &record, headers) {
                Ok(()) => receipts.push(done),
                Err(error) => {
                    tracing::error!(%error, "an admitted record could not be encoded");
                    // Here and below: a sender that is gone needs no answer.
                    let _ = done.send(Err(crate::repo::internal()));
                }
            }
        }
        metrics::histogram!("gochat_append_batch_records").record(receipts.len() as f64);
        let answer = match tokio::time::timeout(self.timeout, self.log.append(encoder.finish())).await {
            Ok(Ok(_places)) => Ok(()),
            Ok(Err(error)) => {
                match error.class() {
                    // The health watch reports that the log is down, or full.
                    Class::Retry => tracing::debug!(%error, records = receipts.len(), "the log did not take messages"),
                    Class::Abort | Class::Rebuild | Class::Fatal => {
                        tracing::error!(%error, records = receipts.len(), "the log did not take messages");
                    }
                }
                Err(busy())
            }
            Err(_) => {
                tracing::debug!(records = receipts.len(), "the log did not answer an append in time");
                Err(busy())
            }
        };
        metrics::counter!("gochat_append_records_total").increment(receipts.len() as u64);
        for done in receipts {
            let _ = done.send(answer.clone());
        }
    }
}

fn busy() -> Refusal {
    Refusal::new(ErrorCode::Busy, "the message was not taken: send it again with the same clientMsgId")
}

#[cfg(test)]
mod tests {
    use schemas::ids::{ConversationId, UserId};
    use schemas::kind::Kind;
    use topics::catalogue::Layout;
    use topics::clock::Clock;
    use topics::embedded::{EmbeddedConfig, EmbeddedLog};

    use super::*;

    /// More than the log takes in one call waits; all of it goes in, and what waits at the stop, too.
    #[tokio::test]
    async fn what_waits_is_appended_in_calls_that_the_log_takes_and_before_the_stop() {
        const RECORDS: usize = 3_000;
        let dir = tempfile::TempDir::new().unwrap();
        let layout = Layout { chain_partitions: 2, gateway_slots: 1 };
        let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path(), layout), Clock::manual(0)).unwrap();
        let (appender, task) = appender(log, RECORDS, Duration::from_secs(20));
        let record = Upstream {
            conversation_id: ConversationId::World,
            sender_id: UserId(1),
            client_msg_id: "k".into(),
            kind: Kind::Text,
            content: "x".repeat(8_192).into(),
            target_seq: None,
            remove: false,
        };
        let mut receipts = Vec::new();
        for _ in 0..RECORDS {
            receipts.push(appender.submit(record.clone(), Headers::default()).await.unwrap());
        }
        let stop = CancellationToken::new();
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), task.run(stop)).await.unwrap();
        for receipt in &mut receipts {
            assert_eq!(durable(receipt).await, Ok(()));
        }
        let late = appender.submit(record, Headers::default()).await;
        assert_eq!(late.map(|_| ()).map_err(|refusal| refusal.code), Err(ErrorCode::Busy));
    }
}
