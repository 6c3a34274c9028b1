//! The gateway of a process.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway::{GatewayParts, OtherGateways, PresenceChange, SlotLease};
use listener::Listener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::base::Base;
use super::error::{ProcessError, start_error};
use super::repo::RepoEndpoint;
use crate::config::GatewaySection;
use crate::coordination::{Local, watch_slot};
use crate::listen::listen;
use crate::role::Role;
use crate::supervisor::Layer;

/// A gateway that was started.
pub(super) struct RunningGateway {
    /// Where it answers HTTP.
    pub(super) http: SocketAddr,
    /// Cancelled when the lease of its slot is lost.
    pub(super) slot_lost: CancellationToken,
}

const GATEWAY: &str = "gateway";

impl GatewaySection {
    /// Leases the slot and starts the gateway, if it is a role of this process.
    pub(super) async fn start(
        &self,
        base: &mut Base<'_>,
        repo: &RepoEndpoint,
        changes: &broadcast::Sender<PresenceChange>,
    ) -> Result<Option<RunningGateway>, ProcessError> {
        if !base.runs(Role::Gateway) {
            return Ok(None);
        }
        let (config, slot, presence) = (base.config, self.slot, base.presence.clone());
        let (listener, http) = listen(&self.listen, "--http").await?;
        let connections = self.limits.connections().within(base.open_files.of_gateway());
        if connections.connections_max < self.limits.sockets_max {
            tracing::warn!(
                sockets_max = self.limits.sockets_max,
                connections_max = connections.connections_max,
                open_files_max = base.open_files.max,
                "the limit of open files is too low for gateway.limits.sockets_max: connections_max is lowered. Raise the \
                 hard limit (ulimit -Hn, LimitNOFILE) or lower the setting"
            );
        }
        let listener = Listener::new(listener, GATEWAY, connections);
        let newest = stages::presence::read(&presence).newest_epoch(slot);
        let leased = Local::new(&config.data_dir).lease_slot(slot, newest, &base.clock);
        let slot_lost = CancellationToken::new();
        let lease = SlotLease { slot, epoch: leased.map_err(start_error(GATEWAY))?, lost: slot_lost.clone() };
        let watch = watch_slot(lease.clone(), presence.clone(), changes.subscribe());
        let is_online =
            Arc::new(move |user| stages::presence::read(&presence).slots_of(user).any(|(at, _)| at != slot));
        let parts = GatewayParts {
            config: self.limits.clone(),
            resend_window: config.resend_window(),
            shutdown_grace: config.grace_of_a_step(),
            log: base.log.clone(),
            repo: repo.channel.clone(),
            verifying_key: repo.verifying_key.clone(),
            slot: lease,
            others: OtherGateways { is_online, changes: changes.subscribe() },
            clock: base.clock.clone(),
            backlog: base.backlog.clone(),
            operations: base.operations.clone(),
        };
        base.supervisor.start(Layer::Edge, GATEWAY, |stop| async move {
            tokio::select! {
                served = gateway::serve(parts, listener, stop) => served,
                never = watch => match never {},
            }
        });
        Ok(Some(RunningGateway { http, slot_lost }))
    }
}
