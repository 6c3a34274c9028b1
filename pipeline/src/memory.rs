//! The memory of this process: how much it may take, and what queues and caches get of it.

use std::fmt::Display;
use std::fs;
use std::path::Path;

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
/// Tables of rate limits, each of `rate_entries_max` entries.
const RATE_TABLES: u64 = 16;

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

/// The memory that a process may take, and what its parts get of it.
#[derive(Debug)]
pub struct Memory {
    bytes_max: u64,
    /// Bytes, by part.
    shares: Vec<(&'static str, u64)>,
}

impl Memory {
    /// The memory that a configuration allows. Lowers its queues and caches to what fits.
    pub fn fit(config: &mut Config) -> Self {
        let of_machine = there_is() / 100 * u64::from(config.memory_percent_max);
        Self::within(of_machine.min(config.memory_mib_max * MIB), config)
    }

    fn within(bytes_max: u64, config: &mut Config) -> Self {
        let mut memory = Self { bytes_max, shares: Vec::new() };
        let limits = &mut config.gateway.limits;
        memory.share("send-queues", 25, 1, "gateway.limits.send_queues_bytes_max", &mut limits.send_queues_bytes_max);
        limits.send_queue_bytes_max = limits.send_queue_bytes_max.min(limits.send_queues_bytes_max);
        limits.sync_page_bytes_max = limits.sync_page_bytes_max.min(limits.send_queue_bytes_max);
        let (key, value) = ("gateway.limits.append_queue_records_max", &mut limits.append_queue_records_max);
        memory.share("append-queue", 10, CONTENT_BYTES_MAX as u64 + MESSAGE_BYTES, key, value);
        // Rights, sign-ins and recent requests.
        let (key, value) = ("gateway.limits.access_cache_entries_max", &mut limits.access_cache_entries_max);
        memory.share("access-caches", 5, 3 * ENTRY_BYTES, key, value);
        let (key, value) = ("gateway.limits.rate_entries_max", &mut limits.rate_entries_max);
        memory.share("rate-tables", 10, RATE_TABLES * ENTRY_BYTES, key, value);
        let cache = &mut config.repo.cache.local;
        memory.share("cached-messages", 10, MIB, "repo.cache.local.messages_mib_max", &mut cache.messages_mib_max);
        memory.share("cached-members", 5, MIB, "repo.cache.local.members_mib_max", &mut cache.members_mib_max);
        memory.share("cached-users", 5, USER_BYTES, "repo.cache.local.users_max", &mut cache.users_max);
        memory.share("cached-sessions", 5, ENTRY_BYTES, "repo.cache.local.sessions_max", &mut cache.sessions_max);
        memory
    }

    /// Gives a part its percentage. Lowers the setting that bounds the part, which counts things of `each` bytes, to what
    /// fits, and logs a warning.
    fn share<T: TryFrom<u64> + TryInto<u64> + Copy + Display>(
        &mut self,
        part: &'static str,
        percent: u64,
        each: u64,
        key: &str,
        value: &mut T,
    ) {
        let fits = (self.bytes_max / 100 * percent / each).max(1);
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
        self.shares.push((part, configured.min(fits).saturating_mul(each)));
    }

    /// Looks now. Above the bound `backlog` takes no more messages, and the gateway no more sockets.
    pub fn look(&self, backlog: &Backlog) -> State {
        for &(part, bytes) in &self.shares {
            metrics::gauge!("gochat_memory_share_bytes", "part" => part).set(bytes as f64);
        }
        metrics::gauge!("gochat_memory_bytes_max").set(self.bytes_max as f64);
        let resident = match resident_bytes() {
            Ok(resident) => resident,
            Err(error) => return State::Failed(format!("/proc/self/statm can't be read: {error}")),
        };
        metrics::gauge!("gochat_memory_bytes").set(resident as f64);
        let short = resident > self.bytes_max;
        backlog.set_short_of(Shortage::Memory, short);
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
        let within = |bytes_max, config: &Config| {
            let mut config = config.clone();
            let memory = Memory::within(bytes_max, &mut config);
            assert!(memory.shares.iter().map(|(_, bytes)| bytes).sum::<u64>() <= bytes_max, "{memory:?}");
            config.check().unwrap();
            config
        };
        let config = Config::default();
        let large = within(64 << 30, &config);
        assert_eq!(large.gateway.limits, config.gateway.limits);
        assert_eq!(large.repo.cache.local, config.repo.cache.local);
        let small = within(128 << 20, &config);
        let limits = &small.gateway.limits;
        assert_eq!(limits.send_queues_bytes_max, (128 << 20) / 100 * 25);
        assert!(limits.append_queue_records_max < config.gateway.limits.append_queue_records_max);
        assert_eq!(small.repo.cache.local.messages_mib_max, 12);
    }

    #[test]
    fn a_process_over_its_bound_takes_no_messages() {
        let backlog = Backlog::new(GatewayConfig::default().backlog());
        let look = |bytes_max| Memory::within(bytes_max, &mut Config::default()).look(&backlog);
        assert_eq!(look(1 << 50), State::Ready);
        assert!(!backlog.is_full());
        let State::Failed(why) = look(MIB) else { panic!("it has more than that") };
        assert!(why.contains("more than 1:") && backlog.is_full(), "{why}");
        assert_eq!(look(1 << 50), State::Ready);
        assert!(!backlog.is_full(), "once it has less they are taken again");
    }
}
