//! A socket between `hello` and the close: reads frames, answers them in order, and writes with one flush a batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use futures::future::{BoxFuture, FutureExt};
use futures::{SinkExt, StreamExt};
use schemas::ids::UserId;
use tokio::time::{Instant, sleep_until};

use crate::close_reason::CloseReason;
use crate::edge::Edge;
use crate::sessions::{Identity, Socket};
use crate::socket::answers::{self, Answer, Outcome};
use crate::socket::heads::{Heads, HeadsAsked, heads};

/// Frames for which a quiet socket keeps room: after a burst the memory is given back.
const ROOM_FRAMES: usize = 32;

pub(super) enum End {
    ByServer(CloseReason),
    ByClient,
}

pub(super) struct Connection<'a> {
    stream: &'a mut WebSocket,
    socket: Arc<Socket>,
    edge: Arc<Edge>,
    /// The work for the last frame. The next frame is read after it, so messages keep their order.
    work: Option<BoxFuture<'static, Outcome>>,
    /// Answers in the order of the frames; the front may still wait for the log.
    answers: VecDeque<Answer>,
    heads: Option<BoxFuture<'static, Heads>>,
    heads_asked: HeadsAsked,
    heads_at: Instant,
    out: VecDeque<Utf8Bytes>,
    following: Arc<[UserId]>,
    heard_at: Instant,
    ping_at: Instant,
    rate_refusals: u32,
}

/// What the task woke up for.
enum Wake {
    Queue,
    Read(Option<Result<Message, axum::Error>>),
    Worked(Outcome),
    Answered(Option<Utf8Bytes>),
    Heads(Heads),
    Timer,
}

impl<'a> Connection<'a> {
    pub(super) fn new(stream: &'a mut WebSocket, socket: Arc<Socket>, edge: Arc<Edge>) -> Self {
        let now = Instant::now();
        let (heads_after, heartbeat) = (edge.config.heads_after_s, edge.config.heartbeat_s);
        Self {
            stream,
            socket,
            edge,
            work: None,
            answers: VecDeque::new(),
            heads: None,
            heads_asked: HeadsAsked::not_yet(now),
            heads_at: now + Duration::from_secs(heads_after),
            out: VecDeque::new(),
            following: Arc::from([]),
            heard_at: now,
            ping_at: now + Duration::from_secs(heartbeat),
            rate_refusals: 0,
        }
    }

    /// Serves until one side ends the connection.
    pub(super) async fn serve(mut self) -> End {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        self.edge.signals.unfollow(&self.socket, &self.following);
        match end {
            End::ByClient | End::ByServer(CloseReason::TooSlow | CloseReason::Silent) => {}
            End::ByServer(
                CloseReason::Unauthenticated
                | CloseReason::ProtocolError
                | CloseReason::Replaced
                | CloseReason::LoggedOut
                | CloseReason::RateLimited
                | CloseReason::GoingAway,
            ) => {
                let wait = Duration::from_millis(self.edge.config.close_wait_ms);
                // The client resends what is not answered by then.
                let _ = Box::pin(tokio::time::timeout(wait, self.settle())).await;
            }
        }
        end
    }

    /// Writes the answers to all frames read so far.
    async fn settle(&mut self) -> Result<(), axum::Error> {
        while !self.answers.is_empty() {
            let answer = front(&mut self.answers).await;
            self.out.extend(answer);
        }
        for frame in self.out.drain(..).filter(|frame| !frame.is_empty()) {
            self.stream.feed(Message::Text(frame)).await?;
        }
        self.stream.flush().await
    }

    /// Waits for something to do, does everything that is ready, and writes with one flush.
    async fn turn(&mut self) -> Result<(), End> {
        // The queue first: frames that came during the last write have used up their wake-up.
        self.socket.take(&mut self.out).map_err(End::ByServer)?;
        if self.out.is_empty() {
            let wake = self.wait().await;
            self.woken(wake)?;
        }
        while let Some(wake) = self.ready() {
            self.woken(wake)?;
        }
        self.socket.take(&mut self.out).map_err(End::ByServer)?;
        self.write().await
    }

    async fn wait(&mut self) -> Wake {
        let readable = self.may_read();
        let timer = self.ping_at.min(self.heads_at);
        tokio::select! {
            biased;
            () = self.socket.woken() => Wake::Queue,
            answered = front(&mut self.answers), if !self.answers.is_empty() => Wake::Answered(answered),
            outcome = optional(&mut self.work) => Wake::Worked(outcome),
            read = self.stream.next(), if readable => Wake::Read(read),
            heads = optional(&mut self.heads) => Wake::Heads(heads),
            () = sleep_until(timer) => Wake::Timer,
        }
    }

