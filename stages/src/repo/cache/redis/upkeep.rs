//! Operations on a whole Redis server: clear it, measure it, bound its memory.

use std::sync::Arc;

use redis::Pipeline;
use schemas::ids::ConversationId;
use schemas::records::Sequenced;

use super::RedisCache;
use super::link::Link;
use crate::repo::cache::{Cache as _, CacheError};

/// The settings of a Redis server besides `maxmemory`; `deployment/infrastructure/redis/redis.sh` says
/// the same. Up to 300 entries of a sorted set lie side by side, and a message takes a third less than in
/// the skip list that they are by default (`MEMORY USAGE` of 64 of 128 B: 195 B each against 290 B).
pub const SERVER_SETTINGS: [(&str, &str); 3] =
    [("maxmemory-policy", "allkeys-lfu"), ("zset-max-listpack-entries", "300"), ("zset-max-listpack-value", "1024")];

/// Room in a server for a number of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Memory of one message, with its share of the keys.
    pub message_bytes: u64,
    /// Memory of all entries together.
    pub bytes: u64,
}

impl RedisCache {
    /// Gives a server the [`SERVER_SETTINGS`] and room for so many messages, for measurements: it is to be
    /// nobody else's. What a message takes is measured there, on a conversation of some like them, which
    /// must not be in the cache.
    ///
    /// # Errors
    /// [`CacheError::Away`].
    pub async fn make_room(
        &self,
        messages: u64,
        conversation: ConversationId,
        like: &[Arc<Sequenced>],
    ) -> Result<Room, CacheError> {
        let keys = [self.server.keys.messages(conversation), self.server.keys.newest_seq(conversation)];
        let set = |pipe: &mut Pipeline, _: &Link| {
            pipe.cmd("CONFIG").arg("SET").arg("maxmemory").arg(0).arg(&SERVER_SETTINGS[..]).ignore();
        };
        let () = self.server.call(set).await?;
        self.fill(conversation, like).await?;
        let ask = |pipe: &mut Pipeline, _: &Link| {
            for key in &keys {
                pipe.cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0);
            }
            pipe.cmd("DEL").arg(&keys).ignore();
            pipe.cmd("INFO").arg("memory");
        };
        let (of_messages, of_newest, info): (u64, u64, String) = self.server.call(ask).await?;
        // Of an empty server, whatever is still being freed now.
        let empty = info.lines().find_map(|line| line.strip_prefix("used_memory_startup:")?.trim().parse::<u64>().ok());
        let (all, count) = (of_messages + of_newest, like.len().max(1) as u64);
        let room = Room { message_bytes: all.div_ceil(count), bytes: all * messages / count };
        let limit = |pipe: &mut Pipeline, _: &Link| {
            pipe.cmd("CONFIG").arg("SET").arg("maxmemory").arg(empty.unwrap_or(0) + room.bytes).ignore();
        };
        let () = self.server.call(limit).await?;
        Ok(room)
    }

    /// How many keys the server's database has, with any prefix.
    ///
    /// # Errors
    /// [`CacheError::Away`].
    pub async fn key_count(&self) -> Result<u64, CacheError> {
        let ask = |pipe: &mut Pipeline, _: &Link| {
            pipe.cmd("DBSIZE");
        };
        let (count,): (u64,) = self.server.call(ask).await?;
        Ok(count)
    }

    /// Removes all keys with the prefix, and returns how many there were.
    ///
    /// # Errors
    /// [`CacheError::Away`].
    pub async fn clear(&self) -> Result<u64, CacheError> {
        const KEYS_A_SCAN: u32 = 1_000;
        let (mut cursor, mut removed) = (0_u64, 0);
        let pattern = format!("{}*", glob_escaped(&self.server.keys.prefix));
        loop {
            let scan = |pipe: &mut Pipeline, _: &Link| {
                pipe.cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_A_SCAN);
            };
            let ((next, keys),): ((u64, Vec<Vec<u8>>),) = self.server.call(scan).await?;
            if !keys.is_empty() {
                let unlink = |pipe: &mut Pipeline, _: &Link| {
                    pipe.cmd("UNLINK").arg(&keys);
                };
                let (count,): (u64,) = self.server.call(unlink).await?;
                removed += count;
            }
            if next == 0 {
                return Ok(removed);
            }
            cursor = next;
        }
    }
}

/// Escapes a text for a glob pattern of Redis.
fn glob_escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| matches!(c, '*' | '?' | '[' | ']' | '\\').then_some('\\').into_iter().chain([c]))
        .collect()
}
