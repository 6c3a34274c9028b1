//! How long nothing is delivered when a stage's process dies: until it is back, and until another that
//! stands by has taken over. Measured by clients: four pairs talk all the time, one in each partition of
//! the chain, so that one of them feels it whatever the dead process had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use schemas::ids::{ConversationId, Seq};
use tests::api::{Account, Api};
use tests::broker::shared;
use tests::client::{Client, Say};
use tests::foreign::kafka_tool;
use tests::installation::{Installation, Part, Settings};
use tests::server::{Server, any_port};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use topics::clock::Clock;
use topics::partition::partition_of;

/// The longest pause when a process that is alone in its role is started again at once.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(15);
/// The longest pause when another process takes over.
const TAKEOVER_PAUSE_MAX: Duration = Duration::from_secs(25);
/// One line every 20 ms: 50 a second, in turns.
const SAY_EVERY: Duration = Duration::from_millis(20);
/// The longest wait for what must happen, beyond every bar: a failure then shows how long it took.
const WAIT_MAX: Duration = Duration::from_secs(60);

const REPO: Part = Part::new("repo", 0);
const GATEWAY: Part = Part::new("gateway", 1);

/// A role's two processes, and the groups that its stages are members of.
struct Pair {
    first: Part,
    second: Part,
    groups: &'static [&'static str],
}

const PAIRS: [Pair; 3] = [
    Pair { first: Part::new("dedupe,id-assign", 2), second: Part::new("dedupe,id-assign", 3), groups: &["dedupe"] },
    Pair { first: Part::new("persist", 4), second: Part::new("persist", 5), groups: &["persist"] },
    Pair {
        first: Part::new("fan-out,large-group", 6),
        second: Part::new("fan-out,large-group", 7),
        groups: &["fan-out", "large-group"],
    },
];

/// Two who talk: who says it, who sees it, and where.
struct Listener {
    conversation: ConversationId,
    speaker: usize,
    client: Client,
}

/// Pairs who talk until they are dropped, one in each partition.
struct Talk {
    listeners: Vec<Listener>,
    speakers: Arc<BTreeMap<usize, Client>>,
    /// How many lines were said to each listener.
    said: Arc<tokio::sync::Mutex<Vec<i64>>>,
    speaking: JoinHandle<()>,
    accounts: Vec<Account>,
}

impl Talk {
    async fn begin(http: SocketAddr, partitions: u32) -> Self {
        let (accounts, pairs) = pairs_in_each(&Api::new(http), partitions).await;
        let client = |n: usize| Client::start(n as u64, vec![http], &accounts[n]);
        // Somebody may speak in several pairs.
        let speakers: BTreeSet<usize> = pairs.values().map(|&(speaker, ..)| speaker).collect();
        let speakers: Arc<BTreeMap<usize, Client>> = Arc::new(speakers.into_iter().map(|n| (n, client(n))).collect());
        let listener = |&(speaker, hearer, conversation): &(usize, usize, ConversationId)| Listener {
            conversation,
            speaker,
            client: client(hearer),
        };
        let listeners: Vec<Listener> = pairs.values().map(listener).collect();
        let said = Arc::new(tokio::sync::Mutex::new(vec![0; listeners.len()]));
        let turns: Vec<_> = listeners.iter().map(|it| (it.speaker, it.conversation)).collect();
        let speaking = tokio::spawn(speak(Arc::clone(&speakers), turns, Arc::clone(&said)));
        let mut talk = Self { listeners, speakers, said, speaking, accounts };
        talk.goes_on().await;
        talk
    }

    /// Waits until each pair sees a line that is said from now on.
    async fn goes_on(&mut self) {
        let said = self.said.lock().await.clone();
        for (listener, said) in self.listeners.iter_mut().zip(said) {
            let conversation = listener.conversation;
            let heard = listener.client.until(WAIT_MAX, |ledger| ledger.position(conversation) > Seq(said)).await;
            heard.unwrap_or_else(|e| panic!("{conversation} is silent: {e}"));
        }
    }

    /// The longest time since then in which one of the pairs saw nothing.
    async fn longest_pause_since(&self, since_ms: i64) -> Duration {
        let mut longest = 0;
        for Listener { conversation, client, .. } in &self.listeners {
            let ledger = client.ledger.lock().await;
            let times: Vec<i64> =
                ledger.seen.iter().filter(|seen| seen.conversation == *conversation).map(|seen| seen.time_ms).collect();
            let pauses = times.windows(2).filter(|pair| pair[1] >= since_ms).map(|pair| pair[1] - pair[0]);
            longest = pauses.fold(longest, i64::max);
        }
        Duration::from_millis(u64::try_from(longest).unwrap())
    }

