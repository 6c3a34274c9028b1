//! An installation: its processes, and its brokers if it has any.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::fault::{LogKind, StoreKind};
use super::store::Store;
use crate::broker::Broker;
use crate::server::{Launch, Refused, Server, Starting, any_port};

/// Partitions of chain topics.
pub const CHAIN_PARTITIONS: u32 = 4;
/// Gateways there can be.
pub const GATEWAY_SLOTS: u32 = 2;

/// What runs in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// All of it.
    Everything,
    /// The store and its services.
    Repo,
    /// Both first stages, fused.
    Dedupe,
    /// Writes to the store.
    Persist,
    /// Finds who is online where.
    FanOut,
    /// The same for groups over 500.
    LargeGroup,
    Gateway,
}

impl Role {
    /// What a process of it runs. Where persist and fan-out share a task, one of either runs both.
    fn roles(self, fused: bool) -> &'static str {
        match self {
            Self::Persist | Self::FanOut if fused => "persist,fan-out",
            Self::Everything => "all",
            Self::Repo => "repo",
            Self::Dedupe => "dedupe,id-assign",
            Self::Persist => "persist",
            Self::FanOut => "fan-out",
            Self::LargeGroup => "large-group",
            Self::Gateway => "gateway",
        }
    }
}

/// A process of the installation.
struct Part {
    role: Role,
    launch: Launch,
    http: SocketAddr,
    grpc: SocketAddr,
    server: Option<Server>,
}

pub struct Stand {
    /// Which log it is on.
    pub log: LogKind,
    /// Whether persist and fan-out share a task.
    pub fused: bool,
    data: PathBuf,
    config: PathBuf,
    parts: Vec<Part>,
    pub brokers: Option<Broker>,
    pub store: Store,
}

/// What is set differently from the defaults, as environment variables.
pub type Settings = Vec<(String, String)>;

impl Stand {
    /// Starts everything in one process, with its data in `dir/data` and its log in `dir`.
    pub async fn embedded(dir: &Path, store: StoreKind, fused: bool, settings: &[(String, String)]) -> Self {
        let (config, data) = (dir.join("gochat.toml"), dir.join("data"));
        let store = Store::start(store, &data).await;
        let text = format!(
            "[log]\nchain_partitions = {CHAIN_PARTITIONS}\ngateway_slots = {GATEWAY_SLOTS}\n\
             [stages]\nfuse_persist_and_fan_out = {fused}\n{}",
            store.section()
        );
        std::fs::write(&config, text).expect("the directory can be written");
        let args = vec!["--config".to_owned(), config.display().to_string()];
        let launch =
            Launch { args, env: environment(settings), log: Some(dir.join("gochat.log")), ..Launch::default() };
        let part = Part { role: Role::Everything, launch, http: any_port(), grpc: any_port(), server: None };
        let mut stand = Self { log: LogKind::Embedded, fused, data, config, parts: vec![part], brokers: None, store };
        stand.start(0).await;
        stand
    }

    /// Starts three brokers, a repo, and everything else twice, each in a process of its own.
    pub async fn kafka(dir: &Path, store: StoreKind, fused: bool, settings: &[(String, String)]) -> Self {
        let data = dir.join("data");
        let store = Store::start(store, &data).await;
        let brokers = Broker::start_three_in(dir.join("brokers")).await;
        let config = format!(
            "[log]\nkind = \"kafka\"\nchain_partitions = {CHAIN_PARTITIONS}\ngateway_slots = {GATEWAY_SLOTS}\n\
             [log.kafka]\nbrokers = \"{}\"\nreplicas = {}\n[stages]\ntasks_per_stage = 1\n\
             fuse_persist_and_fan_out = {fused}\n{}",
            brokers.address(),
            brokers.nodes(),
            store.section(),
        );
        let config_file = dir.join("kafka.toml");
        std::fs::write(&config_file, config).expect("the directory can be written");
        let twice = [Role::Dedupe, Role::Persist, Role::FanOut, Role::LargeGroup, Role::Gateway];
        let roles = [Role::Repo].into_iter().chain(twice.into_iter().flat_map(|role| [role, role]));
        let mut stand = Self {
            log: LogKind::Kafka,
            fused,
            data,
            config: config_file.clone(),
            parts: Vec::new(),
            brokers: Some(brokers),
            store,
        };
        let mut grpc = any_port();
        for (instance, role) in roles.enumerate() {
            let slot = if role == Role::Gateway { instance % 2 } else { 0 };
            let (instance_arg, slot) = (instance.to_string(), slot.to_string());
            let config = config_file.display().to_string();
            let roles = role.roles(fused);
            let args = ["--config", &config, "--roles", roles, "--instance", &instance_arg, "--slot", &slot];
            let log = dir.join(format!("{instance}-{roles}.log"));
            let launch = Launch {
                args: args.map(str::to_owned).into(),
                env: environment(settings),
                log: Some(log),
                ..Launch::default()
            };
            stand.parts.push(Part { role, launch, http: any_port(), grpc, server: None });
            stand.start(instance).await;
            grpc = stand.parts[0].grpc;
        }
        stand
    }