    /// What is ready without waiting. Reads no frame when the batch is as long as the queue may be.
    fn ready(&mut self) -> Option<Wake> {
        if !self.answers.is_empty()
            && let Some(answered) = front(&mut self.answers).now_or_never()
        {
            return Some(Wake::Answered(answered));
        }
        if let Some(outcome) = self.work.as_mut().and_then(FutureExt::now_or_never) {
            return Some(Wake::Worked(outcome));
        }
        if self.may_read() && self.out.len() < self.edge.config.send_queue_frames_max {
            return self.stream.next().now_or_never().map(Wake::Read);
        }
        None
    }

    fn may_read(&self) -> bool {
        self.work.is_none() && self.answers.len() < self.edge.config.sends_in_flight_a_socket_max
    }

    fn woken(&mut self, wake: Wake) -> Result<(), End> {
        match wake {
            Wake::Queue => self.socket.take(&mut self.out).map_err(End::ByServer)?,
            Wake::Answered(frame) => self.out.extend(frame),
            Wake::Worked(Outcome { answers, rest, following }) => {
                self.work = rest;
                self.answers.extend(answers);
                self.following = following.unwrap_or_else(|| self.following.clone());
            }
            Wake::Heads(heads) => {
                self.heads = None;
                match heads {
                    Heads::Answer { frame, asked } => {
                        self.heads_asked = asked;
                        self.out.extend(frame);
                    }
                    Heads::NoAnswer => {}
                    Heads::SignInIsOver => return Err(End::ByServer(CloseReason::LoggedOut)),
                }
            }
            Wake::Read(Some(Ok(message))) => self.read(message)?,
            // The library refused it: over the limit, not UTF-8, not a frame. Or the connection broke, and the close
            // frame goes nowhere.
            Wake::Read(Some(Err(_))) => return Err(End::ByServer(CloseReason::ProtocolError)),
            Wake::Read(None) => return Err(End::ByClient),
            Wake::Timer => self.timer()?,
        }
        Ok(())
    }

    fn read(&mut self, message: Message) -> Result<(), End> {
        self.heard_at = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End::ByClient),
            Message::Binary(_) => return Err(End::ByServer(CloseReason::ProtocolError)),
        };
        if let Err(wait) = self.edge.rates.frames_of_users.take(&self.socket.identity.user, Instant::now()) {
            self.rate_refusals += 1;
            if self.rate_refusals > self.edge.config.rate_refusals_max {
                return Err(End::ByServer(CloseReason::RateLimited));
            }
            self.answers.push_back(answers::rate_limited(&text, wait));
            return Ok(());
        }
        self.rate_refusals = 0;
        match answers::answer(&self.edge, &self.socket, &self.following, &text) {
            Ok(work) => self.work = Some(work),
            Err(answer) => self.answers.push_back(answer),
        }
        Ok(())
    }

    fn timer(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let heartbeat = Duration::from_secs(self.edge.config.heartbeat_s);
        if now >= self.ping_at {
            if now.duration_since(self.heard_at) >= heartbeat * 2 {
                return Err(End::ByServer(CloseReason::Silent));
            }
            self.ping_at = now + heartbeat;
            // An empty text stands for a ping: no frame of our protocol is empty.
            self.out.push_back(Utf8Bytes::default());
        }
        if now >= self.heads_at {
            self.heads_at = now + Duration::from_secs(self.edge.config.heads_every_s);
            if self.heads.is_none() {
                let Identity { user, session_id, .. } = self.socket.identity;
                self.heads = Some(heads(self.edge.clone(), user, session_id, self.heads_asked));
            }
        }
        Ok(())
    }

    /// Writes everything with one flush. Meanwhile the queue of a client that reads nothing fills up, which closes it.
    async fn write(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let (stream, out) = (&mut self.stream, &mut self.out);
        let writing = async {
            for frame in out.drain(..) {
                let message = if frame.is_empty() { Message::Ping(Default::default()) } else { Message::Text(frame) };
                stream.feed(message).await?;
            }
            stream.flush().await
        };
        let written = tokio::select! {
            biased;
            written = writing => written.map_err(|_: axum::Error| End::ByClient),
            reason = self.socket.closing() => Err(End::ByServer(reason)),
            // A dead client is not waited for longer than this.
            () = sleep_until(self.heard_at + Duration::from_secs(self.edge.config.heartbeat_s) * 3) => {
                Err(End::ByServer(CloseReason::Silent))
            }
        };
        if self.out.capacity() > ROOM_FRAMES {
            self.out.shrink_to(ROOM_FRAMES);
        }
        written
    }
}

/// Waits for a future; forever when there is none.
async fn optional<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Waits for the first answer, and removes it.
async fn front(answers: &mut VecDeque<Answer>) -> Option<Utf8Bytes> {
    let frame = match answers.front_mut() {
        Some(answer) => answer.ready().await,
        None => None,
    };
    answers.pop_front();
    frame
}
