//! What the system says of processes: open files that one may have, memory that one takes.

use std::fs;
use std::io;

/// Open files that this process may have (`ulimit -n`); `None`: as many as it likes.
///
/// # Errors
/// When there is no `/proc`, or it has another form.
pub fn open_files_max() -> io::Result<Option<u64>> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    open_files(&limits).ok_or_else(|| unreadable("/proc/self/limits"))
}

fn open_files(limits: &str) -> Option<Option<u64>> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

/// Bytes of memory that a process has resident (`VmRSS`).
///
/// # Errors
/// When there is no such process, or `/proc` has another form.
pub fn resident_bytes(process: u32) -> io::Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path)?;
    resident(&status).ok_or_else(|| unreadable(&path))
}

fn resident(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    kib.parse::<u64>().ok().map(|kib| kib * 1_024)
}

fn unreadable(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} has not the form of proc(5)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_memory_are_read_as_the_kernel_writes_them() {
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files";
        assert_eq!(open_files(limits), Some(Some(1_024)));
        assert_eq!(open_files("Max open files unlimited unlimited files"), Some(None));
        assert_eq!(open_files("Max processes 1 1"), None);
        assert_eq!(resident("VmHWM:\t  900 kB\nVmRSS:\t     812 kB\n"), Some(831_488));
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
    }
}
