//! What a [`KafkaLog`](super::KafkaLog) needs to know, and the client settings that follow from it.
//!
//! Settings are librdkafka's; each that differs from its default says why.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::catalogue::{DEDUPE_WINDOW_DEFAULT, Layout};
use crate::log::MemberSpec;

/// How to reach a cluster, and how the topics are laid out there.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// Some of the brokers, `host:port,host:port`; the rest are learned from them.
    pub brokers: String,
    /// How many partitions the topics have.
    pub layout: Layout,
    /// How long repeats are recognised; fixed when the topics are made.
    pub dedupe_window: Duration,
    /// Begins the name of each client, as brokers log it.
    pub client_id: String,
    /// Begins the name of each topic, so that several installations can share a cluster.
    pub topic_prefix: String,
    /// Begins the name of each consumer group and transactional id, for the same reason.
    pub group_prefix: String,
    /// On how many brokers each partition is kept. With 3 or more, all but one must have a record
    /// before it is acknowledged.
    pub replicas: u16,
    /// How the connection is protected.
    pub security: Security,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Most records of [`append`](crate::log::Log::append) that wait for their acknowledgement;
    /// further calls wait until there is room.
    pub append_queue_records_max: u32,
}

impl KafkaConfig {
    /// These brokers, without prefixes, one replica, no encryption.
    pub fn new(brokers: impl Into<String>, layout: Layout) -> Self {
        Self {
            brokers: brokers.into(),
            layout,
            dedupe_window: DEDUPE_WINDOW_DEFAULT,
            client_id: "gochat".into(),
            topic_prefix: String::new(),
            group_prefix: String::new(),
            replicas: 1,
            security: Security::Plaintext,
            timeouts: Timeouts::default(),
            append_queue_records_max: 100_000,
        }
    }

    /// How many replicas must have a record before it is acknowledged.
    pub fn in_sync_min(&self) -> u16 {
        if self.replicas < 3 { 1 } else { self.replicas - 1 }
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until a broker answers at start.
    pub connect: Duration,
    /// Until a single request is answered.
    pub request: Duration,
    /// Until a record is acknowledged, with all retries. Below `transaction`.
    pub delivery: Duration,
    /// Until the brokers abort a transaction that its owner left open.
    pub transaction: Duration,
    /// Until a member that sends no heartbeat loses its partitions. Brokers refuse less than 6 s.
    pub session: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(60),
            request: Duration::from_secs(10),
            delivery: Duration::from_secs(8),
            transaction: Duration::from_secs(10),
            session: Duration::from_secs(6),
        }
    }
}

/// How the connection to the brokers is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Not at all: for loopback and private networks.
    Plaintext,
    #[cfg(feature = "kafka-tls")]
    Tls(Tls),
    /// With a name and password, SASL/SCRAM-SHA-512, not encrypted.
    #[cfg(feature = "kafka-tls")]
    Scram(Scram),
    #[cfg(feature = "kafka-tls")]
    TlsScram(Tls, Scram),
}

/// Certificates in PEM files.
#[cfg(feature = "kafka-tls")]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Authorities that the brokers' certificates are checked against; the system's when left out.
    pub authorities: Option<std::path::PathBuf>,
    /// This client's certificate and key, where brokers ask for them.
    pub identity: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

/// A name and password.
#[cfg(feature = "kafka-tls")]
#[derive(Clone, PartialEq, Eq)]
pub struct Scram {
    pub username: String,
    /// The password; never printed.
    pub password: String,
}

#[cfg(feature = "kafka-tls")]
impl std::fmt::Debug for Scram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scram").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What a consumer sees of transactions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Isolation {
    /// Only what was committed.
    Committed,
    /// Also what is still open: for the true end of a partition.
    Uncommitted,
}

/// Most bytes of records that a client holds before they are acknowledged, KiB.
const PRODUCER_QUEUE_KIB_MAX: u32 = 256 * 1_024;
/// Most bytes of records that are fetched ahead of a consumer, KiB.
const FETCH_QUEUE_KIB_MAX: u32 = 32 * 1_024;
/// How often a consumer says which brokers it knows.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(5);
/// Largest record with its overhead, bytes: the brokers' and librdkafka's own default.
pub(super) const RECORD_BYTES_MAX: usize = 1_000_000;

impl KafkaConfig {
    fn client(&self, role: &str) -> ClientConfig {
        let mut client = ClientConfig::new();
        set(
            &mut client,
            [
                ("bootstrap.servers", self.brokers.clone()),
                ("client.id", format!("{}-{role}", self.client_id)),
                ("socket.timeout.ms", ms(self.timeouts.request)),
                ("socket.nagle.disable", "true".into()),
                ("allow.auto.create.topics", "false".into()),
                // Idle connections that a broker closes are no news.
                ("log.connection.close", "false".into()),
                ("reconnect.backoff.max.ms", "1000".into()),
                // The default of 100 ms is paid whenever a transaction follows at once on the last.
                ("retry.backoff.ms", "5".into()),
                ("retry.backoff.max.ms", "200".into()),
            ],
        );
        self.secure(&mut client);
        client
    }

