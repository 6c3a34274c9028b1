//! The cache on Redis, shared by the processes of an installation.
//!
//! | key, behind the installation's prefix | holds | for |
//! | --- | --- | --- |
//! | `user_info:{id}:{run}` | a user, or a mark | 24 h |
//! | `user_session:{id}:{run}` | hash: gateway, login, last seen | 30 min |
//! | `group_members:{id}` | members and version | 1 h |
//! | `hot_messages:{conversation}` | sorted set of records by seq, the 64 newest, or up to 300 | 7 days |
//! | `conv_seq:{conversation}` | the newest seq that was put there | 7 days |
//!
//! `run` is the server's run id: a server that starts again does not find what it knew of users, which
//! may have changed meanwhile. Messages and members survive it: they are held against the store.
//! `conv_seq` only says what is old enough to go; a head is read from the store, never here.
//!
//! Every call is one pipeline over one connection, with a time limit, behind a breaker. Memory is
//! bounded by the server's `maxmemory`; which policy, and what else it is told, is in [`upkeep`].

mod config;
mod link;
mod server;
pub mod upkeep;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use guard::BreakerState;
use redis::{Client, IntoConnectionInfo, Pipeline};
use schemas::avro::Record;
use schemas::ids::{ConversationId, GroupId, Seq, UserId};
use schemas::records::Sequenced;

pub use self::config::RedisConfig;
use self::link::Link;
use self::server::Server;
use super::hot::{self, Source};
use super::{Cache, CacheError, HOT_MESSAGES_MAX, Lifetimes, Lookup, UserSession};
use crate::repo::model::{Membership, User};

/// A [`Cache`] on Redis. Clones share the connection.
#[derive(Clone)]
pub struct RedisCache {
    server: Arc<Server>,
    lifetimes: Lifetimes,
}

impl RedisCache {
    /// A cache on this server, which need not be there yet.
    ///
    /// # Errors
    /// [`CacheError::Address`].
    pub fn open(config: &RedisConfig, lifetimes: Lifetimes) -> Result<Self, CacheError> {
        let mut info = config.url.as_str().into_connection_info().map_err(CacheError::Address)?;
        if !config.password.is_empty() {
            let settings = info.redis_settings().clone().set_password(&config.password);
            info = info.set_redis_settings(settings);
        }
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let client = Client::open(info.set_tcp_settings(tcp)).map_err(CacheError::Address)?;
        Ok(Self { server: Arc::new(Server::new(client, config, lifetimes.forgotten_user)), lifetimes })
    }

    /// The state of the circuit breaker.
    pub fn breaker(&self) -> BreakerState {
        self.server.guard.state()
    }

    /// An append begins only what is kept from a conversation's first message on: a few messages in the
    /// middle are too few for any page, and would take room until there are enough.
    fn put_messages(
        &self,
        (pipe, link): (&mut Pipeline, &Link),
        conversation: ConversationId,
        part: &[Part],
        source: Source,
    ) {
        let newest = &part[part.len().saturating_sub(HOT_MESSAGES_MAX)..];
        let begins = match source {
            Source::Chain => part.first().is_some_and(|(seq, _)| *seq == Seq(1)),
            Source::Store => true,
        };
        let keys = &self.server.keys;
        pipe.cmd("EVALSHA")
            .arg(&*link.script)
            .arg(2)
            .arg(keys.messages(conversation))
            .arg(keys.newest_seq(conversation));
        pipe.arg(self.lifetimes.messages.as_secs());
        pipe.arg(source.kept_least(part.len())).arg(HOT_MESSAGES_MAX).arg(if begins { "begin" } else { "go on" });
        for (seq, bytes) in newest {
            pipe.arg(seq.0).arg(bytes);
        }
        pipe.ignore();
    }
}

/// The seq of a message, and its Avro encoding.
type Part = (Seq, Vec<u8>);

fn encoded(record: &Sequenced) -> Option<Part> {
    let mut bytes = Vec::with_capacity(256);
    // A record that came from a topic or a store has an encoding; one without is only not cached.
    record.encode(&mut bytes).ok().map(|()| (record.seq_id, bytes))
}

#[async_trait]
impl Cache for RedisCache {
    async fn user(&self, id: UserId) -> Result<Lookup<User>, CacheError> {
        if self.server.is_pending(id) {
            return Ok(Lookup::Unknown);
        }
        let get = |pipe: &mut Pipeline, link: &Link| {
            pipe.cmd("GET").arg(self.server.keys.user(id, link));
        };
        let (bytes,): (Option<Vec<u8>>,) = self.server.call(get).await?;
        let Some(bytes) = bytes else { return Ok(Lookup::Unknown) };
        wire::read_user(&bytes).map_err(self.server.unreadable("a user"))
    }