    /// Stops, and looks whether each conversation holds all that was said, each line once.
    async fn end(self, http: SocketAddr) {
        self.speaking.abort();
        let said = self.said.lock().await.clone();
        for (Listener { conversation, speaker, .. }, said) in self.listeners.iter().zip(said) {
            let reader = &self.accounts[*speaker];
            let deadline = Instant::now() + WAIT_MAX;
            let mut history = Api::new(http).history(reader, &conversation.to_string()).await;
            while history.len() < said as usize {
                assert!(Instant::now() < deadline, "{conversation} holds {} of {said} lines", history.len());
                history = Api::new(http).history(reader, &conversation.to_string()).await;
            }
            let seqs: Vec<i64> = history.iter().map(|message| message["seqId"].as_i64().unwrap()).collect();
            assert_eq!(seqs, (1..=said).collect::<Vec<_>>(), "{conversation}");
            let lines: BTreeSet<&str> =
                history.iter().map(|message| message["clientMsgId"].as_str().unwrap()).collect();
            assert_eq!(lines.len(), seqs.len(), "{conversation} holds a line twice");
        }
        // Until here: what they had said may not have been acknowledged yet.
        drop(self.speakers);
    }
}

/// Says a line in one conversation after the other, for ever.
async fn speak(
    speakers: Arc<BTreeMap<usize, Client>>,
    turns: Vec<(usize, ConversationId)>,
    said: Arc<tokio::sync::Mutex<Vec<i64>>>,
) {
    let mut ticks = tokio::time::interval(SAY_EVERY);
    for turn in (0..turns.len()).cycle() {
        ticks.tick().await;
        let (speaker, conversation) = turns[turn];
        let mut said = said.lock().await;
        said[turn] += 1;
        let client_msg_id = format!("line {}", said[turn]);
        let content = client_msg_id.clone();
        speakers[&speaker].say(Say { client_msg_id, conversation, content, twice: false });
    }
}

/// Users, until there is a pair of them for each partition: speaker, listener and conversation.
async fn pairs_in_each(api: &Api, partitions: u32) -> (Vec<Account>, BTreeMap<u32, (usize, usize, ConversationId)>) {
    let (mut accounts, mut pairs) = (Vec::<Account>::new(), BTreeMap::new());
    while pairs.len() < partitions as usize {
        let newest = accounts.len();
        let account = api.register(&format!("user{newest}")).await;
        for (n, other) in accounts.iter().enumerate() {
            let conversation = account.pair_with(other);
            let partition = partition_of(conversation.as_bytes(), partitions);
            pairs.entry(partition).or_insert((n, newest, conversation.parse().unwrap()));
        }
        accounts.push(account);
    }
    (accounts, pairs)
}

/// Waits until the group's partitions are shared by so many members, each with as many.
async fn is_shared_by(settings: &Settings, group: &str, members: usize) {
    let group = format!("{}{group}", settings.prefix);
    let args = ["--bootstrap-server", &settings.brokers, "--describe", "--group", &group, "--members"];
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let described = kafka_tool("consumer-groups", &args).await;
        let rows = described.lines().filter(|line| line.starts_with(&group));
        let shares: Vec<usize> = rows.filter_map(|row| row.split_whitespace().last()?.parse().ok()).collect();
        let share = settings.chain_partitions as usize / members;
        if shares.len() == members && shares.iter().all(|&partitions| partitions == share) {
            return;
        }
        assert!(Instant::now() < deadline, "{group} is not shared by {members}: {described}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_pauses_less_than_15_s_for_a_restart_and_25_s_for_a_takeover() {
    // Nobody may learn by `heads` of what was not delivered.
    let settings = Settings { heads_every_seconds: 3_600, ..Settings::on(shared()) };
    let installation = Installation::new(settings.clone());
    let repo = installation.start(REPO, any_port(), any_port()).await;
    let grpc = repo.grpc;
    let mut stages: Vec<Server> = Vec::new();
    for pair in &PAIRS {
        stages.push(installation.start(pair.first, any_port(), grpc).await);
    }
    let gateway = installation.start(GATEWAY, any_port(), grpc).await;
    let mut talk = Talk::begin(gateway.http, settings.chain_partitions).await;

    let mut pauses = Vec::new();
    for pair in &PAIRS {
        let dies = Clock::system().now_ms();
        stages.remove(0).kill().await;
        let again = installation.start(pair.first, any_port(), grpc).await;
        talk.goes_on().await;
        let restart = talk.longest_pause_since(dies).await;
        let start = Duration::from_millis(again.startup_ms);

        stages.push(installation.start(pair.second, any_port(), grpc).await);
        for group in pair.groups {
            is_shared_by(&settings, group, 2).await;
        }
        talk.goes_on().await;
        let dies = Clock::system().now_ms();
        again.kill().await;
        talk.goes_on().await;
        let takeover = talk.longest_pause_since(dies).await;
        let roles = pair.first.roles;
        println!(
            "{roles}: delivery pauses {restart:.1?} for a restart ({start:.1?} until it is ready), {takeover:.1?} for a takeover"
        );
        pauses.push((roles, restart, takeover));
    }
    talk.end(gateway.http).await;
    for (roles, restart, takeover) in pauses {
        assert!(restart <= RESTART_PAUSE_MAX, "{roles}: {restart:?} for a restart");
        assert!(takeover <= TAKEOVER_PAUSE_MAX, "{roles}: {takeover:?} for a takeover");
    }
    stages.insert(0, repo);
    stages.push(gateway);
    Server::stop_all(stages.into_iter().rev()).await;
}
