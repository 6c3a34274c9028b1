//! Resident memory of an installation's processes.

use std::collections::BTreeMap;

/// The most that each process had resident, KiB.
#[derive(Debug, Default, Clone)]
pub struct Memory {
    peaks: BTreeMap<String, u64>,
}

impl Memory {
    /// What each has now.
    pub fn now(pids: &[(String, u32)]) -> Self {
        let mut memory = Self::default();
        memory.look(pids);
        memory
    }

    /// The most that each ever had, as the system has noted it.
    pub fn ever(pids: &[(String, u32)]) -> Self {
        let mut memory = Self::default();
        memory.note(pids, "VmHWM:");
        memory
    }

    /// Looks once. A process that was started again counts as the same.
    pub fn look(&mut self, pids: &[(String, u32)]) {
        self.note(pids, "VmRSS:");
    }

    fn note(&mut self, pids: &[(String, u32)], field: &str) {
        for (name, pid) in pids {
            if let Some(kib) = kib(*pid, field) {
                let peak = self.peaks.entry(name.clone()).or_default();
                *peak = (*peak).max(kib);
            }
        }
    }

    /// That of one process, KiB; 0 when it was never seen.
    pub fn of(&self, process: &str) -> u64 {
        self.peaks.get(process).copied().unwrap_or_default()
    }

    /// The processes that were seen.
    pub fn processes(&self) -> impl Iterator<Item = &str> {
        self.peaks.keys().map(String::as_str)
    }

    /// The largest of them, KiB, by name.
    pub fn largest(&self) -> Option<(&str, u64)> {
        self.peaks.iter().max_by_key(|(_, kib)| **kib).map(|(name, kib)| (name.as_str(), *kib))
    }
}

/// A field of a process's status, KiB; `None` when the process is gone.
pub fn kib(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
