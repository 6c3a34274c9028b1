//! A process: bootstrap, components, ready; then stop intake, finish batches, close.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway::{GatewayParts, SlotLease};
use stages::membership::MembershipSource;
use stages::presence::SharedPresence;
use stages::repo::store::Store;
use stages::repo::{RepoParts, keys, outbox};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use topics::backlog::Backlog;
use topics::clock::Clock;
use topics::log::Log;

use crate::cli::Role;
use crate::commands::stop_signal;
use crate::config::Config;
use crate::coordination::Local;
use crate::health::Health;
use crate::log::OpenLog;
use crate::runner::Surroundings;
use crate::supervisor::{Ended, PartError, Supervisor};
use crate::tasks::StageTasks;
use crate::topology::{self, LAG_THAT_REFUSES, StageRole};
use crate::{cache, members, persisted, presence, store, telemetry};

/// What a process could not do.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The data directory can't be made or written.
    #[error("the data directory {} can't be used: {source}. Make it writable for this user, or choose another with --data DIR", path.display())]
    DataDir {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An address can't be listened on.
    #[error(
        "{address} can't be listened on: {source}. Is another program using it? Choose another address with {option} ADDRESS"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The option that changes it.
        option: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A part could not be started.
    #[error("{part} could not be started")]
    Start {
        /// Which.
        part: &'static str,
        /// Why.
        #[source]
        source: PartError,
    },
    /// A part ended while it should run.
    #[error("stopping, since a part has ended")]
    Part(#[source] Ended),
    /// Records wait where the chosen wiring does not read.
    #[error(
        "{records} records wait in {topic} for a task of its own: start once with \
         GOCHAT__STAGES__FUSE_DEDUPE_AND_ID_ASSIGN=false until they are gone, then fuse the stages"
    )]
    Waiting {
        /// How many.
        records: u64,
        /// Where.
        topic: &'static str,
    },
}

fn start_error<E: Into<PartError>>(part: &'static str) -> impl FnOnce(E) -> ProcessError {
    move |source| ProcessError::Start { part, source: source.into() }
}

/// Runs the given roles until the process is told to stop (Ctrl-C, SIGTERM) or a part fails.
///
/// # Errors
/// [`ProcessError`]; each says what to do.
pub async fn run(config: Config, roles: &[Role], started: Instant) -> Result<(), ProcessError> {
    let mut stop = Box::pin(stop_signal().map_err(start_error("the signal handler"))?);
    // A start may wait for what is away: a stop is heard then, too.
    let process = tokio::select! {
        process = Process::start(&config, roles) => process?,
        () = &mut stop => return Ok(()),
    };
    tracing::info!(
        http = process.http.map(|address| format!("http://{address}")),
        grpc = process.grpc.map(|address| address.to_string()),
        data = %config.data_dir.display(),
        startup_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready"
    );
    process.serve(stop, &config).await
}

/// A running process.
pub(crate) struct Process {
    supervisor: Supervisor,
    stops: Stops,
    pub(crate) log: OpenLog,
    pub(crate) http: Option<SocketAddr>,
    grpc: Option<SocketAddr>,
}

/// What stops each layer, in the order in which they stop.
#[derive(Default)]
struct Stops {
    edge: CancellationToken,
    chain: CancellationToken,
    repo: CancellationToken,
}

const GATEWAY: &str = "gateway";
const STAGES: &str = "stages";
const PRESENCE: &str = "presence";
const OUTBOX: &str = "outbox";
const REPO: &str = "repo";
const BACKLOG: &str = "backlog";
const METRICS: &str = "metrics";

