//! A repo that is served over a real connection, on a real log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use listener::Listener;
use schemas::avro::Record;
use schemas::error::{ErrorCode, GRPC_CODE_METADATA};
use schemas::ids::UserId;
use schemas::pb;
use schemas::records::Upstream;
use schemas::token::SigningKey;
use stages::repo::cache::local::{LocalCache, LocalConfig};
use stages::repo::cache::{Cache, Lifetimes};
use stages::repo::cached::CachedStore;
use stages::repo::client::auth_service_client::AuthServiceClient;
use stages::repo::client::conversation_service_client::ConversationServiceClient;
use stages::repo::client::group_repo_client::GroupRepoClient;
use stages::repo::client::message_repo_client::MessageRepoClient;
use stages::repo::client::user_repo_client::UserRepoClient;
use stages::repo::guarded::{GuardedStore, GuardedStoreConfig};
use stages::repo::{RepoConfig, RepoError, RepoParts, serve};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;
use topics::backlog::{Backlog, BacklogLimits};
use topics::catalogue::{Layout, UPSTREAM};
use topics::clock::Clock;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::headers::Headers;
use topics::log::{Log, StartAt};

use crate::fixtures::{NOW, TestStore, sqlite_store};

/// How long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Served {
    pub store: Arc<CachedStore>,
    pub log: Arc<dyn Log>,
    pub clock: Clock,
    pub key: Arc<SigningKey>,
    pub group_changed: Arc<Notify>,
    pub backlog: Arc<Backlog>,
    pub online: Arc<Mutex<Vec<UserId>>>,
    pub channel: Channel,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<Result<(), RepoError>>,
    /// What whoever watches the store tells.
    pub store_works: watch::Sender<bool>,
    pub files: TestStore,
}

/// Password hashes at the least cost.
pub fn config() -> RepoConfig {
    RepoConfig { password_memory_kib: 8, password_passes: 1, ..RepoConfig::default() }
}

pub fn log_in(dir: &std::path::Path, clock: &Clock) -> Arc<dyn Log> {
    let layout = Layout { chain_partitions: 4, gateway_slots: 2 };
    EmbeddedLog::open(EmbeddedConfig::new(dir.join("log"), layout), clock.clone()).unwrap()
}

impl Served {
    pub async fn start() -> Self {
        Self::start_with(config()).await
    }

    /// One with these users, and their ids.
    pub async fn with_users<const N: usize>(names: [&str; N]) -> (Self, [i64; N]) {
        let repo = Self::start().await;
        let mut ids = [0; N];
        for (id, name) in ids.iter_mut().zip(names) {
            *id = repo.user(name).await;
        }
        (repo, ids)
    }

    pub async fn start_with(config: RepoConfig) -> Self {
        Self::start_anew(config, u64::MAX).await
    }

    /// One that asks its callers to wait while more records wait in the chain.
    pub async fn start_with_lag_max(records: u64) -> Self {
        Self::start_anew(config(), records).await
    }

    async fn start_anew(config: RepoConfig, lag_records_max: u64) -> Self {
        let (files, clock) = (sqlite_store().await, Clock::manual(NOW));
        let log = log_in(files.dir.path(), &clock);
        Self::start_on(files, log, clock, config, lag_records_max).await
    }

    /// The server ends, and comes again over the same store.
    pub async fn restart(self) -> Self {
        let Self { log, clock, channel, shutdown, serving, files, .. } = self;
        drop(channel);
        shutdown.cancel();
        tokio::time::timeout(SOON, serving).await.unwrap().unwrap().unwrap();
        Self::start_on(files, log, clock, config(), u64::MAX).await
    }

    async fn start_on(
        files: TestStore,
        log: Arc<dyn Log>,
        clock: Clock,
        config: RepoConfig,
        lag_records_max: u64,
    ) -> Self {
        let late = Duration::from_secs(3_600);
        let limits =
            BacklogLimits { records_max: lag_records_max, wait_max: late, late_records: u64::MAX, late_wait: late };
        let backlog = Arc::new(Backlog::new(limits));
        let (key, online) = (Arc::new(SigningKey::generate().unwrap()), Arc::new(Mutex::new(Vec::new())));
        let (group_changed, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::new(listener, "repo", config.connections());
        let is_online = Arc::clone(&online);
        let cache: Arc<dyn Cache> = Arc::new(LocalCache::new(&LocalConfig::default(), Lifetimes::default()));
        let bare = files.store.clone();
        let guarded = GuardedStore::new(bare.clone(), &GuardedStoreConfig::default());
        let store = Arc::new(CachedStore::new(bare, Arc::new(guarded), cache.clone()));
        let (store_works, told) = watch::channel(true);
        let parts = RepoParts {
            serving: told,
            store: store.clone(),
            cache,
            log: Arc::clone(&log),
            is_online: Arc::new(move |user| is_online.lock().unwrap().contains(&user)),
            signing_key: Arc::clone(&key),
            clock: clock.clone(),
            group_changed: Arc::clone(&group_changed),
            backlog: Arc::clone(&backlog),
            config,
            drain_timeout: Duration::from_millis(50),
            instance: 3,
        };
        let serving = tokio::spawn(serve(parts, listener, shutdown.clone()));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { store, log, clock, key, group_changed, backlog, online, channel, shutdown, serving, store_works, files }
    }

    pub fn users(&self) -> UserRepoClient<Channel> {
        UserRepoClient::new(self.channel.clone())
    }

    pub fn messages(&self) -> MessageRepoClient<Channel> {
        MessageRepoClient::new(self.channel.clone())
    }

    pub fn groups(&self) -> GroupRepoClient<Channel> {
        GroupRepoClient::new(self.channel.clone())
    }

    pub fn conversations(&self) -> ConversationServiceClient<Channel> {
        ConversationServiceClient::new(self.channel.clone())
    }

    pub fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel.clone())
    }

    pub async fn user(&self, username: &str) -> i64 {
        let request = pb::CreateUserRequest { username: username.into(), ..Default::default() };
        self.users().create_user(request).await.unwrap().into_inner().user_id
    }
}

/// The error code that a call was refused with.
pub fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> ErrorCode {
    let status = answer.unwrap_err();
    let number = status.metadata().get(GRPC_CODE_METADATA).expect("a refusal has its code").to_str().unwrap();
    let code = ErrorCode::from_code(number.parse().unwrap()).unwrap();
    assert_eq!(status.code() as i32, code.grpc_code());
    code
}

/// The first so many records of the upstream topic, once they are there, and what travels beside them.
pub async fn upstream(log: &Arc<dyn Log>, count: usize) -> Vec<(Upstream, Headers)> {
    let partitions: Vec<_> = (0..4).map(|partition| (partition, StartAt::Earliest)).collect();
    let mut reader = log.read(&UPSTREAM.spec, &partitions).await.unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        let batch = reader.next_within(SOON).await.unwrap().expect("the records come in time");
        found.extend(batch.records.into_iter().map(|r| (Upstream::decode(&r.value).unwrap(), r.headers)));
    }
    found
}

/// How many records the upstream topic holds.
pub async fn upstream_count(log: &Arc<dyn Log>) -> u64 {
    let mut count = 0;
    for partition in 0..4 {
        let bounds = log.bounds(&UPSTREAM.spec, partition).await.unwrap();
        count += bounds.end - bounds.start;
    }
    count
}
