//! The limit of open files: raised at start, and shared out among the listeners.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Other files: the log, the store, connections to services, metrics. Of few files half.
const OTHERS_MAX: u64 = 512;
/// Connections of the repo; of few files an eighth.
const REPO_MAX: u64 = 1_024;

/// How many files this process may have open.
#[derive(Debug, Clone, Copy)]
pub struct OpenFiles {
    pub max: u64,
}

impl OpenFiles {
    /// Raises the limit to the hard one.
    pub fn raised() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => Self { max: maximum.unwrap_or(u64::MAX) },
            Err(error) => {
                tracing::warn!(%error, "the limit of open files (ulimit -n) can't be raised");
                Self { max: current.unwrap_or(u64::MAX) }
            }
        }
    }

    /// Connections of the gateway: what the repo leaves.
    pub fn of_gateway(self) -> usize {
        at_least_one(self.free() - self.share_of_repo())
    }

    /// Connections of the repo.
    pub fn of_repo(self) -> usize {
        at_least_one(self.share_of_repo())
    }

    fn share_of_repo(self) -> u64 {
        (self.free() / 8).min(REPO_MAX)
    }

    fn free(self) -> u64 {
        self.max - OTHERS_MAX.min(self.max / 2)
    }
}

fn at_least_one(connections: u64) -> usize {
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(max: u64, of_gateway: usize, of_repo: usize) {
        let files = OpenFiles { max };
        assert_eq!((files.of_gateway(), files.of_repo()), (of_gateway, of_repo), "{max}");
    }

    #[test]
    fn every_listener_has_its_share() {
        check(256, 112, 16);
        check(1_024, 448, 64);
        check(20_000, 18_464, 1_024);
        check(1, 1, 1);
    }
}