impl Process {
    /// Starts the parts, lowest first; returns when they are ready.
    pub(crate) async fn start(config: &Config, roles: &[Role]) -> Result<Self, ProcessError> {
        let (clock, health, stops) = (Clock::system(), Health::default(), Stops::default());
        let mut supervisor = Supervisor::new(health.clone());
        let rendered = telemetry::start_metrics().map_err(start_error("metrics"))?;
        if let Some(address) = config.telemetry.metrics_listen {
            let listener = listen(address, "--metrics").await?;
            let address = listener.local_addr().map_err(start_error(METRICS))?;
            tracing::info!(metrics = %format_args!("http://{address}/metrics"), "metrics can be scraped");
            let (rendered, stop) = (rendered.clone(), stops.repo.clone());
            supervisor.start(METRICS, async move {
                stop.run_until_cancelled(telemetry::serve_metrics(listener, rendered)).await;
                Ok::<_, std::convert::Infallible>(())
            });
        }
        make_dir(&config.data_dir)?;
        let open = OpenLog::open(config, clock.clone()).await.map_err(start_error("the log"))?;
        let log = open.log();
        let signing_key = keys::load_or_create(&config.data_dir.join("signing.key")).map_err(start_error("sign-in"))?;
        let verifying_key = signing_key.verifying_key();
        let presence = SharedPresence::default();

        let is = |role| roles.contains(&role);
        // The others have no use for it, and need not wait for it when it is away.
        let store = if is(Role::Repo) || is(Role::Persist) {
            let store = store::open(config).await.map_err(start_error("the store"))?;
            if is(Role::Persist) {
                persisted::check(&*log, &*store, config).await.map_err(start_error("persist"))?;
            }
            Some(cache::before(store, config).map_err(start_error("the cache"))?)
        } else {
            None
        };
        let backlog = Arc::new(Backlog::new(config.gateway.limits.busy_lag_records_max));
        if is(Role::Repo) || is(Role::Gateway) {
            let (backlog, log, stop) = (backlog.clone(), log.clone(), stops.repo.clone());
            supervisor.start(BACKLOG, async move {
                backlog.watch(log, &LAG_THAT_REFUSES, stop.cancelled_owned()).await;
                Ok::<_, std::convert::Infallible>(())
            });
        }
        let repo = if let Some((store, cache)) = store.clone().filter(|_| is(Role::Repo)) {
            let listener = listen(config.repo.listen, "--grpc").await?;
            let address = listener.local_addr().map_err(start_error(REPO))?;
            let changed = Arc::new(Notify::new());
            let (online, now) = (presence.clone(), clock.clone());
            let parts = RepoParts {
                store: store.clone(),
                cache,
                log: log.clone(),
                is_online: Arc::new(move |user| {
                    online.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_online(user, now.now_ms())
                }),
                signing_key: Arc::new(signing_key),
                clock: clock.clone(),
                config: config.repo.limits.clone(),
                instance: config.first_instance_id(),
                group_changed: changed.clone(),
                backlog: backlog.clone(),
            };
            supervisor.start(REPO, stages::repo::serve(parts, listener, stops.repo.clone()));
            let relay = outbox::relay(store.clone(), log.clone(), clock.clone(), changed, stops.chain.clone());
            supervisor.start(OUTBOX, relay);
            Some(address)
        } else {
            None
        };
        let channel = Endpoint::from_shared(format!("http://{}", repo.unwrap_or(config.repo.listen)))
            .map_err(start_error(REPO))?
            .connect_lazy();

        let (caught_up, table_is_full) = oneshot::channel();
        supervisor.start(PRESENCE, presence::follow(log.clone(), presence.clone(), caught_up, stops.chain.clone()));
        // When the follower fails its error is reported by the supervisor.
        let _ = table_is_full.await;

        let chain = Chain {
            log: log.clone(),
            clock: clock.clone(),
            store: store.map(|(store, _)| store),
            presence,
            members: members::from_repo(channel.clone()),
        };
        chain.start(config, roles, &mut supervisor, &stops.chain).await?;

        let http = if is(Role::Gateway) {
            let listener = listen(config.gateway.listen, "--http").await?;
            let address = listener.local_addr().map_err(start_error(GATEWAY))?;
            let slot = config.gateway.slot;
            let epoch = Local::new(&config.data_dir).lease_slot(slot, &clock).map_err(start_error(GATEWAY))?;
            let parts = GatewayParts {
                config: config.gateway.limits.clone(),
                log: log.clone(),
                repo: channel,
                verifying_key,
                slot: SlotLease { slot, epoch, lost: CancellationToken::new() },
                clock,
                backlog,
                render_metrics: Arc::new(move || rendered.render()),
                health: Arc::new(move || health.report()),
            };
            supervisor.start(GATEWAY, gateway::serve(parts, listener, stops.edge.clone()));
            Some(address)
        } else {
            None
        };
        Ok(Self { supervisor, stops, log: open, http, grpc: repo })
    }

