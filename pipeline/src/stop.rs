//! The signals at which what runs long stops in good order.

use tokio::signal::unix::{SignalKind, signal};

/// Done at Ctrl-C, SIGTERM or SIGHUP.
///
/// SIGHUP stays ignored where whoever started the process had it ignored (`nohup`).
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    Ok(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hung_up => {}
        }
    })
}

/// Where there is no such file, it is not known to be.
fn hangup_is_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

/// Bit n - 1 of the hexadecimal mask stands for signal n (proc_pid_status(5)); SIGHUP is 1.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_a_hangup_is_ignored_is_read_from_the_mask() {
        assert!(ignores_hangup("Name:\tgochat\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        assert!(!ignores_hangup("Name:\tgochat\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