    #[cfg(not(feature = "kafka-tls"))]
    fn secure(&self, _client: &mut ClientConfig) {
        match self.security {
            Security::Plaintext => {}
        }
    }

    #[cfg(feature = "kafka-tls")]
    fn secure(&self, client: &mut ClientConfig) {
        let (protocol, tls, scram) = match &self.security {
            Security::Plaintext => return,
            Security::Tls(tls) => ("ssl", Some(tls), None),
            Security::Scram(scram) => ("sasl_plaintext", None, Some(scram)),
            Security::TlsScram(tls, scram) => ("sasl_ssl", Some(tls), Some(scram)),
        };
        client.set("security.protocol", protocol);
        if let Some(path) = tls.and_then(|tls| tls.authorities.as_ref()) {
            client.set("ssl.ca.location", path.to_string_lossy());
        }
        if let Some((certificate, key)) = tls.and_then(|tls| tls.identity.as_ref()) {
            client.set("ssl.certificate.location", certificate.to_string_lossy());
            client.set("ssl.key.location", key.to_string_lossy());
        }
        if let Some(scram) = scram {
            client.set("sasl.mechanism", "SCRAM-SHA-512");
            client.set("sasl.username", &scram.username);
            client.set("sasl.password", &scram.password);
        }
    }

    /// A client that makes and describes topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client("admin")
    }

    fn producer(&self, role: &str) -> ClientConfig {
        let mut client = self.client(role);
        set(
            &mut client,
            [
                ("enable.idempotence", "true".into()),
                ("acks", "all".into()),
                ("message.timeout.ms", ms(self.timeouts.delivery)),
                ("queue.buffering.max.messages", "1000000".into()),
                ("queue.buffering.max.kbytes", PRODUCER_QUEUE_KIB_MAX.to_string()),
                // The default of 5 ms would be in every acknowledgement to a client.
                ("linger.ms", "1".into()),
            ],
        );
        client
    }

    /// The producer of [`append`](crate::log::Log::append).
    pub(super) fn appender(&self) -> ClientConfig {
        self.producer("append")
    }

    /// The producer of a member. A delivery report of each record would cost more than the record:
    /// only failures are reported, and success is that none is in flight any more.
    pub(super) fn committer(&self, spec: &MemberSpec) -> ClientConfig {
        let mut client = self.producer(&format!("{}-{}", spec.group, spec.instance));
        client.set("delivery.report.only.error", "true");
        if spec.transactional {
            client.set("transactional.id", format!("{}{}-{}", self.group_prefix, spec.group, spec.instance));
            client.set("transaction.timeout.ms", ms(self.timeouts.transaction));
        }
        client
    }

    /// A consumer of no group, or one that only asks for a group's positions.
    pub(super) fn consumer(&self, role: &str, group: Option<&str>, isolation: Isolation) -> ClientConfig {
        let mut client = self.client(role);
        let isolation = match isolation {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        };
        set(
            &mut client,
            [
                ("isolation.level", isolation.into()),
                ("enable.auto.commit", "false".into()),
                ("enable.auto.offset.store", "false".into()),
                // Records that were dropped before they were read are an error, not a jump.
                ("auto.offset.reset", "error".into()),
                // A partition that is started waits for the running fetch to end.
                ("fetch.wait.max.ms", "20".into()),
                ("fetch.queue.backoff.ms", "5".into()),
                ("fetch.error.backoff.ms", "50".into()),
                ("queued.max.messages.kbytes", FETCH_QUEUE_KIB_MAX.to_string()),
            ],
        );
        if let Some(group) = group {
            client.set("group.id", format!("{}{group}", self.group_prefix));
        }
        client
    }

    /// A consumer that reads partitions outside of groups.
    pub(super) fn reader(&self) -> ClientConfig {
        // Assigning needs the name of a group, although none is joined.
        let mut client = self.consumer("reader", Some("readers"), Isolation::Committed);
        client.set("statistics.interval.ms", ms(STATISTICS_INTERVAL));
        client
    }

    /// A member of a group: classic protocol, cooperative-sticky (KIP-429), static (KIP-345).
    pub(super) fn member(&self, spec: &MemberSpec) -> ClientConfig {
        let role = format!("{}-{}", spec.group, spec.instance);
        let mut client = self.consumer(&role, Some(&spec.group), Isolation::Committed);
        // The member's thread looks at `poll_interval_max` itself; this ends a thread that hangs.
        let hangs = spec.poll_interval_max + self.timeouts.transaction + self.timeouts.session;
        set(
            &mut client,
            [
                ("statistics.interval.ms", ms(STATISTICS_INTERVAL)),
                ("group.instance.id", spec.instance.clone()),
                ("group.protocol", "classic".into()),
                ("partition.assignment.strategy", "cooperative-sticky".into()),
                ("session.timeout.ms", ms(self.timeouts.session)),
                // By a heartbeat a member hears that others join or leave.
                ("heartbeat.interval.ms", ms(self.timeouts.session / 12)),
                ("max.poll.interval.ms", ms(hangs)),
            ],
        );
        client
    }
}

fn set<const N: usize>(client: &mut ClientConfig, settings: [(&str, String); N]) {
    for (name, value) in settings {
        client.set(name, value);
    }
}

fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}
