//! Whether another process runs under the name of a member that was fenced.
//!
//! A member is fenced for many reasons: it was slow, its transaction took too long, a broker was away. When it
//! starts anew it fences whoever has its name, and two processes that were given the same name would do so to each
//! other without end. So the group is asked first who its members are: an owner that hears of another process can
//! end.

use std::time::Duration;

use rdkafka::consumer::Consumer;
use tokio::time::Instant;

use super::membership::{Membership, Standing};
use super::native;
use crate::log::LogError;

/// A name that a request from before a standstill of the brokers has taken is free again after the session timeout;
/// a process keeps it for longer than this beyond it.
const BEYOND_SESSION: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Brokers name a static member after its instance and a hyphen with an id of this length.
const MEMBER_UUID_CHARS: usize = 36;

impl Membership {
    /// The error as it is; or, once it is sure, that the name is another process's.
    pub(super) fn judged(&self, error: LogError) -> LogError {
        if !matches!(error, LogError::Fenced { .. }) {
            return error;
        }
        // By the group itself: then the other is a member of it. By the transactions: then it becomes
        // one within a session timeout.
        let patience = match self.standing {
            Standing::Fenced => Duration::ZERO,
            Standing::Member | Standing::GivenUp if !self.spec.transactional => Duration::ZERO,
            Standing::Member | Standing::GivenUp => self.cluster.config.timeouts.session,
        };
        let (seen_by, stays) = (Instant::now() + patience, self.cluster.config.timeouts.session + BEYOND_SESSION);
        let mut since = None;
        loop {
            match self.namesake() {
                // The brokers are asked again: no answer is not the answer that there is none.
                Err(_) if Instant::now() < seen_by + stays => {}
                Err(_) => return error,
                Ok(Some(by)) if since.get_or_insert_with(Instant::now).elapsed() >= stays => {
                    let (group, instance) = (self.spec.group.clone(), self.spec.instance.clone());
                    return LogError::Replaced { group, instance, by };
                }
                Ok(Some(_)) => {}
                Ok(None) if since.is_some() || Instant::now() >= seen_by => return error,
                Ok(None) => {}
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Where the member of this name is that is not this one.
    fn namesake(&self) -> Result<Option<String>, LogError> {
        let members = self.cluster.members(&self.spec.group)?;
        let own = match self.standing {
            // The name was taken from it: another process has it.
            Standing::Fenced => String::new(),
            // Without an id it is just joining again: it could be the one that is seen.
            Standing::Member | Standing::GivenUp => match native::member_id(self.consumer.client()) {
                Some(own) if !own.is_empty() => own,
                _ => return Ok(None),
            },
        };
        let of_name = |id: &str| {
            let uuid = id.strip_prefix(&self.spec.instance).and_then(|rest| rest.strip_prefix('-'));
            uuid.is_some_and(|uuid| uuid.len() == MEMBER_UUID_CHARS)
        };
        let other = members.into_iter().find(|member| of_name(&member.id) && member.id != own);
        Ok(other.map(|member| format!("at {}", member.host.trim_start_matches('/'))))
    }
}
