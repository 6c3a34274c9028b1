//! Listeners whose connections are bounded: in all, by address, and in time.
//!
//! [`Listener`] accepts; each connection has a [`Seat`]. A connection that has not finished a request in time loses its
//! seat, and so does, when a bound is reached, the one that has gone longest without finishing a request: newcomers get
//! in whatever one client holds. Whoever serves the connection closes it at [`Seat::lost`]. What is refused is counted,
//! and logged with the address, each [`Reason`] at most once a minute.

mod customer;
mod limits;
mod reason;
mod seats;
mod seldom;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Interval, interval, sleep};

pub use customer::customer;
pub use limits::Limits;
pub use reason::Reason;
use seats::Seats;
pub use seats::{Crowded, Seat};
pub use seldom::Seldom;

/// How often connections are looked at for those that are too slow.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an accept waits at most for a connection to close.
const PAUSE: Duration = Duration::from_secs(1);

/// Accepts connections within bounds.
pub struct Listener {
    tcp: TcpListener,
    seats: Arc<Seats>,
    looks: Interval,
}

impl Listener {
    /// `name` tells listeners apart in metrics and in the log.
    pub fn new(tcp: TcpListener, name: &'static str, limits: Limits) -> Self {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { tcp, seats: Arc::new(Seats::new(name, limits)), looks }
    }

    /// The next connection that has a seat. While none can be accepted, as without free descriptors, it waits and tries
    /// again. Dropping the future loses no connection. Slow connections lose their seats only while it runs.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr, Seat) {
        loop {
            if self.seats.many_are_leaving() {
                self.pause().await;
            }
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                now = self.looks.tick() => {
                    self.seats.end_slow(now);
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Ok(seat) = self.seats.enter(peer.ip(), Instant::now()) {
                        if let Err(error) = stream.set_nodelay(true) {
                            tracing::debug!(%error, "TCP_NODELAY could not be set");
                        }
                        return (stream, peer, seat);
                    }
                }
                Err(error) if of_the_connection(&error) => {}
                Err(error) => {
                    self.seats.make_room(&error);
                    self.pause().await;
                }
            }
        }
    }

    /// Waits until a connection is closed, or a while.
    async fn pause(&self) {
        tokio::select! {
            () = self.seats.left() => {}
            () = sleep(PAUSE) => {}
        }
    }
}

/// Errors of a connection that ended before it was accepted: the next one may be fine.
fn of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
