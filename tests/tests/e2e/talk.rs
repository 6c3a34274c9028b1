//! The talk that crash tests disturb: fifty users in pairs, in a small group, in a group of 501 and in
//! the world; a fifth of what they say is sent twice. Judged by the named invariants.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::{ConversationId, UserId};
use stages::invariants::{
    Due, Finding, Held, Key, check_acked, check_arrives, check_gapless, check_once, check_order, check_stable,
    check_whole,
};
use tests::api::{Account, Api};
use tests::client::{Client, Say};
use tests::ledger::held;
use tests::users::quiet_users;
use topics::clock::Clock;

/// Users who talk.
const USERS: usize = 50;
const SMALL_GROUP: usize = 20;
const LARGE_GROUP: usize = 501;
/// Messages that are said in all.
const MESSAGES: usize = 20_000;
const RESEND_WINDOW_MS: i64 = 600_000;
const SEED: u64 = 20_261_121;
/// How long all of the talking may take, on a machine that does other things too.
const TALK_TIME_MAX: Duration = Duration::from_secs(300);
/// How long it may take until everybody is back, and has everything.
pub const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(90);

/// Who talks where.
pub struct Cast {
    accounts: Vec<Account>,
    small: ConversationId,
    large: ConversationId,
}

impl Cast {
    async fn gather(http: SocketAddr, grpc: SocketAddr) -> Self {
        let api = Api::new(http);
        let mut accounts = Vec::new();
        for n in 0..USERS {
            accounts.push(api.register(&format!("user{n}")).await);
        }
        let ids = |count: usize| accounts[1..count].iter().map(|account| account.user_id.clone()).collect::<Vec<_>>();
        let small = api.group(&accounts[0], "small", &ids(SMALL_GROUP)).await;
        let mut everybody = ids(USERS);
        everybody.extend(quiet_users(grpc, USERS..LARGE_GROUP).await);
        let large = api.group(&accounts[0], "large", &everybody).await;
        Self { accounts, small: small.parse().unwrap(), large: large.parse().unwrap() }
    }

    /// Conversations of a user among the fifty.
    fn of(&self, n: usize) -> Vec<ConversationId> {
        let beside = [(n + 1) % USERS, (n + USERS - 1) % USERS];
        let mut all: Vec<_> = beside.iter().map(|&other| self.pair(n, other)).collect();
        all.extend([self.large, ConversationId::World]);
        all.extend((n < SMALL_GROUP).then_some(self.small));
        all
    }

    fn pair(&self, a: usize, b: usize) -> ConversationId {
        self.accounts[a].pair_with(&self.accounts[b]).parse().unwrap()
    }

