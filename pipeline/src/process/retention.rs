//! The retention of the store.

use stages::persist::Persist;
use stages::repo::retention::Sweeper;
use stages::stage::Stage;

use super::base::Base;
use super::repo::OpenStore;
use crate::config::StoreSection;
use crate::role::Role;
use crate::supervisor::Layer;

impl StoreSection {
    /// Removes what is not kept, in a process that runs persist: what writes messages removes them too.
    pub(super) fn start_retention(&self, base: &mut Base<'_>, opened: Option<&OpenStore>) {
        let Some(opened) = opened.filter(|_| base.runs(Role::Stage(Persist::NAME))) else { return };
        let kept = self.kept();
        if kept.is_everything() {
            return;
        }
        let (store, cache) = (opened.stores.bare.clone(), opened.stores.cache.clone());
        let holder = base.config.instance.into();
        let sweeper = Sweeper { store, cache, kept, clock: base.clock.clone(), holder };
        base.supervisor.start(Layer::Chain, "retention", |stop| sweeper.run(stop));
    }
}
