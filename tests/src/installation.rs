//! An installation on Kafka: one configuration, and processes that each run a part of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::server::{Launch, Server, Starting, any_port};

/// What the installations of tests differ in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where Kafka is.
    pub brokers: String,
    /// Begins the names of topics and groups.
    pub prefix: String,
    /// Partitions of the chain topics.
    pub chain_partitions: u32,
    /// How long a start waits for a broker.
    pub connect_seconds: u64,
    /// Whether dedupe and id-assign run in one task.
    pub fused: bool,
    /// For how long a repeat is recognised.
    pub dedupe_window_seconds: u64,
    /// How often clients hear what there is.
    pub heads_every_seconds: u64,
    /// The database; `None`: SQLite.
    pub store_url: Option<String>,
    /// The Redis that is the cache; `None`: each process remembers for itself.
    pub cache_url: Option<String>,
}

impl Settings {
    /// Names of its own on these brokers, and otherwise what most tests want.
    pub fn on(brokers: impl Into<String>) -> Self {
        let (brokers, prefix) = (brokers.into(), format!("test-{:016x}-", rand::random::<u64>()));
        Self {
            brokers,
            prefix,
            chain_partitions: 4,
            connect_seconds: 60,
            fused: true,
            dedupe_window_seconds: 600,
            heads_every_seconds: 30,
            store_url: None,
            cache_url: None,
        }
    }

    /// On how many brokers each record is.
    pub fn replicas(&self) -> u16 {
        if self.brokers.contains(',') { 3 } else { 1 }
    }
}

/// What runs in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its roles, separated by commas.
    pub roles: &'static str,
    /// Its number among the processes.
    pub instance: u16,
    /// Its gateway's slot.
    pub slot: u16,
}

impl Part {
    /// These roles under this number, without a gateway or with that of slot 0.
    pub const fn new(roles: &'static str, instance: u16) -> Self {
        Self { roles, instance, slot: 0 }
    }
}

/// Everything in one process.
pub const EVERYTHING: Part = Part::new("gateway,repo,dedupe,id-assign,persist,fan-out,large-group", 0);

/// A configuration and a data directory.
pub struct Installation {
    /// What it was made with.
    pub settings: Settings,
    dir: TempDir,
}

impl Installation {
    /// One with these settings; nothing runs yet.
    pub fn new(settings: Settings) -> Self {
        let installation = Self { settings: settings.clone(), dir: tempfile::tempdir().expect("a directory") };
        installation.set(settings);
        installation
    }

    /// Processes that start from now on have these settings.
    pub fn set(&self, settings: Settings) {
        let replicas = settings.replicas();
        let Settings {
            brokers,
            prefix,
            chain_partitions,
            connect_seconds,
            fused,
            dedupe_window_seconds,
            heads_every_seconds,
            store_url,
            cache_url,
        } = settings;
        let store = store_url.map(|url| format!("[repo.store]\nurl = \"{url}\"\n")).unwrap_or_default();
        let cache = cache_url.map(|url| format!("[repo.cache]\nkind = \"redis\"\nredis.url = \"{url}\"\n"));
        let cache = cache.unwrap_or_default();
        let config = format!(
            "[log]\nkind = \"kafka\"\nchain_partitions = {chain_partitions}\ngateway_slots = 2\n\
             [log.kafka]\nbrokers = \"{brokers}\"\ntopic_prefix = \"{prefix}\"\ngroup_prefix = \"{prefix}\"\n\
             replicas = {replicas}\nconnect_seconds = {connect_seconds}\n\
             [stages]\ntasks_per_stage = 1\nfuse_dedupe_and_id_assign = {fused}\n\
             dedupe_window_seconds = {dedupe_window_seconds}\n\
             [gateway.limits]\nheads_every_s = {heads_every_seconds}\n{store}{cache}"
        );
        std::fs::write(self.config(), config).expect("the directory is the test's own");
    }

    /// Starts a process, on these addresses where it has a gateway or a repo.
    pub async fn start(&self, part: Part, http: SocketAddr, grpc: SocketAddr) -> Server {
        Self::ready(self.starting_at(part, http, grpc, Launch::default())).await
    }

    /// Starts a process on free ports, or with a repo at this address, and its log in this file.
    pub async fn start_logged(&self, part: Part, grpc: SocketAddr, log: PathBuf) -> Server {
        self.start_as(part, grpc, Launch { log: Some(log), ..Launch::default() }).await
    }

    /// Starts a process on free ports, or with a repo at this address, with the log and environment of a launch.
    pub async fn start_as(&self, part: Part, grpc: SocketAddr, launch: Launch) -> Server {
        Self::ready(self.starting_at(part, any_port(), grpc, launch)).await
    }

    async fn ready(starting: Starting) -> Server {
        starting.ready().await.unwrap_or_else(|refused| panic!("it does not start: {refused:?}"))
    }

    /// Starts everything in one process, on free ports.
    pub fn starting(&self) -> Starting {
        self.starting_at(EVERYTHING, any_port(), any_port(), Launch::default())
    }

    fn starting_at(&self, part: Part, http: SocketAddr, grpc: SocketAddr, launch: Launch) -> Starting {
        let (instance, slot) = (part.instance.to_string(), part.slot.to_string());
        let config = self.config().display().to_string();
        let args = ["--config", &config, "--roles", part.roles, "--instance", &instance, "--slot", &slot];
        let launch = Launch { args: args.map(str::to_owned).into(), ..launch };
        Starting::new(&self.data(), http, grpc, &launch)
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("kafka.toml")
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}
