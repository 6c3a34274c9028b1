//! A socket between `hello` and the close: reads frames, answers them in order, and writes with one flush a batch.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use schemas::ids::UserId;
use tokio::time::{Instant, sleep_until};

use crate::client_frame::ClientFrame;
use crate::close_reason::CloseReason;
use crate::config::GatewayConfig;
use crate::edge::Edge;
use crate::send_queue::{Identity, Socket};
use crate::socket::answers::{self, Outcome};
use crate::socket::heads::{Heads, HeadsAsked, heads};
use crate::socket::outgoing::Outgoing;

/// Frames ready to be written at which a socket reads no more, and lets other tasks go first once they are.
const TURN_FRAMES: usize = 64;
/// From when the client has read what came before dropped frames, to `heads`: it may fall behind again at once.
const HEADS_AFTER_DROPS: Duration = Duration::from_secs(1);

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
    /// What is left of it, for when everything so far is written.
    rest: Option<BoxFuture<'static, Outcome>>,
    outgoing: Outgoing,
    heads: Option<BoxFuture<'static, Heads>>,
    heads_asked: HeadsAsked,
    heads_at: Instant,
    following: Arc<[UserId]>,
    /// Whether changes of presence were dropped.
    presence_dropped: bool,
    heard_at: Instant,
    ping_at: Instant,
    rate_refusals: u32,
}

/// What the task woke up for.
enum Wake {
    Queue,
    Read(Option<Result<Message, axum::Error>>),
    Worked(Outcome),
    Answered,
    Heads(Heads),
    Timer,
}

