//! A process: bootstrap, parts, ready; then stop intake, finish batches, close.

mod base;
mod chain;
mod error;
mod gateway;
mod repo;
mod retention;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use schemas::causes::causes;
use stages::repo::store::{MessageSink, Probe};
use tokio::time::Instant;

use self::base::{Base, PROCESS};
use self::error::start_error;
use self::gateway::RunningGateway;
use self::repo::{OpenStore, RepoEndpoint};
use crate::cache::Stores;
use crate::config::{Config, LogKind};
use crate::health::watch::Watch;
use crate::health::{Health, State, ask};
use crate::log::OpenLog;
use crate::memory::Memory;
use crate::role::Role;
use crate::stop::stop_signal;
use crate::supervisor::{Layer, Supervisor};
use crate::{cache, disk, health, members, store, topology};

pub use self::error::ProcessError;

/// Runs the given roles until a signal stops the process (Ctrl-C, SIGTERM, SIGHUP) or a part fails.
///
/// # Errors
/// [`ProcessError`]; each says what to do.
pub async fn run(config: Config, roles: &[Role], started: Instant) -> Result<(), ProcessError> {
    let mut stop = Box::pin(stop_signal().map_err(start_error("the signal handler"))?);
    disk::outlive_file_limit().map_err(start_error("the signal handler"))?;
    // A start may wait for a service that is down: it can be stopped meanwhile.
    let process = tokio::select! {
        process = Process::start(&config, roles) => process?,
        () = &mut stop => return Ok(()),
    };
    tracing::info!(
        http = process.http.map(|address| format!("http://{address}")),
        grpc = process.grpc.map(|address| address.to_string()),
        metrics = process.metrics.map(|address| address.to_string()),
        data = %config.data_dir.display(),
        startup_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready"
    );
    process.serve(stop, &config).await
}

/// A running process.
pub struct Process {
    supervisor: Supervisor,
    health: Health,
    pub log: OpenLog,
    /// Where it answers HTTP, when it runs the gateway.
    pub http: Option<SocketAddr>,
    grpc: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
}

impl Process {
    /// Starts the parts, lowest first; returns when they are ready.
    pub async fn start(config: &Config, roles: &[Role]) -> Result<Self, ProcessError> {
        let mut config = config.clone();
        let memory = Memory::fit(&mut config);
        let config = &config;
        let mut base = Base::open(config, roles).await?;
        let opened = config.repo.open(&base).await?;
        base.watch_backlog();
        let repo = config.repo.start(&mut base, opened.as_ref()).await?;
        base.hold_instance();
        let changes = base.follow_presence().await;
        let store = opened.as_ref().map(|opened| opened.stores.cached.clone() as Arc<dyn MessageSink>);
        config.stages.start(&mut base, store, members::from_repo(repo.channel.clone())).await?;
        config.repo.store.start_retention(&mut base, opened.as_ref());
        let gateway = config.gateway.start(&mut base, &repo, &changes).await?;
        let (http, grpc) = (gateway.as_ref().map(|gateway| gateway.http), repo.own);
        watch(&mut base, memory, opened, repo, gateway).await;
        let Base { supervisor, health, open: log, metrics, .. } = base;
        Ok(Self { supervisor, health, log, http, grpc, metrics })
    }

    /// Waits for the end; then stops intake, lets every stage finish its batch, and closes.
    ///
    /// # Errors
    /// [`ProcessError::Part`] when a part failed.
    pub async fn serve(mut self, stop: impl Future<Output = ()>, config: &Config) -> Result<(), ProcessError> {
        let outcome = tokio::select! {
            () = stop => Ok(()),
            ended = self.supervisor.unexpected_end() => {
                tracing::error!(error = causes(&ended), "a part has ended");
                Err(ended)
            }
        };
        self.health.set(PROCESS, State::Failed("stopping".into()));
        tracing::info!(grace_seconds = config.grace_seconds, "stopping");
        let outcome = outcome.and(self.supervisor.stop(Instant::now() + config.grace()).await);
        self.log.close().await;
        tracing::info!("stopped");
        outcome.map_err(ProcessError::Part)
    }
}

/// Watches what the process depends on, and waits until it is ready.
async fn watch(
    base: &mut Base<'_>,
    memory: Memory,
    opened: Option<OpenStore>,
    repo: RepoEndpoint,
    gateway: Option<RunningGateway>,
) {
    let (config, log_name) = (base.config, crate::log::name(base.config));
    let mut watch = Watch::new(base.health.clone());
    let store_file = opened.as_ref().and_then(|_| store::file(config));
    watch.component("log", log_name.clone(), base.log.clone(), ask::log);
    if let Some(OpenStore { stores: Stores { bare, cache, .. }, works }) = opened {
        if let Some(address) = store::replicas(config) {
            watch.component("replicas", address, bare.clone() as Arc<dyn Probe>, ask::replicas);
        }
        if let Some(address) = cache::address(config) {
            watch.component("cache", address, cache, ask::cache);
        }
        watch.component("store", store::name(config), (bare as Arc<dyn Probe>, Arc::new(works)), ask::store);
    }
    let files = [(config.log.kind == LogKind::Embedded).then(|| config.data_dir.join("log")), store_file];
    let files: Vec<_> = files.into_iter().flatten().collect();
    if !files.is_empty() {
        let room = disk::Room::new(files, config.disk_reserve(), base.backlog.clone());
        watch.component("disk", config.data_dir.display().to_string(), room, ask::disk);
    }
    watch.component("memory", "this process".into(), (Arc::new(memory), base.backlog.clone()), ask::memory);
    // A repo in this process has a state of its own, and that of its store.
    let mut tasks = topology::tasks(config.stages.fuse()).into_iter().filter(|task| base.runs(Role::of(*task)));
    let asks_repo = base.runs(Role::Gateway) || tasks.any(|task| task.columns().asks_repo);
    if repo.own.is_none() && asks_repo {
        watch.component("repo", format!("grpc://{}", repo.address), repo.channel, ask::repo);
    }
    if let Some(RunningGateway { slot_lost, .. }) = gateway {
        watch.component("slot", log_name.clone(), slot_lost, ask::slot);
        watch.component("chain-lag", log_name.clone(), base.backlog.clone(), ask::backlog);
        let groups = topology::groups(config.stages.fuse());
        if let OpenLog::Embedded(_) = base.open {
            health::watch::stages_are_there(&*base.log, &groups).await;
        }
        watch.groups(base.log.clone(), log_name, groups);
    }
    base.supervisor.start(Layer::Edge, "health", |stop| {
        stop.run_until_cancelled_owned(watch.run()).map(|_| Ok::<_, Infallible>(()))
    });
    base.health.set(PROCESS, State::Ready);
    health::watch::ready(&base.health).await;
}
