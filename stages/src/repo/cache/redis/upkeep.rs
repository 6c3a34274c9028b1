//! What is done to a whole server: emptying it, bounding it.

use redis::Pipeline;

use super::RedisCache;
use super::link::Link;
use crate::repo::cache::CacheError;

impl RedisCache {
    /// Bounds the memory of the server to what it takes now and this much more, for measurements: the
    /// server is to be nobody else's.
    ///
    /// # Errors
    /// [`CacheError::Away`].
    pub async fn limit_memory(&self, bytes: u64) -> Result<(), CacheError> {
        let ask = |pipe: &mut Pipeline, _: &Link| {
            pipe.cmd("INFO").arg("memory");
        };
        let (info,): (String,) = self.server.call(ask).await?;
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<u64>().ok());
        let limit = used.unwrap_or(0) + bytes;
        let set = |pipe: &mut Pipeline, _: &Link| {
            pipe.cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit);
            pipe.arg("maxmemory-policy").arg("allkeys-lfu").ignore();
        };
        self.server.call(set).await
    }

    /// Removes everything under the prefix, and says how many keys that were. For rebuilding it.
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

/// Text that stands for itself in a glob pattern of Redis.
fn glob_escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| matches!(c, '*' | '?' | '[' | ']' | '\\').then_some('\\').into_iter().chain([c]))
        .collect()
}
