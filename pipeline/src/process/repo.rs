//! The store and its cache, where a process needs them, and the repo: its own, or how another's is reached.

use std::net::SocketAddr;
use std::sync::Arc;

use listener::Listener;
use schemas::token::{SigningKey, VerifyingKey};
use stages::persist::Persist;
use stages::repo::{RepoParts, keys, outbox};
use stages::stage::Stage;
use tokio::sync::{Notify, watch};
use tonic::transport::{Channel, Endpoint};

use super::base::Base;
use super::error::{ProcessError, start_error};
use crate::cache::Stores;
use crate::config::RepoSection;
use crate::listen::{listen, resolve};
use crate::role::Role;
use crate::supervisor::Layer;
use crate::{cache, pairing, store};

const REPO: &str = "repo";

/// The open store.
pub(super) struct OpenStore {
    pub(super) stores: Stores,
    /// Tells the repo whether the store works.
    pub(super) works: watch::Sender<bool>,
}

/// How this process reaches the repo.
pub(super) struct RepoEndpoint {
    /// Where its own answers gRPC.
    pub(super) own: Option<SocketAddr>,
    pub(super) address: String,
    pub(super) channel: Channel,
    /// Of access tokens.
    pub(super) verifying_key: VerifyingKey,
}

impl RepoSection {
    /// Opens the store, where a role needs it: the others need not wait for it when it is away.
    pub(super) async fn open(&self, base: &Base<'_>) -> Result<Option<OpenStore>, ProcessError> {
        if !base.runs(Role::Repo) && !base.runs(Role::Stage(Persist::NAME)) {
            return Ok(None);
        }
        let store = store::open(base.config).await.map_err(start_error("the store"))?;
        pairing::check(&*base.log, &*store, base.config).await.map_err(start_error("the store"))?;
        let stores = cache::before(store, base.config).map_err(start_error("the cache"))?;
        Ok(Some(OpenStore { stores, works: watch::Sender::new(true) }))
    }

    /// Starts the repo, if it is this process's, and says how it is reached.
    pub(super) async fn start(
        &self,
        base: &mut Base<'_>,
        opened: Option<&OpenStore>,
    ) -> Result<RepoEndpoint, ProcessError> {
        let key_file = base.config.data_dir.join("signing.key");
        let signing_key = keys::load_or_create(&key_file).map_err(start_error("sign-in"))?;
        let verifying_key = signing_key.verifying_key();
        let own = match opened.filter(|_| base.runs(Role::Repo)) {
            Some(opened) => Some(self.serve(base, opened, signing_key).await?),
            None => None,
        };
        let address = match own {
            Some(own) => own.to_string(),
            None => {
                let address = base.config.repo_address();
                resolve(address, "repo.address").await?;
                address.to_string()
            }
        };
        // Its name is resolved again with every connection.
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(start_error(REPO))?;
        Ok(RepoEndpoint { own, address, channel: endpoint.connect_lazy(), verifying_key })
    }

    async fn serve(
        &self,
        base: &mut Base<'_>,
        opened: &OpenStore,
        signing_key: SigningKey,
    ) -> Result<SocketAddr, ProcessError> {
        let (listener, at) = listen(&self.listen, "--grpc").await?;
        let connections = self.limits.connections().within(base.open_files.of_repo());
        let listener = Listener::new(listener, REPO, connections);
        let group_changed = Arc::new(Notify::new());
        let online = base.presence.clone();
        let parts = RepoParts {
            store: opened.stores.cached.clone(),
            cache: opened.stores.cache.clone(),
            log: base.log.clone(),
            is_online: Arc::new(move |user| stages::presence::read(&online).is_online(user)),
            signing_key: Arc::new(signing_key),
            clock: base.clock.clone(),
            config: self.limits.clone(),
            drain_timeout: base.config.grace_of_a_step(),
            instance: base.config.first_instance_id(),
            serving: opened.works.subscribe(),
            group_changed: group_changed.clone(),
            backlog: base.backlog.clone(),
        };
        base.supervisor.start(Layer::Repo, REPO, |stop| stages::repo::serve(parts, listener, stop));
        let (store, log, clock) = (opened.stores.bare.clone(), base.log.clone(), base.clock.clone());
        let relay = |stop| outbox::relay(store, log, clock, group_changed, stop);
        base.supervisor.start(Layer::Chain, "outbox", relay);
        Ok(at)
    }
}
