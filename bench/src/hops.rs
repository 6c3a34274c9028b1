//! The hops of messages that were delivered, from the times that travel beside them.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::avro::Record;
use schemas::records::Delivery;
use topics::catalogue::DELIVERIES;
use topics::headers::HopTimes;
use topics::log::{Log, LogError, StartAt};

use crate::delivered::{DeliveryError, STALL};

/// Where each slot's deliveries end.
#[derive(Debug, Clone)]
pub struct Ends(Vec<(u32, u64)>);

impl Ends {
    /// Now.
    ///
    /// # Errors
    /// When the log can't be read.
    pub async fn now(log: &Arc<dyn Log>) -> Result<Self, LogError> {
        let mut ends = Vec::new();
        for slot in 0..log.layout().partitions(&DELIVERIES.spec) {
            ends.push((slot, log.bounds(&DELIVERIES.spec, slot).await?.end));
        }
        Ok(Self(ends))
    }

    /// The times of every message that was delivered between then and now, by the number that `number`
    /// finds in its clientMsgId.
    ///
    /// # Errors
    /// When the log can't be read, or holds something else.
    pub async fn hops_since(
        &self,
        log: &Arc<dyn Log>,
        number: impl Fn(&str) -> Option<u64>,
    ) -> Result<HashMap<u64, HopTimes>, DeliveryError> {
        let now = Self::now(log).await?;
        let from: Vec<_> = self.0.iter().map(|&(slot, end)| (slot, StartAt::Offset(end))).collect();
        let mut reader = log.read(&DELIVERIES.spec, &from).await?;
        let mut hops = HashMap::new();
        while now.0.iter().any(|&(slot, end)| reader.position(slot).is_some_and(|position| position < end)) {
            let Some(batch) = reader.next_within(STALL).await? else {
                return Err(DeliveryError::Unreadable { seconds: STALL.as_secs() });
            };
            for record in &batch.records {
                let delivery = Delivery::decode(&record.value)?;
                if let (Some(number), Some(times)) = (number(&delivery.message.client_msg_id), record.headers.hops) {
                    hops.entry(number).or_insert(times);
                }
            }
        }
        Ok(hops)
    }
}
