//! The dedupe window that the topics were made for, recorded where every process of an installation sees it: as
//! `delete.retention.ms` of the window's own changelog. Kafka looks at that setting only where records are compacted,
//! so that it means nothing else there.

use std::time::Duration;

use rdkafka::admin::{AlterConfig, ConfigEntry, ConfigResource, ConfigSource, ResourceSpecifier};

use crate::catalogue::{DEDUPE_WINDOW, TopicSpec};

/// The setting that records it.
pub(super) const SETTING: &str = "delete.retention.ms";

/// Whether a topic is the one that records it.
pub(super) fn is_kept_by(topic: &TopicSpec) -> bool {
    std::ptr::eq(topic, &DEDUPE_WINDOW.spec)
}

/// A window as the setting has it.
pub(super) fn setting(window: Duration) -> String {
    window.as_millis().to_string()
}

/// The window that the topic was made for, unless it was made before that was recorded.
pub(super) fn recorded(found: &ConfigResource) -> Option<Duration> {
    let entry = found.get(SETTING).filter(|entry| is_own(entry))?;
    entry.value.as_deref()?.parse().ok().map(Duration::from_millis)
}

/// Records it on a topic that was made before. Kafka sets back to its default what is left out, so all that the
/// topic was made with is set again.
pub(super) fn recording<'a>(topic: &'a str, found: &'a ConfigResource, window_ms: &'a str) -> AlterConfig<'a> {
    let own = found.entries.iter().filter(|entry| is_own(entry));
    own.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)))
        .fold(AlterConfig::new(ResourceSpecifier::Topic(topic)), |alter, (name, value)| alter.set(name, value))
        .set(SETTING, window_ms)
}

/// Whether a setting was made for the topic itself, and is no default.
fn is_own(entry: &ConfigEntry) -> bool {
    matches!(entry.source, ConfigSource::DynamicTopic)
}
