//! When two processes are given the same instance, the older one ends.
//!
//! Names of stage tasks and ids of messages follow from the instance, so two of the same would fence each other's
//! tasks forever. Each process joins one group under its instance, whatever its roles, and ends when it is replaced
//! there. The stages' own groups can't decide that: of two processes that start at once, each may be the newer one in
//! some of them.

use std::sync::Arc;
use std::time::Duration;

use topics::catalogue::PRESENCE;
use topics::log::{Class, Log, LogError, MemberSpec};

use super::error::RunError;

const GROUP: &str = "instances";
/// The pause after a transient error.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Holds the instance until another process takes it, or the log fails for good.
pub async fn hold(log: Arc<dyn Log>, instance: u16) -> RunError {
    loop {
        let Err(error) = until_it_is_lost(&*log, instance).await;
        match error {
            LogError::Replaced { by, .. } => return RunError::InstanceTaken { instance, by },
            source if source.class() == Class::Fatal => return RunError::Log { stage: GROUP, source },
            error => tracing::debug!(instance, %error, "claiming the instance again"),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn until_it_is_lost(log: &dyn Log, instance: u16) -> Result<std::convert::Infallible, LogError> {
    let spec = MemberSpec {
        group: GROUP.to_owned(),
        topic: &PRESENCE.spec,
        instance: instance.to_string(),
        transactional: false,
        batch_records_max: 1,
        batch_bytes_max: 1,
        poll_interval_max: Duration::from_secs(300),
    };
    let mut member = log.join(spec).await?;
    loop {
        // No partition is started, so no records come: an event only shows that this process is still a member.
        member.next().await?;
    }
}
