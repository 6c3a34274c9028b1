//! The memory of this process: how much it may take, and what queues and caches get of it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustix::param::page_size;
use rustix::system::sysinfo;
use schemas::admission::CONTENT_BYTES_MAX;
use topics::backlog::{Backlog, Shortage};

use crate::config::Config;
use crate::health::State;

const MIB: u64 = 1 << 20;
/// Bytes of a message that waits for the log, beside its content.
const MESSAGE_BYTES: u64 = 1_024;
/// Bytes of an entry of a cache or a table: keys and values of tens of bytes, with what the table needs.
const ENTRY_BYTES: u64 = 256;
/// Bytes of a user in the cache.
const USER_BYTES: u64 = 1_024;

/// The memory that a process may take, in bytes.
pub fn bytes_max(config: &Config) -> u64 {
    (config.memory_mib_max * MIB).min(there_is() / 100 * u64::from(config.memory_percent_max))
}

/// The memory of the machine, or less where a cgroup of this process has a limit.
fn there_is() -> u64 {
    let machine = sysinfo();
    #[allow(clippy::useless_conversion, reason = "the type is another one on other systems")]
    let of_machine = u64::from(machine.totalram).saturating_mul(machine.mem_unit.into());
    fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|groups| limit_of_cgroup(Path::new("/sys/fs/cgroup"), &groups))
        .map_or(of_machine, |limit| limit.min(of_machine))
}

/// The lowest limit of a process's cgroup and of those above it, where version 2 has one. `groups` is the process's
/// `/proc/self/cgroup`. <https://docs.kernel.org/admin-guide/cgroup-v2.html>
fn limit_of_cgroup(root: &Path, groups: &str) -> Option<u64> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = root.join(group);
    let above = group.ancestors().take_while(|path| path.starts_with(root));
    above.filter_map(|path| fs::read_to_string(path.join("memory.max")).ok()?.trim().parse().ok()).min()
}

/// What a part of the process may hold in memory.
struct Share {
    part: &'static str,
    /// The setting that bounds it.
    key: &'static str,
    /// Of the process's memory.
    percent: u64,
    /// Bytes of one of what the setting counts.
    each: u64,
}

impl Share {
    /// Lowers a setting to the share. Whoever starts is told.
    fn fit<T: TryFrom<u64> + TryInto<u64> + Copy + std::fmt::Display>(&self, all: u64, value: &mut T) {
        let Self { part, key, percent, each } = *self;
        let fits = (all / 100 * percent / each).max(1);
        let configured = (*value).try_into().unwrap_or(u64::MAX);
        if let (true, Ok(lower)) = (configured > fits, T::try_from(fits)) {
            tracing::warn!(
                key,
                configured = %value,
                lowered_to = %lower,
                "the memory of this process is too small for a setting: lower it, or raise memory_mib_max"
            );
            *value = lower;
        }
        let bytes = configured.min(fits).saturating_mul(each);
        metrics::gauge!("gochat_memory_share_bytes", "part" => part).set(bytes as f64);
    }
}

/// The same configuration, with queues and caches that fit into so many bytes together.
pub fn fit(mut config: Config, all: u64) -> Config {
    let share = |part, key, percent, each| Share { part, key, percent, each };
    let limits = &mut config.gateway.limits;
    share("send-queues", "gateway.limits.send_queues_bytes_max", 25, 1).fit(all, &mut limits.send_queues_bytes_max);
    limits.send_queue_bytes_max = limits.send_queue_bytes_max.min(limits.send_queues_bytes_max);
    limits.sync_page_bytes_max = limits.sync_page_bytes_max.min(limits.send_queue_bytes_max);
    let message = CONTENT_BYTES_MAX as u64 + MESSAGE_BYTES;
    share("append-queue", "gateway.limits.append_queue_records_max", 10, message)
        .fit(all, &mut limits.append_queue_records_max);
    // Rights, sign-ins and recent requests.
    share("access-caches", "gateway.limits.access_cache_entries_max", 5, 3 * ENTRY_BYTES)
        .fit(all, &mut limits.access_cache_entries_max);
    share("rate-tables", "gateway.limits.rate_entries_max", 10, RATE_TABLES * ENTRY_BYTES)
        .fit(all, &mut limits.rate_entries_max);
    let cache = &mut config.repo.cache.local;
    share("cached-messages", "repo.cache.local.messages_mib_max", 10, MIB).fit(all, &mut cache.messages_mib_max);
    share("cached-members", "repo.cache.local.members_mib_max", 5, MIB).fit(all, &mut cache.members_mib_max);
    share("cached-users", "repo.cache.local.users_max", 5, USER_BYTES).fit(all, &mut cache.users_max);
    share("cached-sessions", "repo.cache.local.sessions_max", 5, ENTRY_BYTES).fit(all, &mut cache.sessions_max);
    metrics::gauge!("gochat_memory_bytes_max").set(all as f64);
    config
}

