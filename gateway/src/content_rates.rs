//! How much may be said in a second: messages, and bytes of content, by user, by address and by conversation. What
//! goes to many (`world` and large groups) has lower limits of its own.

use std::net::IpAddr;
use std::time::Duration;

use schemas::error::{ErrorCode, Refusal};
use schemas::ids::{ConversationId, UserId};
use tokio::time::Instant;

use crate::config::GatewayConfig;
use crate::rate::RateLimiter;

#[derive(Debug)]
pub struct ContentRates {
    bytes_of_users: RateLimiter<UserId>,
    bytes_of_addresses: RateLimiter<IpAddr>,
    conversations: ConversationRates,
    crowds: ConversationRates,
    shares_while_late: RateLimiter<UserId>,
}

#[derive(Debug)]
struct ConversationRates {
    messages: RateLimiter<ConversationId>,
    bytes: RateLimiter<ConversationId>,
}

/// A message that somebody wants to send.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    pub sender: UserId,
    /// Of the socket that it came from.
    pub address: Option<IpAddr>,
    pub conversation: ConversationId,
    /// Whether it goes to many.
    pub to_crowd: bool,
    /// Bytes of its content.
    pub bytes: usize,
}

impl ContentRates {
    pub fn new(config: &GatewayConfig) -> Self {
        let (burst_s, entries_max) = (config.rate_burst_s, config.rate_entries_max);
        let rates = |messages, bytes| ConversationRates {
            messages: RateLimiter::new(messages, burst_s, entries_max),
            bytes: RateLimiter::new(bytes, burst_s, entries_max),
        };
        Self {
            bytes_of_users: RateLimiter::new(config.content_bytes_a_second_a_user, burst_s, entries_max),
            bytes_of_addresses: RateLimiter::new(config.content_bytes_a_second_an_address, burst_s, entries_max),
            conversations: rates(config.messages_a_second_a_conversation, config.content_bytes_a_second_a_conversation),
            crowds: rates(config.messages_a_second_a_crowd, config.content_bytes_a_second_a_crowd),
            shares_while_late: RateLimiter::new(config.late_messages_a_second_a_user, 1, entries_max),
        }
    }

    /// Counts a message. The sender's own limits come first: who is over them takes nothing from the conversation's.
    ///
    /// # Errors
    /// RateLimited; it says what there was too much of, and how long to wait.
    pub fn take(&self, said: Said) -> Result<(), Refusal> {
        let (now, bytes) = (Instant::now(), said.bytes);
        self.bytes_of_users.take_many(&said.sender, bytes, now).map_err(too_much("too many bytes of yours"))?;
        if let Some(address) = said.address {
            self.bytes_of_addresses
                .take_many(&address, bytes, now)
                .map_err(too_much("too many bytes of your address"))?;
        }
        let rates = if said.to_crowd { &self.crowds } else { &self.conversations };
        rates.messages.take(&said.conversation, now).map_err(too_much("too many messages in this conversation"))?;
        rates.bytes.take_many(&said.conversation, bytes, now).map_err(too_much("too many bytes in this conversation"))
    }

    /// Counts a message while the chain is late. Whether the sender had some of their share left.
    pub fn take_share(&self, sender: UserId) -> bool {
        self.shares_while_late.take(&sender, Instant::now()).is_ok()
    }
}

fn too_much(what: &'static str) -> impl Fn(Duration) -> Refusal {
    move |wait| Refusal::new(ErrorCode::RateLimited, format!("{what}: wait {} ms", wait.as_millis() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: usize = 10;
    const PAIR: ConversationId = ConversationId::Single { low: UserId(1), high: UserId(2) };

    fn rates() -> ContentRates {
        ContentRates::new(&GatewayConfig {
            rate_burst_s: 1,
            content_bytes_a_second_a_user: 10_000,
            content_bytes_a_second_an_address: 15_000,
            messages_a_second_a_conversation: 8,
            content_bytes_a_second_a_conversation: 18_000,
            messages_a_second_a_crowd: 3,
            content_bytes_a_second_a_crowd: 9_000,
            ..Default::default()
        })
    }

    fn said(sender: i64, conversation: ConversationId, bytes: usize) -> Said {
        let to_crowd = conversation == ConversationId::World;
        let address = Some(IpAddr::from([10, 0, 0, u8::try_from(sender / 10).unwrap()]));
        Said { sender: UserId(sender), address, conversation, to_crowd, bytes }
    }

    /// The first of the messages that is refused, and why.
    fn check(messages: impl IntoIterator<Item = Said>, refused: usize, why: &str) {
        let rates = rates();
        for (number, said) in messages.into_iter().enumerate() {
            match rates.take(said) {
                Ok(()) => assert!(number < refused, "{number} of {why}"),
                Err(refusal) => {
                    assert_eq!((number, refusal.code), (refused, ErrorCode::RateLimited), "{refusal:?}");
                    assert!(refusal.message.contains(why), "{refusal:?}");
                    return;
                }
            }
        }
        panic!("nothing was refused: {why}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_limit_refuses_and_says_what_there_was_too_much_of() {
        let own = |user| ConversationId::Single { low: UserId(user), high: UserId(user) };
        check((0..9).map(|_| said(10, own(10), 4_000)), 2, "bytes of yours");
        check((0..9).map(|user| said(10 + user, own(user), 4_000)), 3, "bytes of your address");
        check((0..9).map(|user| said(10 * user, PAIR, SMALL)), 8, "messages in this conversation");
        check((0..9).map(|user| said(10 * user, PAIR, 4_000)), 4, "bytes in this conversation");
        check((0..9).map(|user| said(10 * user, ConversationId::World, SMALL)), 3, "messages in this conversation");
        check((0..9).map(|user| said(10 * user, ConversationId::World, 4_000)), 2, "bytes in this conversation");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_over_their_own_limit_takes_nothing_from_the_conversation() {
        let rates = rates();
        let of = |sender, bytes| rates.take(said(sender, PAIR, bytes)).is_ok();
        assert!(of(10, 10_000));
        assert!((0..100).all(|_| !of(10, 100)));
        assert!(of(20, 8_000), "the conversation has room for others");
    }

    #[tokio::test(start_paused = true)]
    async fn while_others_wait_each_user_has_a_share_which_comes_back() {
        let rates = rates();
        let share = usize::try_from(GatewayConfig::default().late_messages_a_second_a_user).unwrap();
        assert_eq!((0..1_000).filter(|_| rates.take_share(UserId(1))).count(), share);
        assert!(rates.take_share(UserId(2)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(rates.take_share(UserId(1)));
    }
}
