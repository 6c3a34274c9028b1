//! A member of a consumer group, as its owner holds it: the work is done by a [`Membership`] on a
//! thread of its own, since the calls of librdkafka that matter here block.

use std::sync::mpsc::Sender;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::error::fenced;
use super::membership::{Membership, Signal};
use crate::log::{Commit, Event, LogError, Member, MemberSpec};

/// The longest answer: a transaction that is prepared, committed, aborted, each until its time limit, and then the look
/// at who fenced it. A thread that takes longer hangs in librdkafka: the owner makes a new member, which fences this one.
const ANSWER_MAX: Duration = Duration::from_secs(90);
/// To leave takes a few seconds; a client that is closing may wait for a coordinator for ever.
const LEAVE_MAX: Duration = Duration::from_secs(15);

pub(super) struct KafkaMember {
    spec: MemberSpec,
    /// Holds one request at most: its owner waits for the answer to each.
    signals: Sender<Signal>,
    /// Holds one event at most: each is asked for.
    events: mpsc::Receiver<Result<Event, LogError>>,
    /// An event was asked for and has not been taken yet.
    asked: bool,
    /// An event that was taken out of `events` to be looked at.
    kept: Option<Result<Event, LogError>>,
}

impl KafkaMember {
    /// Starts the thread, which bears the group's name.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(
        spec: MemberSpec,
        membership: Membership,
        events: mpsc::Receiver<Result<Event, LogError>>,
    ) -> Result<Self, LogError> {
        let signals = membership.signals();
        let thread = std::thread::Builder::new().name(format!("log-{}", spec.group));
        thread
            .spawn(move || membership.run())
            .map_err(|e| LogError::Broken { doing: "starting a member's thread", source: Box::new(e) })?;
        Ok(Self { spec, signals, events, asked: false, kept: None })
    }

    async fn request<T>(
        &self,
        patience: Duration,
        signal: impl FnOnce(oneshot::Sender<Result<T, LogError>>) -> Signal,
    ) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        self.signals.send(signal(reply)).map_err(|_thread_ended| fenced(&self.spec))?;
        match timeout(patience, answer).await {
            Ok(answered) => answered.unwrap_or_else(|_thread_ended| Err(fenced(&self.spec))),
            Err(_) => Err(LogError::Broken {
                doing: "waiting for librdkafka",
                source: format!("it did not return within {patience:?}").into(),
            }),
        }
    }

    /// Takes records of a partition that moved out of the event that is already on its way.
    fn discard(&mut self, partition: u32) {
        if self.kept.is_none() {
            self.kept = self.events.try_recv().ok();
        }
        if let Some(Ok(Event::Batch(batches))) = &mut self.kept {
            batches.retain(|batch| batch.partition != partition);
            if batches.is_empty() {
                self.kept = None;
                self.asked = false;
            }
        }
    }
}

#[async_trait]
impl Member for KafkaMember {
    async fn next(&mut self) -> Result<Event, LogError> {
        if let Some(event) = self.kept.take() {
            self.asked = false;
            return event;
        }
        if !self.asked {
            self.signals.send(Signal::Next).map_err(|_thread_ended| fenced(&self.spec))?;
            self.asked = true;
        }
        let event = self.events.recv().await;
        self.asked = false;
        event.unwrap_or_else(|| Err(fenced(&self.spec)))
    }

    async fn start(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.request(ANSWER_MAX, |reply| Signal::Start { partition, offset, reply }).await?;
        self.discard(partition);
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) -> Result<(), LogError> {
        self.request(ANSWER_MAX, |reply| Signal::Commit { commit, reply }).await
    }

    async fn committed(&mut self, partition: u32) -> Result<Option<u64>, LogError> {
        self.request(ANSWER_MAX, |reply| Signal::Committed { partition, reply }).await
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        self.request(LEAVE_MAX, |reply| Signal::Leave { reply }).await
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        let _thread_ended = self.signals.send(Signal::Gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::UPSTREAM;

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_hangs_is_given_up() {
        let (signals, hanging) = std::sync::mpsc::channel();
        let (_events, events) = mpsc::channel(1);
        let spec = MemberSpec {
            group: "workers".into(),
            topic: &UPSTREAM.spec,
            instance: "one".into(),
            transactional: true,
            batch_records_max: 1,
            batch_bytes_max: 1,
            poll_interval_max: Duration::from_secs(1),
        };
        let mut member = KafkaMember { spec, signals, events, asked: false, kept: None };
        let committed = member.commit(Commit::default()).await;
        assert!(matches!(committed, Err(LogError::Broken { .. })), "{committed:?}");
        let left = Box::new(member).leave().await;
        assert!(matches!(left, Err(LogError::Broken { .. })), "{left:?}");
        drop(hanging);
    }
}