    /// Where its data is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The file that configures it.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Where clients connect.
    pub fn gateways(&self) -> Vec<SocketAddr> {
        let gateways = self.parts.iter().filter(|part| matches!(part.role, Role::Everything | Role::Gateway));
        gateways.map(|part| part.http).collect()
    }

    /// Where the metrics of gateways are.
    pub fn metrics(&self) -> Vec<SocketAddr> {
        let gateways = self.parts.iter().filter(|part| matches!(part.role, Role::Everything | Role::Gateway));
        gateways.filter_map(|part| Some(part.server.as_ref()?.metrics)).collect()
    }

    /// Where the repo answers.
    pub fn grpc(&self) -> SocketAddr {
        self.parts[0].grpc
    }

    /// The processes of a role.
    pub fn parts_of(&self, role: Role) -> Vec<usize> {
        (0..self.parts.len()).filter(|&at| self.parts[at].role == role).collect()
    }

    /// The processes that run, with what they are.
    pub fn pids(&self) -> Vec<(String, u32)> {
        let name = |at: usize, part: &Part| format!("{at}-{}", part.role.roles(self.fused));
        let pid = |(at, part): (usize, &Part)| Some((name(at, part), part.server.as_ref()?.pid()?));
        self.parts.iter().enumerate().filter_map(pid).collect()
    }

    /// How many lines with these words the processes have logged.
    pub fn logged(&self, words: &str) -> usize {
        let in_file = |path: &PathBuf| {
            let text = std::fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&text).lines().filter(|line| line.contains(words)).count()
        };
        self.parts.iter().filter_map(|part| part.launch.log.as_ref()).map(in_file).sum()
    }

    /// Starts a process, where it was before if it was.
    pub async fn start(&mut self, at: usize) {
        self.try_start(at)
            .await
            .unwrap_or_else(|refused| panic!("{:?} does not start: {refused:?}", self.parts[at].role));
    }

    /// The same, where it may refuse.
    ///
    /// # Errors
    /// What it says.
    pub async fn try_start(&mut self, at: usize) -> Result<(), Refused> {
        let part = &mut self.parts[at];
        let server = Starting::new(&self.data, part.http, part.grpc, &part.launch).ready().await?;
        (part.http, part.grpc) = (server.http, server.grpc);
        part.server = Some(server);
        Ok(())
    }

    /// Kills a process.
    pub async fn kill(&mut self, at: usize) {
        self.parts[at].server.take().expect("it runs").kill().await;
    }

    /// Sends a process a signal.
    pub async fn signal(&self, at: usize, name: &str) {
        self.parts[at].server.as_ref().expect("it runs").signal(name).await;
    }

    /// Processes that ended though nobody told them to, with how. They are not started again.
    pub fn ended(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        for (at, part) in self.parts.iter_mut().enumerate() {
            if let Some(status) = part.server.as_mut().and_then(Server::ended) {
                part.server = None;
                let log = part.launch.log.as_deref().map(Path::display);
                ended.push(format!(
                    "process {at} ({}) ended by itself, {status}; see {log:?}",
                    part.role.roles(self.fused)
                ));
            }
        }
        ended
    }

    /// Stops all in good order, those first that others need last.
    pub async fn stop(&mut self) -> Vec<ExitStatus> {
        let mut statuses = Vec::new();
        for part in self.parts.iter_mut().rev() {
            if let Some(server) = part.server.take() {
                statuses.push(server.stop().await);
            }
        }
        statuses
    }
}

/// Sign-ins that last for the whole run, and what the caller sets.
fn environment(settings: &[(String, String)]) -> Settings {
    let day = ("GOCHAT__REPO__LIMITS__ACCESS_TOKEN_SECONDS".to_owned(), "86400".to_owned());
    [day].into_iter().chain(settings.iter().cloned()).collect()
}
