//! What runs and what does not, component by component.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The state of each component. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>);

impl Health {
    /// A component works.
    pub fn works(&self, component: &'static str) {
        self.set(component, Ok(()));
    }

    /// A component does not work, and why.
    pub fn fails(&self, component: &'static str, why: impl Into<String>) {
        self.set(component, Err(why.into()));
    }

    /// Every component, by name.
    pub fn report(&self) -> Vec<(String, Result<(), String>)> {
        let components = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        components.iter().map(|(name, state)| ((*name).to_owned(), state.clone())).collect()
    }

    fn set(&self, component: &'static str, state: Result<(), String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(component, state);
    }
}
