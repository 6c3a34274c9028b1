//! The state of each component of a process: its own parts, as the supervisor reports, and its dependencies, as
//! [`watch`] finds out. A health request reads what is known and asks nobody.

pub mod ask;
pub mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gateway::Readiness;
use schemas::time::rfc3339;
use serde::Serialize;
use topics::clock::Clock;

/// The state of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Ready,
    /// It is down, which costs speed only; and why.
    Degraded(String),
    /// Clients can't be served; and why.
    Failed(String),
}

impl State {
    fn kind(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded(_) => "degraded",
            Self::Failed(_) => "failed",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Ready => None,
            Self::Degraded(reason) | Self::Failed(reason) => Some(reason),
        }
    }
}

/// A component has changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// How long the former state lasted, in ms. `None`: there was none.
    pub after_ms: Option<i64>,
}

/// The state of each component. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    clock: Clock,
    components: Arc<Mutex<BTreeMap<&'static str, Component>>>,
}

#[derive(Debug)]
struct Component {
    state: State,
    since_ms: i64,
    /// Until the first answer the state is failed.
    known: bool,
}

/// A line of the report.
#[derive(Serialize)]
struct Line<'a> {
    component: &'a str,
    ready: bool,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    since: String,
}

impl Health {
    /// Without components yet; the clock dates each change.
    pub fn new(clock: Clock) -> Self {
        Self { clock, components: Arc::default() }
    }

    /// A component without a first answer yet, and why.
    pub fn expect(&self, component: &'static str, why: &str) {
        let (state, since_ms) = (State::Failed(why.to_owned()), self.clock.now_ms());
        let unknown = Component { state: state.clone(), since_ms, known: false };
        self.components().entry(component).or_insert(unknown).state = state;
    }

    /// Sets the state of a component. Returns the change when its kind is another one than before.
    pub fn set(&self, component: &'static str, state: State) -> Option<Change> {
        let now = self.clock.now_ms();
        let mut components = self.components();
        let before = components.get_mut(component).filter(|before| before.known);
        match before {
            Some(before) if before.state.kind() == state.kind() => {
                before.state = state;
                None
            }
            Some(before) => {
                let after_ms = Some(now - before.since_ms);
                *before = Component { state, since_ms: now, known: true };
                Some(Change { after_ms })
            }
            None => {
                components.insert(component, Component { state, since_ms: now, known: true });
                Some(Change { after_ms: None })
            }
        }
    }

    /// Whether anything is known of a component.
    #[cfg(test)]
    fn is_known(&self, component: &str) -> bool {
        self.components().get(component).is_some_and(|component| component.known)
    }

    /// A line of JSON for each component, by name; ready unless one of them has failed.
    pub fn report(&self) -> Readiness {
        let components = self.components();
        let mut lines = String::new();
        for (component, Component { state, since_ms, .. }) in &*components {
            let ready = !matches!(state, State::Failed(_));
            let line =
                Line { component, ready, state: state.kind(), reason: state.reason(), since: rfc3339(*since_ms) };
            lines.push_str(&serde_json::to_string(&line).expect("a line has string keys and plain values"));
            lines.push('\n');
        }
        let ready = components.values().all(|component| !matches!(component.state, State::Failed(_)));
        Readiness { ready, lines }
    }

    fn components(&self) -> MutexGuard<'_, BTreeMap<&'static str, Component>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(health: &Health) -> Vec<(String, String, Option<String>, String)> {
        let text = |line: &serde_json::Value, key: &str| line[key].as_str().map(str::to_owned);
        let of = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let [component, state, since] = ["component", "state", "since"].map(|key| text(&line, key).unwrap());
            (component, state, text(&line, "reason"), since)
        };
        health.report().lines.lines().map(of).collect()
    }

    #[test]
    fn a_state_keeps_its_beginning_while_only_its_reason_changes() {
        let clock = Clock::manual(1_000);
        let health = Health::new(clock.clone());
        assert_eq!(health.set("store", State::Ready), Some(Change { after_ms: None }));
        clock.advance_ms(5_000);
        assert_eq!(health.set("store", State::Failed("refused".into())), Some(Change { after_ms: Some(5_000) }));
        clock.advance_ms(2_000);
        assert_eq!(health.set("store", State::Failed("no answer".into())), None);
        let (_, state, reason, since) = states(&health).remove(0);
        assert_eq!((state.as_str(), reason.as_deref()), ("failed", Some("no answer")));
        assert_eq!(since, "1970-01-01T00:00:06.000Z");
        assert_eq!(health.set("store", State::Ready), Some(Change { after_ms: Some(2_000) }));
    }

    #[test]
    fn what_costs_speed_alone_leaves_a_process_ready_and_what_is_not_known_does_not() {
        let health = Health::new(Clock::manual(0));
        health.set("cache", State::Degraded("away".into()));
        assert!(health.report().ready && !health.is_known("log"));
        health.expect("log", "not asked yet");
        assert!(!health.report().ready && !health.is_known("log"));
        health.set("log", State::Ready);
        assert!(health.report().ready && health.is_known("log"));
        health.set("log", State::Failed("away".into()));
        assert!(!health.report().ready);
    }
}
