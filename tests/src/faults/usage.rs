//! Resident memory of an installation's processes.

use std::collections::BTreeMap;

/// The most that each process had resident, KiB.
#[derive(Debug, Default, Clone)]
pub struct Memory {
    peaks: BTreeMap<String, u64>,
}

impl Memory {
    /// Looks once. A process that was started again counts as the same.
    pub fn look(&mut self, pids: &[(String, u32)]) {
        for (name, pid) in pids {
            if let Some(kib) = resident_kib(*pid) {
                let peak = self.peaks.entry(name.clone()).or_default();
                *peak = (*peak).max(kib);
            }
        }
    }

    /// The peaks of all, KiB, by name.
    pub fn peaks(&self) -> &BTreeMap<String, u64> {
        &self.peaks
    }

    /// The largest of them, KiB, by name.
    pub fn largest(&self) -> Option<(&str, u64)> {
        self.peaks.iter().max_by_key(|(_, kib)| **kib).map(|(name, kib)| (name.as_str(), *kib))
    }
}

/// `VmRSS` of a process, KiB; `None` when it is gone.
pub fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
