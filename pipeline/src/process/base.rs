//! What all parts of a process stand on: its configuration and roles, the supervisor, health and metrics, the log.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use gateway::{Operations, PresenceChange};
use stages::presence::SharedPresence;
use tokio::sync::{broadcast, oneshot};
use topics::backlog::Backlog;
use topics::clock::Clock;
use topics::log::Log;

use super::error::{ProcessError, start_error};
use crate::config::{Config, LogKind, TelemetryConfig};
use crate::health::Health;
use crate::listen::listen;
use crate::log::OpenLog;
use crate::open_files::OpenFiles;
use crate::role::Role;
use crate::runner::instance;
use crate::supervisor::{Layer, Supervisor};
use crate::{disk, presence, telemetry, topology};

/// The process as a whole, for its health.
pub(super) const PROCESS: &str = "process";

pub(super) struct Base<'c> {
    pub(super) config: &'c Config,
    roles: &'c [Role],
    pub(super) clock: Clock,
    pub(super) open_files: OpenFiles,
    pub(super) health: Health,
    pub(super) supervisor: Supervisor,
    pub(super) operations: Operations,
    /// Where metrics can be scraped.
    pub(super) metrics: Option<SocketAddr>,
    pub(super) open: OpenLog,
    pub(super) log: Arc<dyn Log>,
    pub(super) presence: SharedPresence,
    pub(super) backlog: Arc<Backlog>,
}

impl<'c> Base<'c> {
    /// Starts metrics and opens the log.
    pub(super) async fn open(config: &'c Config, roles: &'c [Role]) -> Result<Self, ProcessError> {
        let (clock, open_files) = (Clock::system(), OpenFiles::raised());
        let health = Health::new(clock.clone());
        health.expect(PROCESS, "starting");
        let mut supervisor = Supervisor::new(health.clone());
        let (operations, metrics) = config.telemetry.start(&health, &mut supervisor).await?;
        let dir = &config.data_dir;
        disk::open_data_dir(dir).map_err(|source| ProcessError::DataDir { path: dir.clone(), source })?;
        let open = OpenLog::open(config, clock.clone()).await.map_err(start_error("the log"))?;
        let (log, presence) = (open.log(), SharedPresence::default());
        let backlog = Arc::new(Backlog::new(config.gateway.limits.backlog()));
        Ok(Self {
            config,
            roles,
            clock,
            open_files,
            health,
            supervisor,
            operations,
            metrics,
            open,
            log,
            presence,
            backlog,
        })
    }

    /// Whether this process has a role.
    pub(super) fn runs(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Looks how far the chain is behind, where messages come in.
    pub(super) fn watch_backlog(&mut self) {
        if self.runs(Role::Repo) || self.runs(Role::Gateway) {
            let (backlog, log) = (self.backlog.clone(), self.log.clone());
            self.supervisor.start(Layer::Repo, "backlog", |stop| async move {
                backlog.watch(log, &topology::lag_that_refuses(), stop.cancelled_owned()).await;
                Ok::<_, Infallible>(())
            });
        }
    }

    /// Ends this process when another one takes its instance.
    pub(super) fn hold_instance(&mut self) {
        match self.config.log.kind {
            LogKind::Embedded => {} // It belongs to this process alone.
            LogKind::Kafka => {
                let hold = instance::hold(self.log.clone(), self.config.instance);
                self.supervisor.start(Layer::Chain, "instance", |stop| async move {
                    stop.run_until_cancelled(hold).await.map_or(Ok(()), Err)
                });
            }
        }
    }

    /// Follows presence, and waits until the table holds what was known at this moment.
    pub(super) async fn follow_presence(&mut self) -> broadcast::Sender<PresenceChange> {
        let (caught_up, table_is_full) = oneshot::channel();
        let (changes, _) = broadcast::channel(presence::CHANGES_MAX);
        let (log, table, tell) = (self.log.clone(), self.presence.clone(), changes.clone());
        let follow = |stop| presence::follow(log, table, tell, caught_up, stop);
        self.supervisor.start(Layer::Chain, "presence", follow);
        // When the follower fails its error is reported by the supervisor.
        let _ = table_is_full.await;
        changes
    }
}

impl TelemetryConfig {
    /// Starts metrics, and serves them where it says.
    async fn start(
        &self,
        health: &Health,
        supervisor: &mut Supervisor,
    ) -> Result<(Operations, Option<SocketAddr>), ProcessError> {
        const METRICS: &str = "metrics";
        let rendered = telemetry::start_metrics().map_err(start_error(METRICS))?;
        let health = health.clone();
        let operations = Operations {
            render_metrics: Arc::new(move || rendered.render()),
            health: Arc::new(move || health.report()),
        };
        let Some(address) = &self.metrics_listen else { return Ok((operations, None)) };
        let (listener, at) = listen(address, "--metrics").await?;
        tracing::info!(metrics = %format_args!("http://{at}/metrics"), "metrics can be scraped");
        let serve = operations.clone();
        supervisor.start(Layer::Repo, METRICS, |stop| serve.serve(listener, stop).map(Ok::<_, Infallible>));
        Ok((operations, Some(at)))
    }
}