/// Tables of rate limits, each of `rate_entries_max` entries.
const RATE_TABLES: u64 = 16;

/// The bound of this process's memory.
#[derive(Debug)]
pub struct Bound {
    bytes_max: u64,
    backlog: Arc<Backlog>,
}

impl Bound {
    /// Above it `backlog` takes no more messages, and the gateway no more sockets.
    pub fn new(bytes_max: u64, backlog: Arc<Backlog>) -> Self {
        Self { bytes_max, backlog }
    }

    /// Looks now, and tells the backlog.
    pub fn look(&self) -> State {
        let resident = match resident_bytes() {
            Ok(resident) => resident,
            Err(error) => return State::Failed(format!("/proc/self/statm can't be read: {error}")),
        };
        metrics::gauge!("gochat_memory_bytes").set(resident as f64);
        let short = resident > self.bytes_max;
        self.backlog.set_short_of(Shortage::Memory, short);
        if !short {
            return State::Ready;
        }
        let (resident, max) = (resident / MIB, self.bytes_max / MIB);
        State::Failed(format!(
            "the process has {resident} MiB of memory, more than {max}: new sockets and messages are refused until it \
             has less. Raise memory_mib_max if the machine has more"
        ))
    }
}

/// Memory of this process that is in RAM.
fn resident_bytes() -> std::io::Result<u64> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let resident = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let resident = resident.ok_or_else(|| std::io::Error::other("it has no second number"))?;
    Ok(resident * page_size() as u64)
}

#[cfg(test)]
mod tests {
    use gateway::GatewayConfig;

    use super::*;

    #[test]
    fn the_lowest_limit_of_the_cgroups_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b");
        fs::create_dir_all(&group).unwrap();
        let limit = || limit_of_cgroup(root.path(), "0::/a/b\n");
        assert_eq!(limit(), None);
        fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit(), None);
        fs::write(group.join("memory.max"), "2000\n").unwrap();
        assert_eq!(limit(), Some(2_000));
        fs::write(root.path().join("a/memory.max"), "1000\n").unwrap();
        assert_eq!(limit(), Some(1_000), "the group above has less");
        assert_eq!(limit_of_cgroup(root.path(), "1:memory:/a/b\n"), None, "version 1 is not looked at");
    }

    #[test]
    fn queues_and_caches_fit_into_a_small_memory_and_are_left_alone_in_a_large_one() {
        let config = Config::default();
        let large = fit(config.clone(), 64 << 30);
        assert_eq!(large.gateway.limits, config.gateway.limits);
        assert_eq!(large.repo.cache.local, config.repo.cache.local);
        let small = fit(config, 128 << 20);
        let limits = &small.gateway.limits;
        assert_eq!(limits.send_queues_bytes_max, (128 << 20) / 100 * 25);
        assert!(limits.append_queue_records_max < GatewayConfig::default().append_queue_records_max);
        assert_eq!(small.repo.cache.local.messages_mib_max, 12);
        small.check().unwrap();
        fit(small, 64 << 20).check().unwrap();
    }

    #[test]
    fn a_process_over_its_bound_takes_no_messages() {
        let backlog = Arc::new(Backlog::new(GatewayConfig::default().backlog()));
        let look = |bytes_max| Bound::new(bytes_max, backlog.clone()).look();
        assert_eq!(look(1 << 50), State::Ready);
        assert!(!backlog.is_full());
        let State::Failed(why) = look(MIB) else { panic!("it has more than that") };
        assert!(why.contains("more than 1:") && backlog.is_full(), "{why}");
        assert_eq!(look(1 << 50), State::Ready);
        assert!(!backlog.is_full(), "once it has less they are taken again");
    }
}