    fn all(&self) -> Vec<ConversationId> {
        let mut all: Vec<_> = (0..USERS).flat_map(|n| self.of(n)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What each user says, in order; the same for the same seed.
    fn script(&self) -> Vec<(usize, Say)> {
        let mut random = StdRng::seed_from_u64(SEED);
        let line = |n: usize| {
            let speaker = n % USERS;
            let conversation = match random.random_range(0..100) {
                0..4 => ConversationId::World,
                4..10 => self.large,
                10..30 if speaker < SMALL_GROUP => self.small,
                _ => self.pair(speaker, (speaker + 1) % USERS),
            };
            let client_msg_id = format!("{speaker}-{n}");
            let content = format!("line {n} of the script, said by user {speaker}");
            (speaker, Say { client_msg_id, conversation, content, twice: random.random_bool(0.2) })
        };
        (0..MESSAGES).map(line).collect()
    }
}

/// The talk under way.
pub struct Talk {
    cast: Cast,
    clients: Vec<Client>,
    /// What is still to be said, in order.
    script: std::vec::IntoIter<(usize, Say)>,
}

impl Talk {
    /// Signs everybody up, makes the groups, and connects.
    pub async fn begin(gateways: &[SocketAddr], grpc: SocketAddr) -> Self {
        println!("seed {SEED}");
        let cast = Cast::gather(gateways[0], grpc).await;
        let start = |(n, account): (usize, &Account)| {
            let (later, first) = gateways.split_at(n % gateways.len());
            Client::start(n as u64, [first, later].concat(), account)
        };
        let clients: Vec<_> = cast.accounts.iter().enumerate().map(start).collect();
        let script = cast.script().into_iter();
        Self { cast, clients, script }
    }

    /// Goes on with the next part of the script, one of `parts` equal ones.
    pub fn say_part(&mut self, parts: usize) {
        for (speaker, say) in self.script.by_ref().take(MESSAGES.div_ceil(parts)) {
            self.clients[speaker].say(say);
        }
    }

    /// Waits until a user has one acknowledgement more than now: the chain goes on.
    pub async fn goes_on(&mut self) {
        let acked = self.clients[0].ledger.lock().await.acked.len();
        let talked = self.clients[0].until(TALK_TIME_MAX, |ledger| ledger.acked.len() > acked).await;
        talked.expect("messages are acknowledged");
    }

    /// Waits until everybody is connected again, says the rest, waits until everybody has
    /// everything; and judges. Who talked is left.
    pub async fn end(mut self, http: SocketAddr) -> Cast {
        for client in &mut self.clients {
            client.until(CATCH_UP_TIME_MAX, |ledger| ledger.online).await.expect("clients come back");
        }
        let all_online = Clock::system().now_ms();
        self.say_part(1);
        for client in &mut self.clients {
            let said = MESSAGES / USERS;
            client.until(TALK_TIME_MAX, |ledger| ledger.acked.len() >= said).await.expect("all is acknowledged");
        }
        let Self { cast, mut clients, .. } = self;
        let history = histories(&Api::new(http), &cast).await;
        for (n, client) in clients.iter_mut().enumerate() {
            has_all(client, &format!("user {n}"), cast.of(n), &history).await;
        }
        // A new device of the first user, which knows nothing: it learns of everything by `heads` and fetches it with
        // `sync`.
        let mut late = Client::start(USERS as u64, vec![http], &cast.accounts[0]);
        has_all(&mut late, "a new device", cast.of(0), &history).await;
        judge(&cast, clients, late, &history, all_online).await;
        cast
    }
}

/// Everything that the store holds of the script, and of the groups' own events. The store may still
/// take up what was acknowledged last.
pub async fn histories(api: &Api, cast: &Cast) -> Vec<Held> {
    let deadline = tokio::time::Instant::now() + CATCH_UP_TIME_MAX;
    loop {
        let mut history = Vec::new();
        for conversation in cast.all() {
            let reader = (0..USERS).find(|&n| cast.of(n).contains(&conversation)).expect("somebody reads it");
            let messages = api.history(&cast.accounts[reader], &conversation.to_string()).await;
            history.extend(messages.iter().map(|message| held(message, UserId(0))));
        }
        let said = history.iter().filter(|held| !held.key.client_msg_id.starts_with("outbox")).count();
        if said >= MESSAGES || tokio::time::Instant::now() > deadline {
            return history;
        }
    }
}

/// Waits until a client has seen all of these conversations.
async fn has_all(client: &mut Client, who: &str, conversations: Vec<ConversationId>, history: &[Held]) {
    for conversation in conversations {
        let there = history.iter().filter(|held| held.key.conversation == conversation);
        let end = there.map(|held| held.seq).max();
        let caught_up = client.until(CATCH_UP_TIME_MAX, |ledger| Some(ledger.position(conversation)) >= end).await;
        caught_up.unwrap_or_else(|e| panic!("{who} has not all of {conversation}, up to {end:?}: {e}"));
    }
}

async fn judge(cast: &Cast, clients: Vec<Client>, late: Client, history: &[Held], all_online: i64) {
    let (mut acked, mut told, mut seen, mut synced, mut due) = (vec![], vec![], vec![], vec![], vec![]);
    let script = cast.script();
    for (n, client) in clients.into_iter().enumerate() {
        let ledger = client.stop();
        let ledger = ledger.lock().await;
        assert!(ledger.errors.is_empty(), "user {n} was refused: {:?}", ledger.errors);
        let own = script.iter().filter(|(speaker, say)| *speaker == n && ledger.acked.contains(&say.client_msg_id));
        acked.extend(own.map(|(_, say)| Key {
            conversation: say.conversation,
            sender: ledger.user,
            client_msg_id: say.client_msg_id.as_str().into(),
        }));
        let late = history.iter().filter(|held| held.time_ms > all_online);
        let theirs = late.filter(|held| cast.of(n).contains(&held.key.conversation));
        due.extend(theirs.map(|held| Due {
            client: ledger.client,
            conversation: held.key.conversation,
            seq: held.seq,
            stored_ms: held.time_ms,
        }));
        told.extend(ledger.told.iter().cloned());
        seen.extend(ledger.seen.iter().cloned());
        synced.extend(ledger.synced.iter().cloned());
    }
    let late = late.stop();
    let late = late.lock().await;
    told.extend(late.told.iter().cloned());
    seen.extend(late.seen.iter().cloned());
    synced.extend(late.synced.iter().cloned());
    let findings = [
        check_acked(&acked, history),
        check_once(history, RESEND_WINDOW_MS),
        check_gapless(history),
        check_stable(&told, history),
        check_order(&seen),
        check_whole(&synced),
        check_arrives(&due, &seen, Clock::system().now_ms()),
    ];
    findings.iter().for_each(|finding| println!("{finding}"));
    assert!(findings.iter().all(Finding::holds), "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.looked_at > 0), "a check that looks at nothing proves nothing");
    assert_eq!(acked.len(), MESSAGES);
    let said = history.iter().filter(|held| !held.key.client_msg_id.starts_with("outbox")).count();
    assert_eq!(said, MESSAGES, "what was said once or twice is there once");
}