    async fn put_user(&self, id: UserId, user: Option<&User>) -> Result<(), CacheError> {
        let Lifetimes { user: known, absent_user: absent, .. } = self.lifetimes;
        let lifetime = if user.is_some() { known } else { absent };
        let put = |pipe: &mut Pipeline, link: &Link| {
            pipe.cmd("SET").arg(self.server.keys.user(id, link)).arg(wire::user_bytes(user));
            pipe.arg("EX").arg(lifetime.as_secs()).arg("NX").ignore();
        };
        self.server.call(put).await
    }

    async fn forget_user(&self, id: UserId) -> Result<(), CacheError> {
        self.server.forget(id).await
    }

    async fn session(&self, user: UserId) -> Result<Option<UserSession>, CacheError> {
        let get = |pipe: &mut Pipeline, link: &Link| {
            pipe.cmd("HMGET").arg(self.server.keys.session(user, link)).arg(&["gateway_id", "login_at", "last_seen"]);
        };
        type Fields = (Option<String>, Option<i64>, Option<i64>);
        let (fields,): (Fields,) = self.server.call(get).await?;
        let (Some(gateway_id), Some(login_at), Some(last_seen)) = fields else { return Ok(None) };
        Ok(Some(UserSession { user_id: user, gateway_id, login_at, last_seen }))
    }

    async fn put_session(&self, session: &UserSession) -> Result<(), CacheError> {
        let put = |pipe: &mut Pipeline, link: &Link| {
            let key = self.server.keys.session(session.user_id, link);
            pipe.atomic().cmd("HSET").arg(&key).arg("gateway_id").arg(&session.gateway_id);
            pipe.arg("login_at").arg(session.login_at).arg("last_seen").arg(session.last_seen).ignore();
            pipe.cmd("EXPIRE").arg(&key).arg(self.lifetimes.session.as_secs()).ignore();
        };
        self.server.call(put).await
    }

    async fn membership(&self, group: GroupId) -> Result<Option<Arc<Membership>>, CacheError> {
        let get = |pipe: &mut Pipeline, _: &Link| {
            pipe.cmd("GET").arg(self.server.keys.members(group));
        };
        let (bytes,): (Option<Vec<u8>>,) = self.server.call(get).await?;
        let read = bytes.map(|bytes| wire::read_membership(&bytes).map(Arc::new));
        read.transpose().map_err(self.server.unreadable("the members of a group"))
    }

    async fn put_membership(&self, membership: &Membership) -> Result<(), CacheError> {
        let put = |pipe: &mut Pipeline, _: &Link| {
            pipe.cmd("SET").arg(self.server.keys.members(membership.group_id)).arg(wire::membership_bytes(membership));
            pipe.arg("EX").arg(self.lifetimes.membership.as_secs()).ignore();
        };
        self.server.call(put).await
    }

    async fn messages(&self, conversation: ConversationId, from: Seq) -> Result<Vec<Arc<Sequenced>>, CacheError> {
        let range = |pipe: &mut Pipeline, _: &Link| {
            pipe.cmd("ZRANGEBYSCORE").arg(self.server.keys.messages(conversation)).arg(from.0).arg("+inf");
        };
        let (members,): (Vec<Vec<u8>>,) = self.server.call(range).await?;
        let read = members.iter().map(|bytes| Sequenced::decode(bytes).map(Arc::new));
        read.collect::<Result<_, _>>().map_err(|error| self.server.unreadable("a message")(error.into()))
    }

    async fn append(&self, batch: &[&Sequenced]) -> Result<(), CacheError> {
        let parts: Vec<(ConversationId, Vec<Part>)> = hot::parts(batch)
            .iter()
            .map(|part| (part[0].conversation_id, part.iter().filter_map(|record| encoded(record)).collect()))
            .collect();
        if parts.is_empty() {
            return Ok(());
        }
        let put = |pipe: &mut Pipeline, link: &Link| {
            for (conversation, part) in &parts {
                self.put_messages((pipe, link), *conversation, part, Source::Chain);
            }
        };
        self.server.call(put).await
    }

    async fn fill(&self, conversation: ConversationId, run: &[Arc<Sequenced>]) -> Result<(), CacheError> {
        let part: Vec<Part> = run.iter().filter_map(|record| encoded(record)).collect();
        if part.is_empty() {
            return Ok(());
        }
        self.server.call(|pipe, link| self.put_messages((pipe, link), conversation, &part, Source::Store)).await
    }

    async fn forget_messages(&self, below: &BTreeMap<ConversationId, Seq>) -> Result<(), CacheError> {
        if below.is_empty() {
            return Ok(());
        }
        let remove = |pipe: &mut Pipeline, _: &Link| {
            for (&conversation, seq) in below {
                pipe.cmd("ZREMRANGEBYSCORE").arg(self.server.keys.messages(conversation)).arg("-inf");
                pipe.arg(format!("({seq}")).ignore();
            }
        };
        self.server.call(remove).await
    }

    async fn probe(&self) -> Result<(), CacheError> {
        self.server.probe().await
    }
}