impl<'a> Connection<'a> {
    pub(super) fn new(stream: &'a mut WebSocket, socket: Arc<Socket>, edge: Arc<Edge>) -> Self {
        let now = Instant::now();
        let (heads_after, heartbeat) = (edge.config.heads_after_s, edge.config.heartbeat_s);
        let outgoing = Outgoing::new(&edge.send_bytes);
        Self {
            stream,
            socket,
            edge,
            work: None,
            rest: None,
            outgoing,
            heads: None,
            heads_asked: HeadsAsked::not_yet(now),
            heads_at: now + Duration::from_secs(heads_after),
            following: Arc::from([]),
            presence_dropped: false,
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
        self.edge.signals.unfollow(&self.socket, self.following.iter());
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
                let _ = Box::pin(tokio::time::timeout(wait, self.outgoing.settle(self.stream))).await;
            }
        }
        end
    }

    /// Waits for something to do, does everything that is ready, and writes with one flush.
    async fn turn(&mut self) -> Result<(), End> {
        // The queue first: frames that came during the last write have used up their wake-up.
        self.take()?;
        self.go_on();
        if self.outgoing.frames() == 0 {
            let wake = self.wait().await;
            self.woken(wake)?;
        }
        while let Some(wake) = self.ready() {
            self.woken(wake)?;
        }
        self.take()?;
        let is_long = self.outgoing.frames() >= TURN_FRAMES;
        self.write().await?;
        if is_long {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(), End> {
        let caught_up = self.outgoing.take_from(&self.socket).map_err(End::ByServer)?;
        if caught_up {
            self.heads_at = self.heads_at.min(Instant::now() + HEADS_AFTER_DROPS);
            self.presence_dropped = !self.following.is_empty();
        }
        Ok(())
    }

    /// Goes on with the work of the last frame, when all of its answers so far are written.
    fn go_on(&mut self) {
        if self.work.is_none() && self.outgoing.answers() == 0 {
            self.work = self.rest.take();
            if self.work.is_some() {
                // It took the answers so far; what it says is not read until all are made.
                self.heard_at = Instant::now();
            } else if std::mem::take(&mut self.presence_dropped) {
                let users = self.following.clone();
                self.work = Some(answers::tell_presence(self.edge.clone(), self.socket.clone(), users, None));
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let readable = self.may_read();
        let timer = self.ping_at.min(self.heads_at);
        tokio::select! {
            biased;
            () = self.socket.woken() => Wake::Queue,
            () = self.outgoing.answered() => Wake::Answered,
            outcome = optional(&mut self.work) => Wake::Worked(outcome),
            read = self.stream.next(), if readable => Wake::Read(read),
            heads = optional(&mut self.heads) => Wake::Heads(heads),
            () = sleep_until(timer) => Wake::Timer,
        }
    }

    /// What is ready without waiting.
    fn ready(&mut self) -> Option<Wake> {
        if self.outgoing.answered().now_or_never().is_some() {
            return Some(Wake::Answered);
        }
        if let Some(outcome) = self.work.as_mut().and_then(FutureExt::now_or_never) {
            return Some(Wake::Worked(outcome));
        }
        if self.may_read() && self.outgoing.frames() < TURN_FRAMES {
            return self.stream.next().now_or_never().map(Wake::Read);
        }
        None
    }

    fn may_read(&self) -> bool {
        let GatewayConfig { sends_in_flight_a_socket_max, send_queue_bytes_max, sync_page_bytes_max, .. } =
            &self.edge.config;
        self.work.is_none()
            && self.rest.is_none()
            && self.outgoing.answers() < *sends_in_flight_a_socket_max
            // An answer has room in the queue.
            && self.outgoing.bytes() + *sync_page_bytes_max <= *send_queue_bytes_max
    }

    fn woken(&mut self, wake: Wake) -> Result<(), End> {
        match wake {
            Wake::Queue => self.take()?,
            Wake::Answered => {}
            Wake::Worked(Outcome { answers, rest, following, reserved: _until_they_are_held }) => {
                self.work = None;
                self.rest = rest;
                answers.into_iter().for_each(|answer| self.outgoing.answer(answer));
                self.following = following.unwrap_or_else(|| self.following.clone());
            }
            Wake::Heads(heads) => {
                self.heads = None;
                match heads {
                    Heads::Answer { frame, asked } => {
                        self.heads_asked = asked;
                        frame.into_iter().for_each(|frame| self.outgoing.send(frame));
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
        let parsed = match message {
            Message::Text(text) => Some(ClientFrame::parse(&text)),
            Message::Ping(_) | Message::Pong(_) => None,
            Message::Close(_) => return Err(End::ByClient),
            Message::Binary(_) => return Err(End::ByServer(CloseReason::ProtocolError)),
        };
        let tokens = match &parsed {
            Some(Ok((frame, _))) => frame.tokens(),
            Some(Err(_)) | None => 1,
        };
        let rate = &self.edge.rates.frames_of_users;
        if let Err(wait) = rate.take_many(&self.socket.identity.user, tokens, Instant::now()) {
            self.rate_refusals += 1;
            if self.rate_refusals > self.edge.config.rate_refusals_max {
                return Err(End::ByServer(CloseReason::RateLimited));
            }
            if let Some(parsed) = parsed {
                self.outgoing.answer(answers::rate_limited(parsed, wait));
            }
            return Ok(());
        }
        self.rate_refusals = 0;
        let Some(parsed) = parsed else { return Ok(()) };
        match answers::answer(&self.edge, &self.socket, &self.following, parsed) {
            Ok(work) => self.work = Some(work),
            Err(answer) => self.outgoing.answer(answer),
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
            self.outgoing.ping();
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

    /// Writes everything. Meanwhile the queue of a client that reads nothing fills up.
    async fn write(&mut self) -> Result<(), End> {
        if self.outgoing.frames() == 0 {
            return Ok(());
        }
        tokio::select! {
            biased;
            written = self.outgoing.write_to(self.stream) => written.map_err(|_| End::ByClient),
            reason = self.socket.closing() => Err(End::ByServer(reason)),
            // A dead client is not waited for longer than this.
            () = sleep_until(self.heard_at + Duration::from_secs(self.edge.config.heartbeat_s) * 3) => {
                Err(End::ByServer(CloseReason::Silent))
            }
        }
    }
}

/// Waits for a future; forever when there is none.
async fn optional<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
