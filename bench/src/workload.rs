//! Messages to measure with: users who talk in pairs, in small groups and in one large group.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use schemas::records::Upstream;

/// What a workload consists of.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Where its randomness starts.
    pub seed: u64,
    /// Between how many conversations messages are spread evenly. One in a hundred is a small group.
    pub conversations: u64,
    /// Bytes of content in a message.
    pub content_bytes: usize,
    /// One message in so many goes to the large group; 0: none.
    pub large_group_every: u64,
}

/// Members of each small group.
pub const SMALL_GROUP_MEMBERS: i64 = 20;
/// Members of the large group.
pub const LARGE_GROUP_MEMBERS: i64 = 1_000;
/// One conversation in so many is a small group.
const SMALL_GROUP_EVERY: u64 = 100;
/// The large group.
pub const LARGE_GROUP: GroupId = GroupId(1);
/// Ids of users start here.
const FIRST_USER: i64 = 1_000_000;

impl Workload {
    /// The conversation of that number.
    pub fn conversation(&self, number: u64) -> ConversationId {
        let n = i64::try_from(number).unwrap_or(i64::MAX / 4);
        if number % SMALL_GROUP_EVERY == SMALL_GROUP_EVERY - 1 {
            ConversationId::Group(GroupId(1_000 + n))
        } else {
            ConversationId::single(UserId(FIRST_USER + 2 * n), UserId(FIRST_USER + 2 * n + 1))
        }
    }

    /// Members of a group of this workload.
    pub fn members(group: GroupId) -> Vec<UserId> {
        if group == LARGE_GROUP {
            return (0..LARGE_GROUP_MEMBERS).map(|n| UserId(FIRST_USER + n)).collect();
        }
        let first = FIRST_USER + 2 * (group.0 - 1_000);
        (0..SMALL_GROUP_MEMBERS).map(|n| UserId(first + n)).collect()
    }

    /// Every user who takes part.
    pub fn users(&self) -> impl Iterator<Item = UserId> {
        let pairs = i64::try_from(self.conversations).unwrap_or(i64::MAX / 4);
        let last = (2 * pairs + SMALL_GROUP_MEMBERS).max(LARGE_GROUP_MEMBERS);
        (0..last).map(|n| UserId(FIRST_USER + n))
    }

    /// An endless, repeatable stream of messages; no clientMsgId comes twice.
    pub fn messages(&self) -> impl Iterator<Item = Upstream> + use<> {
        let workload = self.clone();
        let mut random = StdRng::seed_from_u64(self.seed);
        let text: Box<str> = "lorem ipsum dolor sit amet ".chars().cycle().take(self.content_bytes).collect();
        (0_u64..).map(move |n| {
            let large = workload.large_group_every > 0 && n % workload.large_group_every == 0;
            let conversation_id = if large {
                ConversationId::Group(LARGE_GROUP)
            } else {
                workload.conversation(random.random_range(0..workload.conversations))
            };
            let sender_id = match conversation_id {
                ConversationId::Single { low, high } => {
                    if n % 2 == 0 {
                        low
                    } else {
                        high
                    }
                }
                ConversationId::Group(group) => Self::members(group)[0],
                ConversationId::World => UserId(FIRST_USER),
            };
            Upstream {
                conversation_id,
                sender_id,
                client_msg_id: format!("{n:016x}").into(),
                kind: Kind::Text,
                content: text.clone(),
                target_seq: None,
                remove: false,
            }
        })
    }
}