    /// Waits for the end; then stops intake, lets every stage finish its batch, and closes.
    pub(crate) async fn serve(mut self, stop: impl Future<Output = ()>, config: &Config) -> Result<(), ProcessError> {
        let mut outcome = tokio::select! {
            () = stop => Ok(()),
            ended = self.supervisor.unexpected_end() => Err(ended),
        };
        tracing::info!(grace_seconds = config.grace_seconds, "stopping");
        let deadline = Instant::now() + config.grace();
        let layers = [
            (&self.stops.edge, &[GATEWAY][..]),
            (&self.stops.chain, &[STAGES, PRESENCE, OUTBOX][..]),
            (&self.stops.repo, &[REPO, BACKLOG, METRICS][..]),
        ];
        for (stop, parts) in layers {
            stop.cancel();
            outcome = outcome.and(self.supervisor.stopped(parts, deadline).await);
        }
        self.log.close().await;
        tracing::info!("stopped");
        outcome.map_err(ProcessError::Part)
    }
}

/// What the stage tasks need.
struct Chain {
    log: Arc<dyn Log>,
    clock: Clock,
    store: Option<Arc<dyn Store>>,
    presence: SharedPresence,
    members: MembershipSource,
}

impl Chain {
    async fn start(
        self,
        config: &Config,
        roles: &[Role],
        supervisor: &mut Supervisor,
        stop: &CancellationToken,
    ) -> Result<(), ProcessError> {
        let fused = config.stages.fuse_dedupe_and_id_assign;
        if fused && roles.contains(&Role::Dedupe) {
            nothing_waits_between(&*self.log).await?;
        }
        // Names the members of groups: two processes of one name would fence each other without end.
        let instance = config.instance.to_string();
        let around = Surroundings { log: self.log, clock: self.clock, config: config.runner(), instance };
        let mut tasks = StageTasks::new(around, config.stages.tasks_per_stage, stop.clone());
        let parts = topology::Parts {
            dedupe_window_ms: i64::try_from(config.stages.dedupe_window_seconds * 1_000).unwrap_or(i64::MAX),
            fused,
            first_instance: config.first_instance_id(),
            store: self.store,
            persist_tasks_max: store::persist_tasks_max(config),
            presence: self.presence,
            members: self.members,
            large_group: stages::large_group::Config::default(),
        };
        for role in roles.iter().filter_map(|role| StageRole::of(*role)) {
            topology::start(role, &parts, &mut tasks);
        }
        let stop = stop.clone();
        supervisor.start(STAGES, async move {
            while let Some(ended) = tasks.ended().await {
                ended?;
            }
            // Without any stage here, this part only waits for the end.
            stop.cancelled().await;
            Ok::<_, crate::runner::RunError>(())
        });
        Ok(())
    }
}

/// Fused stages read past the topic between them: what an earlier, unfused run left there would stay.
async fn nothing_waits_between(log: &dyn Log) -> Result<(), ProcessError> {
    let between = &topics::catalogue::ACCEPTED.spec;
    let lag = log.lag("id-assign", between).await.map_err(start_error("the stages"))?;
    let records = lag.iter().map(|partition| partition.records).sum();
    if records == 0 { Ok(()) } else { Err(ProcessError::Waiting { records, topic: between.name }) }
}

fn make_dir(path: &Path) -> Result<(), ProcessError> {
    std::fs::create_dir_all(path).map_err(|source| ProcessError::DataDir { path: path.into(), source })
}

async fn listen(address: SocketAddr, option: &'static str) -> Result<TcpListener, ProcessError> {
    TcpListener::bind(address).await.map_err(|source| ProcessError::Listen { address, option, source })
}
