//! What can happen, to which log, and in which order by a seed.

use std::fmt;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Which log an installation runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogKind {
    /// Everything in one process, on the local disk.
    Embedded,
    /// Each role in processes of its own, on three brokers.
    Kafka,
}

/// What an installation keeps its users, groups and messages in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// A file.
    Sqlite,
    /// A server of its own.
    Mariadb,
    /// A server of its own, with a standby.
    Postgres,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Kind {
    /// The one process of everything is killed and started again.
    KillAll,
    /// A repo is killed and started again.
    KillRepo,
    /// One of two processes of dedupe and id-assign.
    KillDedupe,
    /// One of two processes of persist.
    KillPersist,
    /// One of two processes of fan-out.
    KillFanOut,
    /// One of two processes of large-group.
    KillLargeGroup,
    /// One of two gateways.
    KillGateway,
    /// A stage is stopped for longer than its session lasts, and wakes up as a zombie.
    Zombie,
    /// One of three brokers is killed, and comes back later.
    BrokerLost,
    /// All brokers are killed and started again.
    BrokersKilled,
    /// The store takes nothing for 20 s.
    StoreLocked,
    /// The store takes something only now and then, for 10 s.
    StoreSlow,
    /// The store's server is killed and started again.
    StoreKilled,
    /// The disk is full for some seconds.
    DiskFull,
    /// Files are damaged while the process is stopped.
    DamagedFiles,
}

impl Kind {
    /// What can happen to an installation on this log, with this store.
    pub fn of(log: LogKind, store: StoreKind) -> Vec<Self> {
        let of_log: &[Self] = match log {
            LogKind::Embedded => {
                &[Self::KillAll, Self::StoreLocked, Self::StoreSlow, Self::DiskFull, Self::DamagedFiles]
            }
            LogKind::Kafka => &[
                Self::KillRepo,
                Self::KillDedupe,
                Self::KillPersist,
                Self::KillFanOut,
                Self::KillLargeGroup,
                Self::KillGateway,
                Self::Zombie,
                Self::BrokerLost,
                Self::BrokersKilled,
                Self::StoreLocked,
                Self::StoreSlow,
            ],
        };
        let of_store: &[Self] = match store {
            StoreKind::Sqlite => &[],
            StoreKind::Mariadb | StoreKind::Postgres => &[Self::StoreKilled],
        };
        [of_log, of_store].concat()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KillAll => "kill -9 of the process",
            Self::KillRepo => "kill -9 of the repo",
            Self::KillDedupe => "kill -9 of dedupe and id-assign",
            Self::KillPersist => "kill -9 of persist",
            Self::KillFanOut => "kill -9 of fan-out",
            Self::KillLargeGroup => "kill -9 of large-group",
            Self::KillGateway => "kill -9 of a gateway",
            Self::Zombie => "a stage stopped for 9 s",
            Self::BrokerLost => "one broker of three lost for 15 s",
            Self::BrokersKilled => "kill -9 of all brokers",
            Self::StoreLocked => "the store away for 20 s",
            Self::StoreSlow => "the store slow for 10 s",
            Self::StoreKilled => "kill -9 of the store's server",
            Self::DiskFull => "a full disk for 5 s",
            Self::DamagedFiles => "damaged files",
        })
    }
}

/// An endless order of faults: every kind once, shuffled, then again. What costs little comes more often.
#[derive(Debug)]
pub struct Order {
    /// Those of a round.
    kinds: Vec<Kind>,
    /// What is left of this round, last first.
    round: Vec<Kind>,
    rounds: u32,
}

impl Order {
    /// Of what can happen to an installation on this log, with this store.
    pub fn new(log: LogKind, store: StoreKind) -> Self {
        Self::of(Kind::of(log, store))
    }

    /// Of these kinds.
    pub fn of(kinds: Vec<Kind>) -> Self {
        Self { kinds, round: Vec::new(), rounds: 0 }
    }

    /// The next kind.
    pub fn next(&mut self, random: &mut StdRng) -> Kind {
        if self.round.is_empty() {
            self.rounds += 1;
            self.round.clone_from(&self.kinds);
            if self.rounds > 1 && self.kinds.contains(&Kind::KillAll) {
                self.round.extend([Kind::KillAll; 4]);
            }
            self.round.shuffle(random);
        }
        self.round.pop().unwrap_or(Kind::StoreLocked)
    }

    /// Whether every kind has come.
    pub fn all_came(&self) -> bool {
        self.rounds > 1 || (self.rounds == 1 && self.round.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_seed_gives_one_order_in_which_every_kind_comes() {
        let cases = [
            (LogKind::Embedded, StoreKind::Sqlite),
            (LogKind::Embedded, StoreKind::Postgres),
            (LogKind::Kafka, StoreKind::Sqlite),
            (LogKind::Kafka, StoreKind::Mariadb),
        ];
        for (log, store) in cases {
            let of = |seed| {
                let (mut order, mut random) = (Order::new(log, store), StdRng::seed_from_u64(seed));
                let first: Vec<_> = Kind::of(log, store).iter().map(|_| order.next(&mut random)).collect();
                assert!(order.all_came());
                first
            };
            let mut kinds = of(7);
            assert_eq!(kinds, of(7));
            kinds.sort_unstable();
            let mut all = Kind::of(log, store);
            all.sort_unstable();
            assert_eq!(kinds, all);
        }
    }
}
