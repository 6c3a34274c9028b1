//! Pairs of clients who talk at a given rate, and how long what they say takes.
//!
//! The load is open-loop: when a message is due follows from its number and the rate alone, and its
//! latency counts from then. A server that stalls is so charged with every message that was due
//! meanwhile, not only with the one it stalled on (the "coordinated omission" of closed loops).

mod ledger;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use crate::client::{Account, Socket};
use crate::threads::ThreadTimes;
use crate::usage::Stopwatch;

use ledger::Ledger;

pub use ledger::{Outcome, Plan};

/// How long after the last one was due messages are waited for; what comes later is lost.
pub const ARRIVE_MAX: Duration = Duration::from_secs(30);

/// Why people stopped talking.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// A socket ended.
    #[error("the server closed a socket while it was in use: {reason}")]
    Closed {
        /// Code and words of the close frame.
        reason: String,
    },
    /// A socket broke.
    #[error("a socket broke while it was in use")]
    Broken(#[source] Box<SocketError>),
    /// Processor time can't be told.
    #[error("the processor time of threads can't be read")]
    Processor(#[from] std::io::Error),
}

/// Has neighbours talk to each other (0 with 1, 2 with 3, …) from `start` on, in tasks of this runtime.
///
/// # Errors
/// [`TalkError`] when a socket does not last.
pub async fn talk(clients: Vec<(Account, Socket)>, plan: &Arc<Plan>, start: Instant) -> Result<Outcome, TalkError> {
    let ledger = Arc::new(Ledger::new(plan.clone(), start));
    let mut tasks = JoinSet::new();
    let accounts: Vec<Account> = clients.iter().map(|(account, _)| account.clone()).collect();
    for (n, (account, socket)) in clients.into_iter().enumerate() {
        let Some(peer) = accounts.get(n ^ 1) else { continue };
        let conversation = account.pair_with(peer);
        let (sink, stream) = socket.split();
        let speaker = Speaker { sink, conversation, first: n as u64, step: accounts.len() as u64 };
        tasks.spawn(speaker.speak(ledger.clone()));
        tasks.spawn(listen(stream, ledger.clone()));
    }
    let run = async {
        sleep_until(start + plan.warm_up).await;
        let (threads, watch) = (ThreadTimes::now()?, Stopwatch::start());
        // What did not arrive by then is counted as lost.
        let _ = timeout_at(start + plan.due(plan.end()) + ARRIVE_MAX, ledger.all_arrived.notified()).await;
        let took = watch.took();
        Ok::<_, TalkError>((took, threads.took(took)?))
    };
    let ended = async {
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {} // A speaker that has said everything.
                Ok(Err(error)) => return error,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        std::future::pending().await
    };
    let (took, threads) = tokio::select! {
        run = run => run?,
        error = ended => return Err(error),
    };
    Ok(ledger.outcome(took, threads))
}

/// One client's half of a conversation.
struct Speaker {
    sink: SplitSink<Socket, Message>,
    conversation: String,
    /// Its first message, and how many messages on its next one is.
    first: u64,
    step: u64,
}

impl Speaker {
    async fn speak(mut self, ledger: Arc<Ledger>) -> Result<(), TalkError> {
        let plan = ledger.plan.clone();
        let content: String = "lorem ipsum dolor sit amet ".chars().cycle().take(plan.content_bytes).collect();
        let step = usize::try_from(self.step).unwrap_or(usize::MAX);
        for message in (self.first..plan.end()).step_by(step) {
            sleep_until(ledger.start + plan.due(message)).await;
            let (run, conversation) = (&plan.run, &self.conversation);
            let frame = format!(
                r#"{{"type":"send-message","data":{{"clientMsgId":"{run}-{message}","conversationId":"{conversation}","messageType":"text","content":"{content}"}}}}"#
            );
            self.sink.send(Message::text(frame)).await.map_err(|e| TalkError::Broken(Box::new(e)))?;
            ledger.sent(message);
        }
        Ok(())
    }
}

/// Only what is measured of a frame.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "clientMsgId")]
    client_msg_id: Option<&'a str>,
}

async fn listen(mut stream: SplitStream<Socket>, ledger: Arc<Ledger>) -> Result<(), TalkError> {
    loop {
        let text = match stream.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Close(close))) => {
                let reason = close.map_or_else(|| "without a reason".to_owned(), |close| close.to_string());
                return Err(TalkError::Closed { reason });
            }
            Some(Err(error)) => return Err(TalkError::Broken(Box::new(error))),
            None => return Err(TalkError::Closed { reason: "the connection ended".into() }),
        };
        // A frame of another form has nothing to do with a message.
        let Ok(Frame { kind, data }) = serde_json::from_str(&text) else { continue };
        let message = data.client_msg_id.and_then(|id| ledger.plan.message(id));
        match (kind, message) {
            ("message-ack", Some(message)) => ledger.acked(message),
            ("message", Some(message)) => ledger.arrived(message),
            ("error", _) => ledger.refused(&text),
            _ => {}
        }
    }
}
