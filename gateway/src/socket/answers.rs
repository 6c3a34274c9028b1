//! Answers the frames of a client.

use std::collections::btree_map;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use futures::future::{BoxFuture, FutureExt};
use schemas::admission;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;

use crate::admit::{Request, admit};
use crate::appender::{Receipt, durable};
use crate::client_frame::ClientFrame;
use crate::edge::Edge;
use crate::frames;
use crate::sessions::Socket;
use crate::sync;

#[derive(Debug)]
pub enum Answer {
    Ready(Utf8Bytes),
    /// Ready once the message is durable.
    Durable {
        receipt: Receipt,
        id: Option<String>,
        /// `None` for a read mark, which gets no ack.
        client_msg_id: Option<String>,
    },
}

impl Answer {
    /// Waits for the frame. Cancel-safe; answers once.
    pub async fn ready(&mut self) -> Option<Utf8Bytes> {
        match self {
            Self::Ready(frame) => Some(std::mem::take(frame)),
            Self::Durable { receipt, id, client_msg_id } => match durable(receipt).await {
                Ok(()) => client_msg_id.as_deref().map(|key| frames::ack(id.as_deref(), key)),
                Err(refusal) => Some(frames::error(&refusal, id.as_deref(), client_msg_id.as_deref())),
            },
        }
    }
}

/// What a frame leads to.
pub struct Outcome {
    pub answers: Vec<Answer>,
    /// The rest of the work, to be done after these answers are sent.
    pub rest: Option<BoxFuture<'static, Outcome>>,
    /// Whom the socket follows now, if that has changed.
    pub following: Option<Arc<[UserId]>>,
}

impl Outcome {
    fn answers(answers: Vec<Answer>) -> Self {
        Self { answers, rest: None, following: None }
    }
}

/// Refuses a frame over the rate limit.
pub fn rate_limited(text: &str, wait: Duration) -> Answer {
    let message = format!("too many frames: wait {} ms", wait.as_millis() + 1);
    let refusal = Refusal::new(ErrorCode::RateLimited, message);
    let (id, client_msg_id) = match ClientFrame::parse(text) {
        Ok((ClientFrame::Chain { client_msg_id, .. }, id)) => (id, Some(client_msg_id)),
        Ok((_, id)) => (id, None),
        Err(rejected) => (rejected.id, rejected.client_msg_id),
    };
    Answer::Ready(frames::error(&refusal, id.as_deref(), client_msg_id.as_deref().filter(|key| !key.is_empty())))
}

/// The work for a frame.
///
/// # Errors
/// The answer, when there is no work to do.
pub fn answer(
    edge: &Arc<Edge>,
    socket: &Arc<Socket>,
    following: &Arc<[UserId]>,
    text: &str,
) -> Result<BoxFuture<'static, Outcome>, Answer> {
    let (frame, id) = ClientFrame::parse(text).map_err(|rejected| {
        Answer::Ready(frames::error(&rejected.refusal, rejected.id.as_deref(), rejected.client_msg_id.as_deref()))
    })?;
    let (edge, socket) = (edge.clone(), socket.clone());
    match frame {
        ClientFrame::Ping => Err(Answer::Ready(frames::pong(id.as_deref(), edge.clock.now_ms()))),
        ClientFrame::Chain { client_msg_id, conversation_id, intent, sent_at_ms } => Ok(async move {
            let request = Request {
                sender: socket.identity.user,
                socket: Some(socket.identity.socket),
                client_msg_id: &client_msg_id,
                conversation_id: &conversation_id,
                intent,
                sent_at_ms,
                trace: socket.identity.trace,
            };
            let admitted = admit(&edge, request).await;
            let client_msg_id = Some(client_msg_id).filter(|key| !key.is_empty());
            Outcome::answers(vec![match admitted {
                Ok(receipt) => Answer::Durable { receipt, id, client_msg_id },
                Err(refusal) => Answer::Ready(frames::error(&refusal, id.as_deref(), client_msg_id.as_deref())),
            }])
        }
        .boxed()),
        ClientFrame::Typing { conversation_id } => Ok(async move {
            let told = typing(&edge, socket.identity.user, &conversation_id).await;
            Outcome::answers(told.err().map(|refusal| refused(&refusal, id.as_deref())).into_iter().collect())
        }
        .boxed()),
        ClientFrame::SubscribePresence { user_ids } => {
            if user_ids.len() > edge.config.presence_users_a_socket_max {
                let max = edge.config.presence_users_a_socket_max;
                return Err(refused(&Refusal::invalid(format!("userIds has at most {max} ids")), id.as_deref()));
            }
            let following = following.clone();
            Ok(async move { subscribe(&edge, &socket, &following, user_ids, id.as_deref()) }.boxed())
        }
        ClientFrame::Sync { positions, limit } => {
            let limit = limit.unwrap_or(sync::LIMIT_DEFAULT);
            if let Err(refusal) = sync::check(&positions, limit, edge.config.sync_conversations_max) {
                return Err(refused(&refusal, id.as_deref()));
            }
            Ok(synced(edge, socket, positions.into_iter(), limit, id))
        }
    }
}

fn refused(refusal: &Refusal, id: Option<&str>) -> Answer {
    Answer::Ready(frames::error(refusal, id, None))
}

async fn typing(edge: &Edge, user: UserId, conversation: &str) -> Result<(), Refusal> {
    let conversation = admission::conversation_id(conversation)?;
    edge.rights.check_member(user, conversation).await?;
    let members = edge.rights.typing_recipients(user, conversation).await?;
    edge.signals.typing(&edge.sessions, conversation, user, &members);
    Ok(())
}

/// Follows these users in place of those before, and answers with their presence.
fn subscribe(
    edge: &Edge,
    socket: &Arc<Socket>,
    before: &[UserId],
    mut users: Vec<UserId>,
    id: Option<&str>,
) -> Outcome {
    users.sort_unstable();
    users.dedup();
    let now_ms = edge.clock.now_ms();
    let states = edge.signals.follow(socket, before, &users, |user| edge.is_online(user), now_ms);
    let frame =
        |(user, online): (UserId, bool)| Answer::Ready(frames::presence(id, user, online, online.then_some(now_ms)));
    Outcome { following: Some(users.into()), ..Outcome::answers(states.into_iter().map(frame).collect()) }
}

/// Fetches one conversation after the other; each answer is sent before the next is fetched.
fn synced(
    edge: Arc<Edge>,
    socket: Arc<Socket>,
    mut positions: btree_map::IntoIter<String, i64>,
    limit: i32,
    id: Option<String>,
) -> BoxFuture<'static, Outcome> {
    async move {
        let Some((conversation_id, after)) = positions.next() else { return Outcome::answers(Vec::new()) };
        let frames =
            sync::missed(&edge.repo, socket.identity.user, &conversation_id, after, limit, id.as_deref()).await;
        let more = positions.len() > 0;
        let rest = more.then(|| synced(edge, socket, positions, limit, id));
        Outcome { rest, ..Outcome::answers(frames.into_iter().map(Answer::Ready).collect()) }
    }
    .boxed()
}
