//! A process: bootstrap, components, ready; then stop intake, finish batches, close.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use gateway::{GatewayParts, Operations, OtherGateways, SlotLease};
use schemas::causes::causes;
use stages::membership::MembershipSource;
use stages::presence::SharedPresence;
use stages::repo::store::{MessageSink, Probe};
use stages::repo::{RepoParts, keys, outbox};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use topics::backlog::Backlog;
use topics::catalogue::dedupe_memory;
use topics::clock::Clock;
use topics::log::Log;

use crate::cache::Stores;
use crate::cli::Role;
use crate::commands::stop_signal;
use crate::config::{Address, Config, LogKind};
use crate::coordination::{Local, watch_slot};
use crate::health::watch::{At, Watched};
use crate::health::{Health, State};
use crate::log::OpenLog;
use crate::runner::{Surroundings, instance};
use crate::supervisor::{Ended, PartError, Supervisor};
use crate::tasks::StageTasks;
use crate::topology::{self, LAG_THAT_REFUSES, StageRole};
use crate::{cache, health, members, pairing, presence, store, telemetry};

/// What a process could not do.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The data directory can't be made or written.
    #[error("the data directory {} can't be used: {source}. Make it writable for this user, or choose another with --data DIR", path.display())]
    DataDir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The name of a host is none.
    #[error("{address} ({key}) does not resolve: check the name, and the resolver of this machine")]
    Unresolved {
        address: Address,
        /// The key or option that it comes from.
        key: &'static str,
        /// What the resolver says.
        #[source]
        source: std::io::Error,
    },
    /// An address can't be listened on.
    #[error(
        "{address} can't be listened on: {source}. Is another program using it? Choose another address with {option} HOST:PORT"
    )]
    Listen {
        address: Address,
        /// The option that changes it.
        option: &'static str,
        source: std::io::Error,
    },
    /// A part could not be started.
    #[error("{part} could not be started")]
    Start {
        part: &'static str,
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
    Waiting { records: u64, topic: &'static str },
}

fn start_error<E: Into<PartError>>(part: &'static str) -> impl FnOnce(E) -> ProcessError {
    move |source| ProcessError::Start { part, source: source.into() }
}

/// Runs the given roles until the process is told to stop (Ctrl-C, SIGTERM, SIGHUP) or a part fails.
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
pub struct Process {
    supervisor: Supervisor,
    stops: Stops,
    health: Health,
    pub log: OpenLog,
    /// Where it answers HTTP, when it runs the gateway.
    pub http: Option<SocketAddr>,
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
const INSTANCE: &str = "instance";
const PRESENCE: &str = "presence";
const OUTBOX: &str = "outbox";
const REPO: &str = "repo";
const BACKLOG: &str = "backlog";
const METRICS: &str = "metrics";
/// The watch over what the parts depend on.
const HEALTH: &str = "health";
/// The process as a whole, for its health.
const PROCESS: &str = "process";

impl Process {
    /// Starts the parts, lowest first; returns when they are ready.
    pub async fn start(config: &Config, roles: &[Role]) -> Result<Self, ProcessError> {
        let (clock, stops) = (Clock::system(), Stops::default());
        let health = Health::new(clock.clone());
        health.expect(PROCESS, "starting");
        let mut supervisor = Supervisor::new(health.clone());
        let rendered = telemetry::start_metrics().map_err(start_error("metrics"))?;
        let operations = Operations {
            render_metrics: Arc::new(move || rendered.render()),
            health: Arc::new({
                let health = health.clone();
                move || health.report()
            }),
        };
        if let Some(address) = &config.telemetry.metrics_listen {
            let listener = listen(address, "--metrics").await?;
            let address = listener.local_addr().map_err(start_error(METRICS))?;
            tracing::info!(metrics = %format_args!("http://{address}/metrics"), "metrics can be scraped");
            let (operations, stop) = (operations.clone(), stops.repo.clone());
            supervisor.start(METRICS, async move {
                match stop.run_until_cancelled(operations.serve(listener)).await {
                    Some(Err(error)) => Err(error),
                    None => Ok(()),
                }
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
            pairing::check(&*log, &*store, config).await.map_err(start_error("the store"))?;
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
        let (store_works, serving) = watch::channel(true);
        let repo = if let Some(Stores { bare, cached, cache }) = store.clone().filter(|_| is(Role::Repo)) {
            let listener = listen(&config.repo.listen, "--grpc").await?;
            let address = listener.local_addr().map_err(start_error(REPO))?;
            let changed = Arc::new(Notify::new());
            let online = presence.clone();
            let parts = RepoParts {
                store: cached,
                cache,
                log: log.clone(),
                is_online: Arc::new(move |user| stages::presence::read(&online).is_online(user)),
                signing_key: Arc::new(signing_key),
                clock: clock.clone(),
                config: config.repo.limits.clone(),
                drain_timeout: config.grace_of_a_step(),
                instance: config.first_instance_id(),
                serving,
                group_changed: changed.clone(),
                backlog: backlog.clone(),
            };
            supervisor.start(REPO, stages::repo::serve(parts, listener, stops.repo.clone()));
            let relay = outbox::relay(bare, log.clone(), clock.clone(), changed, stops.chain.clone());
            supervisor.start(OUTBOX, relay);
            Some(address)
        } else {
            None
        };
        let found_at = match repo {
            Some(own) => own.into(),
            None => {
                let address = config.repo_address();
                resolved(address, "repo.address").await?;
                address.clone()
            }
        };
        // Its name is resolved again with every connection.
        let channel = Endpoint::from_shared(format!("http://{found_at}")).map_err(start_error(REPO))?.connect_lazy();

        if config.log.kind == LogKind::Kafka {
            let (hold, stop) = (instance::hold(log.clone(), config.instance), stops.chain.clone());
            supervisor.start(INSTANCE, async move { stop.run_until_cancelled(hold).await.map_or(Ok(()), Err) });
        }
        let (caught_up, table_is_full) = oneshot::channel();
        let (changes, _) = broadcast::channel(presence::CHANGES_MAX);
        let follow = presence::follow(log.clone(), presence.clone(), changes.clone(), caught_up, stops.chain.clone());
        supervisor.start(PRESENCE, follow);
        // When the follower fails its error is reported by the supervisor.
        let _ = table_is_full.await;

        let chain = Chain {
            log: log.clone(),
            clock: clock.clone(),
            store: store.clone().map(|stores| stores.cached as Arc<dyn MessageSink>),
            presence: presence.clone(),
            members: members::from_repo(channel.clone()),
        };
        chain.start(config, roles, &mut supervisor, &stops.chain).await?;
        let slot_lost = CancellationToken::new();
        let http = if is(Role::Gateway) {
            let listener = listen(&config.gateway.listen, "--http").await?;
            let address = listener.local_addr().map_err(start_error(GATEWAY))?;
            let slot = config.gateway.slot;
            let newest = stages::presence::read(&presence).newest_epoch(slot);
            let leased = Local::new(&config.data_dir).lease_slot(slot, newest, &clock);
            let lease = SlotLease { slot, epoch: leased.map_err(start_error(GATEWAY))?, lost: slot_lost.clone() };
            let watch = watch_slot(lease.clone(), presence.clone(), changes.subscribe());
            let is_online =
                Arc::new(move |user| stages::presence::read(&presence).slots_of(user).any(|(at, _)| at != slot));
            let parts = GatewayParts {
                config: config.gateway.limits.clone(),
                resend_window: config.resend_window(),
                shutdown_grace: config.grace_of_a_step(),
                log: log.clone(),
                repo: channel.clone(),
                verifying_key,
                slot: lease,
                others: OtherGateways { is_online, changes: changes.subscribe() },
                clock,
                backlog: backlog.clone(),
                operations,
            };
            let serve = gateway::serve(parts, listener, stops.edge.clone());
            supervisor.start(GATEWAY, async move {
                tokio::select! {
                    served = serve => served,
                    never = watch => match never {},
                }
            });
            Some(address)
        } else {
            None
        };
        // A repo in this process has a state of its own, and that of its store.
        let repo_elsewhere = !is(Role::Repo) && (is(Role::Gateway) || is(Role::FanOut) || is(Role::LargeGroup));
        let serves_clients = is(Role::Gateway);
        let watched = Watched {
            log: At(log.clone(), crate::log::name(config)),
            replicas: store.clone().and_then(|stores| Some(At(stores.bare as Arc<dyn Probe>, replicas(config)?))),
            cache: store.clone().and_then(|stores| Some(At(stores.cache, cache::address(config)?))),
            store: store.map(|stores| At((stores.bare as Arc<dyn Probe>, store_works), store::name(config))),
            repo: repo_elsewhere.then(|| At(channel, format!("grpc://{found_at}"))),
            slot_lost: serves_clients.then_some(slot_lost),
            backlog: serves_clients.then_some(backlog),
            groups: if serves_clients { topology::groups(config.stages.fuse_dedupe_and_id_assign) } else { Vec::new() },
        };
        if let OpenLog::Embedded(_) = open {
            health::watch::stages_are_there(&*log, &watched.groups).await;
        }
        let stop = stops.edge.clone();
        supervisor
            .start(HEALTH, stop.run_until_cancelled_owned(watched.watch(&health)).map(|_| Ok::<_, Infallible>(())));
        health.set(PROCESS, State::Ready);
        health::watch::ready(&health).await;
        Ok(Self { supervisor, stops, health, log: open, http, grpc: repo })
    }

    /// Waits for the end; then stops intake, lets every stage finish its batch, and closes.
    pub async fn serve(mut self, stop: impl Future<Output = ()>, config: &Config) -> Result<(), ProcessError> {
        let mut outcome = tokio::select! {
            () = stop => Ok(()),
            ended = self.supervisor.unexpected_end() => {
                tracing::error!(error = causes(&ended), "a part has ended");
                Err(ended)
            }
        };
        self.health.set(PROCESS, State::Failed("stopping".into()));
        tracing::info!(grace_seconds = config.grace_seconds, "stopping");
        let deadline = Instant::now() + config.grace();
        let layers = [
            (&self.stops.edge, &[GATEWAY, HEALTH][..]),
            (&self.stops.chain, &[STAGES, INSTANCE, PRESENCE, OUTBOX][..]),
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
    store: Option<Arc<dyn MessageSink>>,
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
        // Names the members of groups: that no two processes have it, `runner::instance` sees to.
        let instance = config.instance.to_string();
        let around = Surroundings { log: self.log, clock: self.clock, config: config.runner(), instance };
        let mut tasks = StageTasks::new(around, config.stages.tasks_per_stage, stop.clone());
        let parts = topology::Parts {
            dedupe_window_ms: i64::try_from(dedupe_memory(config.resend_window()).as_millis()).unwrap_or(i64::MAX),
            fused,
            first_instance: config.first_instance_id(),
            store: self.store,
            persist_tasks_max: store::persist_tasks_max(config),
            presence: self.presence,
            members: self.members,
            large_group: stages::large_group::Config::default(),
        };
        let stages: Vec<_> = roles.iter().filter_map(|role| StageRole::of(*role)).collect();
        if stages.is_empty() {
            return Ok(());
        }
        for stage in stages {
            topology::start(stage, &parts, &mut tasks);
        }
        let stop = stop.clone();
        supervisor.start(STAGES, async move {
            while let Some(ended) = tasks.ended().await {
                ended?;
            }
            // All have ended since they were told to.
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

/// Where the copies of the store are, if there are any.
fn replicas(config: &Config) -> Option<String> {
    let replicas = &config.repo.store.replicas;
    let names: Vec<_> = replicas.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn make_dir(path: &Path) -> Result<(), ProcessError> {
    std::fs::create_dir_all(path).map_err(|source| ProcessError::DataDir { path: path.into(), source })
}

/// Listens where an option of the command line, or its key, says.
pub(crate) async fn listen(address: &Address, option: &'static str) -> Result<TcpListener, ProcessError> {
    let found = resolved(address, option).await?;
    let bound = TcpListener::bind(&found[..]).await;
    bound.map_err(|source| ProcessError::Listen { address: address.clone(), option, source })
}

async fn resolved(address: &Address, key: &'static str) -> Result<Vec<SocketAddr>, ProcessError> {
    let unresolved = |source| ProcessError::Unresolved { address: address.clone(), key, source };
    address.resolve().await.map_err(unresolved)
}
