//! Answers the frames of a client.

use std::collections::btree_map;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use futures::future::{BoxFuture, FutureExt};
use schemas::admission;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;
use tokio::time::Instant;

use crate::admit::{Request, admit};
use crate::appender::{Receipt, durable};
use crate::client_frame::{ClientFrame, Rejected};
use crate::edge::Edge;
use crate::frames;
use crate::send_bytes::Counted;
use crate::send_queue::Socket;
use crate::sync;

/// Users in one step of a subscription: the next step waits until the client has read the frames of this one.
const PRESENCES_AT_ONCE: usize = 100;
/// Bytes of their frames: each has an id, a time, and an `id` of up to 64 characters, escaped.
const PRESENCES_BYTES: usize = PRESENCES_AT_ONCE * 512;

/// A frame of a client, as far as it could be read, and its `id`.
pub type Parsed = Result<(ClientFrame, Option<String>), Rejected>;

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
    /// Bytes of the frame, if it is there.
    pub fn ready_bytes(&self) -> usize {
        match self {
            Self::Ready(frame) => frame.len(),
            Self::Durable { .. } => 0,
        }
    }

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
    /// The rest of the work, to be done after these answers are written.
    pub rest: Option<BoxFuture<'static, Outcome>>,
    /// Whom the socket follows now, if that has changed.
    pub following: Option<Arc<[UserId]>>,
    /// Bytes that were counted for the answers before they were made.
    pub reserved: Option<Counted>,
}

impl Outcome {
    fn answers(answers: Vec<Answer>) -> Self {
        Self { answers, rest: None, following: None, reserved: None }
    }
}

/// Refuses a frame over the rate limit.
pub fn rate_limited(parsed: Parsed, wait: Duration) -> Answer {
    let (id, client_msg_id) = match parsed {
        Ok((ClientFrame::Chain { client_msg_id, .. }, id)) => (id, Some(client_msg_id)),
        Ok((_, id)) => (id, None),
        Err(rejected) => (rejected.id, rejected.client_msg_id),
    };
    let client_msg_id = client_msg_id.as_deref().filter(|key| !key.is_empty());
    Answer::Ready(frames::error(&too_many(wait), id.as_deref(), client_msg_id))
}

fn too_many(wait: Duration) -> Refusal {
    Refusal::new(ErrorCode::RateLimited, format!("too many frames: wait {} ms", wait.as_millis() + 1))
}

fn too_much_waits() -> Refusal {
    Refusal::new(ErrorCode::Busy, "too much waits for clients of this server: try again shortly")
}

/// The work for a frame.
///
/// # Errors
/// The answer, when there is no work to do.
pub fn answer(
    edge: &Arc<Edge>,
    socket: &Arc<Socket>,
    following: &Arc<[UserId]>,
    parsed: Parsed,
) -> Result<BoxFuture<'static, Outcome>, Answer> {
    let (frame, id) = parsed.map_err(|rejected| {
        Answer::Ready(frames::error(&rejected.refusal, rejected.id.as_deref(), rejected.client_msg_id.as_deref()))
    })?;
    let (edge, socket) = (edge.clone(), socket.clone());
    match frame {
        ClientFrame::Ping => Err(Answer::Ready(frames::pong(id.as_deref(), edge.clock.now_ms()))),
        ClientFrame::Chain { client_msg_id, conversation_id, intent, sent_at_ms } => Ok(async move {
            let request = Request {
                sender: socket.identity.user,
                socket: Some(&socket.identity),
                client_msg_id: &client_msg_id,
                conversation_id: &conversation_id,
                intent,
                sent_at_ms,
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
            Ok(subscribe(edge, socket, following, user_ids, id))
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
    let more_tokens = members.len().saturating_sub(1);
    edge.rates.frames_of_users.take_many(&user, more_tokens, Instant::now()).map_err(too_many)?;
    edge.signals.typing(&edge.sessions, conversation, user, &members);
    Ok(())
}

/// Follows these users in place of those before, and answers with their presence.
fn subscribe(
    edge: Arc<Edge>,
    socket: Arc<Socket>,
    before: &[UserId],
    mut users: Vec<UserId>,
    id: Option<String>,
) -> BoxFuture<'static, Outcome> {
    users.sort_unstable();
    users.dedup();
    edge.signals.unfollow(&socket, before.iter().filter(|user| users.binary_search(user).is_err()));
    let users: Arc<[UserId]> = users.into();
    let told = tell_presence(edge, socket, users.clone(), id);
    async move { Outcome { following: Some(users), ..told.await } }.boxed()
}

/// Follows these users, if the socket does not yet, and tells their presence, some at a time.
pub fn tell_presence(
    edge: Arc<Edge>,
    socket: Arc<Socket>,
    users: Arc<[UserId]>,
    id: Option<String>,
) -> BoxFuture<'static, Outcome> {
    fn from(
        edge: Arc<Edge>,
        socket: Arc<Socket>,
        users: Arc<[UserId]>,
        Range { start, end }: Range<usize>,
        id: Option<String>,
    ) -> BoxFuture<'static, Outcome> {
        async move {
            let Some(reserved) = edge.send_bytes.reserve(PRESENCES_BYTES) else {
                return Outcome::answers(vec![refused(&too_much_waits(), id.as_deref())]);
            };
            let now_ms = edge.clock.now_ms();
            let states = edge.signals.follow(&socket, &users[start..end], |user| edge.is_online(user));
            let frame = |(user, online): (UserId, bool)| {
                Answer::Ready(frames::presence(id.as_deref(), user, online, online.then_some(now_ms)))
            };
            let answers = states.into_iter().map(frame).collect();
            let next = end..users.len().min(end + PRESENCES_AT_ONCE);
            let rest = (!next.is_empty()).then(|| from(edge, socket, users, next, id));
            Outcome { rest, reserved: Some(reserved), ..Outcome::answers(answers) }
        }
        .boxed()
    }
    let first = 0..users.len().min(PRESENCES_AT_ONCE);
    from(edge, socket, users, first, id)
}

/// Fetches one conversation after the other; each answer is written before the next is fetched.
fn synced(
    edge: Arc<Edge>,
    socket: Arc<Socket>,
    mut positions: btree_map::IntoIter<String, i64>,
    limit: i32,
    id: Option<String>,
) -> BoxFuture<'static, Outcome> {
    async move {
        let Some((conversation_id, after)) = positions.next() else { return Outcome::answers(Vec::new()) };
        let (user, bytes_max) = (socket.identity.user, edge.config.sync_page_bytes_max);
        let reserved = edge.send_bytes.reserve(bytes_max);
        let frames = match &reserved {
            Some(_) => {
                let repo = edge.repo.of(user);
                sync::missed(&repo, user, (&conversation_id, after), limit, bytes_max, id.as_deref()).await
            }
            None => sync::unanswered(&conversation_id, &too_much_waits(), id.as_deref()),
        };
        let more = positions.len() > 0;
        let rest = more.then(|| synced(edge, socket, positions, limit, id));
        Outcome { rest, reserved, ..Outcome::answers(frames.into_iter().map(Answer::Ready).collect()) }
    }
    .boxed()
}
