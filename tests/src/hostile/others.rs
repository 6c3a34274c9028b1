//! The others: two who talk, and one who signs in, from an address that attacks nobody.

use std::fmt::{self, Display};
use std::time::Duration;

use outside::api::{Account, Api};
use outside::server::Server;
use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use crate::users::{Talker, registered, text, with};

/// After this an answer counts as none.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const CALL_EVERY: Duration = Duration::from_millis(50);
/// Every so many calls somebody signs in.
const SIGN_IN_EVERY: usize = 10;

pub(super) struct Others {
    api: Api,
    ann: Account,
    pair: String,
    of_ann: Talker,
    said: usize,
}

/// How long calls took.
#[derive(Debug, Default)]
pub(super) struct Times(Vec<Duration>);

/// What the others noticed.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) rest: Times,
    /// From a message to `message-stored`.
    pub(super) stored: Times,
    pub(super) sign_in: Times,
    pub(super) refused: usize,
}

impl Others {
    pub(super) async fn at(server: &Server, api: &Api) -> Self {
        let [ann, ben] = registered(api, ["ann", "ben"]).await;
        let (pair, of_ann) = (ann.pair_with(&ben), Talker::connect(server, &ann).await);
        Self { api: api.clone(), ann, pair, of_ann, said: 0 }
    }

    /// Talks for so long.
    pub(super) async fn measure(&mut self, time: Duration) -> Figures {
        let (mut figures, end) = (Figures::default(), Instant::now() + time);
        let mut next = Instant::now();
        while Instant::now() < end {
            let began = Instant::now();
            let me = self.api.try_call(Method::GET, "/api/users/me", Some(&self.ann.token), None);
            match timeout(ANSWER_MAX, me).await {
                Ok(Ok((status, _))) if status.is_success() => figures.rest.0.push(began.elapsed()),
                Ok(_) | Err(_) => figures.refused += 1,
            }
            let began = Instant::now();
            if timeout(ANSWER_MAX, self.is_stored()).await == Ok(true) {
                figures.stored.0.push(began.elapsed());
            } else {
                figures.refused += 1;
            }
            if self.said.is_multiple_of(SIGN_IN_EVERY) {
                let began = Instant::now();
                let body = json!({"username": "ben", "password": "correct horse"});
                match timeout(ANSWER_MAX, self.api.try_call(Method::POST, "/api/auth/login", None, Some(body))).await {
                    Ok(Ok((status, _))) if status.is_success() => figures.sign_in.0.push(began.elapsed()),
                    Ok(_) | Err(_) => figures.refused += 1,
                }
            }
            next += CALL_EVERY;
            sleep_until(next).await;
        }
        figures
    }

    /// Says something; whether it is stored.
    async fn is_stored(&mut self) -> bool {
        self.said += 1;
        let key = format!("other-{}", self.said);
        let message = with(text(&self.pair, "hello"), json!({"clientMsgId": key}));
        self.of_ann.send("send-message", message).await;
        loop {
            match outside::socket::receive(&mut self.of_ann.socket).await {
                Ok(frame) if frame["data"]["clientMsgId"] != key => {}
                Ok(frame) if frame["type"] == "message-stored" => return true,
                Ok(frame) if frame["type"] == "error" => return false,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

impl Times {
    /// So many thousandths took no longer.
    fn within(&self, thousandths: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * thousandths / 1_000).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }

    pub(super) fn median(&self) -> Duration {
        self.within(500)
    }

    pub(super) fn p99(&self) -> Duration {
        self.within(990)
    }
}

impl Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let pair = |times: &Times| format!("{:.1}/{:.1}", ms(times.median()), ms(times.p99()));
        let (rest, stored) = (pair(&self.rest), pair(&self.stored));
        write!(f, "{rest} | {stored} | {:.0} | {}", ms(self.sign_in.p99()), self.refused)
    }
}
