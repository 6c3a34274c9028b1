//! Watches the end of the chain: every message once, without a gap, and when the last one came.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use schemas::avro::{AvroError, Record};
use schemas::ids::{ConversationId, Seq};
use schemas::records::Delivery;
use topics::catalogue::DELIVERIES;
use topics::log::{Log, LogError, Reader, StartAt};

/// What ended a watch early, or what it found wrong.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The log failed.
    #[error("deliveries can't be read")]
    Log(#[from] LogError),
    /// A delivery is no record.
    #[error("a delivery can't be read")]
    Record(#[from] AvroError),
    /// Nothing came for too long.
    #[error("nothing was delivered for {seconds} s: {missing} of {expected} messages are missing")]
    Stalled {
        seconds: u64,
        /// How many never came.
        missing: u64,
        /// How many were sent.
        expected: u64,
    },
    /// What was delivered before can't be read again.
    #[error("deliveries that are there could not be read again within {seconds} s")]
    Unreadable { seconds: u64 },
    /// A message came out of order on a slot.
    #[error("ORDER is broken: {conversation} had seq {had}, then came {came}")]
    Order {
        conversation: ConversationId,
        /// The newest before.
        had: i64,
        came: i64,
    },
}

/// Reads every slot's deliveries from now on.
pub struct Watch {
    reader: Reader,
    /// Newest seq of each conversation on each slot.
    newest: HashMap<(u32, ConversationId), Seq>,
    /// Newest seq of each conversation anywhere.
    heads: HashMap<ConversationId, i64>,
    messages: u64,
    deliveries: u64,
}

/// How long nothing may come.
pub const STALL: Duration = Duration::from_secs(30);

impl Watch {
    /// Starts behind what was delivered so far.
    ///
    /// # Errors
    /// When the log can't be read.
    pub async fn start(log: &Arc<dyn Log>) -> Result<Self, DeliveryError> {
        let slots = log.layout().partitions(&DELIVERIES.spec);
        let from: Vec<_> = (0..slots).map(|slot| (slot, StartAt::Latest)).collect();
        let reader = log.read(&DELIVERIES.spec, &from).await?;
        Ok(Self { reader, newest: HashMap::new(), heads: HashMap::new(), messages: 0, deliveries: 0 })
    }

    /// Waits until `expected` messages were delivered somewhere, and returns how many deliveries
    /// that took.
    ///
    /// # Errors
    /// [`DeliveryError`] when one comes out of order, or none for 30 s.
    pub async fn until(&mut self, expected: u64) -> Result<u64, DeliveryError> {
        while self.messages < expected {
            let Some(batch) = self.reader.next_within(STALL).await? else {
                let missing = expected - self.messages;
                return Err(DeliveryError::Stalled { seconds: STALL.as_secs(), missing, expected });
            };
            for record in &batch.records {
                self.note(batch.partition, &Delivery::decode(&record.value)?)?;
            }
        }
        Ok(self.deliveries)
    }

    /// A page of a large group repeats its seq; nothing may go back.
    fn note(&mut self, slot: u32, delivery: &Delivery) -> Result<(), DeliveryError> {
        let (conversation, seq) = (delivery.message.conversation_id, delivery.message.seq_id);
        let paged = conversation == ConversationId::Group(crate::workload::LARGE_GROUP);
        let newest = self.newest.entry((slot, conversation)).or_default();
        if seq <= *newest && !paged {
            return Err(DeliveryError::Order { conversation, had: newest.0, came: seq.0 });
        }
        *newest = (*newest).max(seq);
        self.deliveries += 1;
        let head = self.heads.entry(conversation).or_default();
        if seq.0 > *head {
            // Heads of a gapless conversation count its messages.
            self.messages += u64::try_from(seq.0 - *head).unwrap_or(0);
            *head = seq.0;
        }
        Ok(())
    }
}
