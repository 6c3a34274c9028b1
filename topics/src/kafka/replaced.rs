//! Whether another process runs under the name of a member that was fenced.
//!
//! A member is fenced for many reasons: it was slow, its transaction took too long, a broker was away. It then
//! starts anew, which fences whoever has its name. Two processes that were given the same name would do so
//! to each other without end: so before that, the group is asked who its members are.

use std::time::Duration;

use tokio::time::Instant;

use super::membership::{Membership, Standing};
use crate::log::LogError;

/// How long a process that has fenced a member's transactions may take until it is seen in the group.
const SEEN_AFTER_MAX: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Membership {
    /// The error as it is; or that there is no coming back from it, since the name is another process's.
    pub(super) fn judged(&self, error: LogError) -> LogError {
        if !matches!(error, LogError::Fenced { .. }) {
            return error;
        }
        // By the group itself: then the other is a member of it. By the transactions: then it becomes one.
        let patience = match self.standing {
            Standing::Fenced => Duration::ZERO,
            Standing::Member | Standing::GivenUp if !self.spec.transactional => Duration::ZERO,
            Standing::Member | Standing::GivenUp => SEEN_AFTER_MAX,
        };
        let deadline = Instant::now() + patience;
        loop {
            if let Some(by) = self.namesake() {
                let (group, instance) = (self.spec.group.clone(), self.spec.instance.clone());
                return LogError::Replaced { group, instance, by };
            }
            if Instant::now() >= deadline {
                return error;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// A member of this name that another process runs: the process, and where it is.
    fn namesake(&self) -> Option<String> {
        let own = self.cluster.config.member_client_id(&self.spec);
        let of_name = own.strip_suffix(&self.cluster.config.process)?;
        let members = self.cluster.members(&self.spec.group).ok()?;
        members.into_iter().find_map(|member| {
            let process = member.client_id.strip_prefix(of_name)?;
            let is_other = process != self.cluster.config.process && !process.contains('-');
            is_other.then(|| format!("{process} at {}", member.host.trim_start_matches('/')))
        })
    }
}
