//! One schedule: processes that work, clients that speak, and whatever goes wrong meanwhile, until
//! everything that was said is worked on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pipeline::topology::{self, Fuse};
use rand::RngExt;
use schemas::avro::Record;
use schemas::records::{Delivery, GroupTask, Upstream};
use stages::dedupe::Dedupe;
use stages::id_assign::IdAssign;
use stages::invariants::{Finding, Key};
use stages::stage::Stage;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use topics::catalogue::{DEDUPE_WINDOW, DELIVERIES, GROUP_TASKS, HEADS, Keyed, Layout, UPSTREAM};
use topics::codec::Encoder;
use topics::headers::Headers;

use super::broker::Broker;
use super::judge::{COPY_HEADER, judge};
use super::member::freeze;
use super::planted::Planted;
use super::planted_log::LogFlaw;
use super::process::{Stand, instance_of, live};
use super::scene::{Cue, Groups, SLOTS, WINDOW_MS, presence, script};
use super::store::Rows;
use super::world::{Happening, MACHINES, Process, SESSION, World};

/// For so long the chain may take after the last word, on the schedule's clock.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// How long a chain must have nothing to do to be called quiet.
const QUIET: Duration = Duration::from_millis(30);

/// What came of a schedule.
pub struct Outcome {
    /// What the judge says.
    pub findings: Vec<Finding>,
    /// The first stage that ended by itself.
    pub stopped: Option<String>,
    /// Everything was worked on in time.
    pub drained: bool,
    /// Distinct messages that clients said.
    pub messages: usize,
    /// Faults that struck.
    pub faults: u32,
    /// What happened, with ms since the start.
    pub trace: Vec<(i64, Happening)>,
    /// The hash of it.
    pub digest: u64,
    /// What lies behind fan-out, in words; only when something is wrong.
    pub dispatched: Vec<String>,
}

impl Outcome {
    /// What is wrong, in words; empty: nothing.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong: Vec<String> = self.broken().map(ToString::to_string).collect();
        wrong.extend(self.stopped.iter().map(|stop| format!("a stage stopped: {stop}")));
        if !self.drained {
            wrong.push("not everything was worked on in time".into());
        }
        let blind = self.findings.iter().filter(|finding| finding.looked_at == 0);
        wrong.extend(blind.map(|finding| format!("{} was judged by nothing", finding.invariant)));
        wrong
    }

    /// The findings that do not hold.
    pub fn broken(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.holds())
    }
}

/// Plays the schedule of a seed. It is a function of the seed alone.
pub fn run(seed: u64, planted: Option<Planted>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play(seed, planted))
}

async fn play(seed: u64, planted: Option<Planted>) -> Outcome {
    let all = Fuse { dedupe_and_id_assign: seed.is_multiple_of(2), persist_and_fan_out: seed.is_multiple_of(3) };
    let rows = topology::tasks(planted.map_or(all, |planted| planted.fuse(all)));
    let world = Arc::new(World::new(seed, rows.len() * MACHINES));
    let layout = Layout { chain_partitions: world.draw(|random| random.random_range(1..=3)), gateway_slots: SLOTS };
    let broker = Broker::new(Arc::clone(&world), layout);
    if let Some(Planted::Log(LogFlaw::PositionsSetBack, _)) = planted {
        broker.tell_uncertain_positions();
    }
    let stand = Arc::new(Stand {
        presence: presence(world.now_ms()),
        groups: Groups::new(),
        rows: Arc::new(Rows::default()),
        stop: CancellationToken::new(),
        batch_records_max: world.draw(|random| random.random_range(1..=24)),
        world,
        broker,
        planted,
    });
    let mut processes = Vec::new();
    let mut running = tokio::task::JoinSet::new();
    for (at, row) in rows.iter().enumerate() {
        for machine in 0..MACHINES {
            let process = Process { index: at * MACHINES + machine, stage: row.name(), machine };
            processes.push(process);
            running.spawn(live(Arc::clone(&stand), process, *row));
        }
    }
    let chaos = tokio::spawn(chaos(Arc::clone(&stand), processes));
    let (acked, messages) = speak(&stand).await;
    chaos.await.unwrap();
    let drained = drain(&stand, rows.len()).await;
    stand.stop.cancel();
    if drained {
        // A stop that is told ends every stage between two batches.
        let ended = tokio::time::timeout(DRAIN_MAX, async { while running.join_next().await.is_some() {} }).await;
        assert!(ended.is_ok(), "seed {seed}: a stage did not stop when it was told to");
    }
    let (trace, digest) = stand.world.trace();
    let findings = judge(&stand.broker, &stand.rows.messages(), &acked);
    let (stopped, faults) = (stand.world.first_stop(), stand.world.faults());
    let holds = drained && findings.iter().all(Finding::holds);
    let dispatched = if holds { Vec::new() } else { dispatched(&stand.broker) };
    Outcome { findings, stopped, drained, messages, faults, trace, digest, dispatched }
}

/// Every task and delivery, for who looks for a mistake.
fn dispatched(broker: &Broker) -> Vec<String> {
    let mut lines = Vec::new();
    for (partition, records) in broker.everything(&GROUP_TASKS.spec).iter().enumerate() {
        lines.extend(records.iter().filter_map(|record| {
            let GroupTask { group_id, page, pages, message } = GroupTask::decode(&record.value).ok()?;
            let (offset, seq, kind) = (record.offset, message.seq_id, message.kind.name().to_owned());
            Some(format!("task {partition}/{offset}: group {group_id} seq {seq} ({kind}), page {page} of {pages}"))
        }));
    }
    for (slot, records) in broker.everything(&DELIVERIES.spec).iter().enumerate() {
        lines.extend(records.iter().filter_map(|record| {
            let Delivery { recipients, message, .. } = Delivery::decode(&record.value).ok()?;
            let (offset, place, seq) = (record.offset, message.conversation_id, message.seq_id);
            let users: Vec<i64> = recipients.iter().map(|user| user.0).collect();
            Some(format!("delivery {slot}/{offset}: {place} seq {seq} to {users:?}"))
        }));
    }
    lines
}

/// Waits until nothing is left to do.
async fn drain(stand: &Stand, groups: usize) -> bool {
    let until = tokio::time::Instant::now() + DRAIN_MAX;
    let mut quiet_before = false;
    while tokio::time::Instant::now() < until && stand.world.first_stop().is_none() {
        let quiet = stand.broker.groups().len() == groups && stand.broker.is_quiet();
        if quiet && quiet_before {
            return true;
        }
        quiet_before = quiet;
        sleep(QUIET).await;
    }
    false
}

/// What a client has in hand.
struct Sending {
    message: Upstream,
    copies_after_ms: Vec<i64>,
    /// A fault at the client's side may strike; the relay of group events sends in order, and insists.
    may_fail: bool,
}

/// Follows the script. Returns what was acknowledged and how many distinct messages were said.
async fn speak(stand: &Stand) -> (Vec<Key>, usize) {
    let world = &stand.world;
    let mut order = 0;
    let mut queue: BTreeMap<(i64, usize), Result<Sending, Cue>> = BTreeMap::new();
    let mut put = |queue: &mut BTreeMap<_, _>, at, what| {
        order += 1;
        queue.insert((at, order), what);
    };
    for (at, cue) in world.draw(script) {
        put(&mut queue, at, Err(cue));
    }
    let messages = queue.values().filter(|what| matches!(what, Err(Cue::Say { .. }))).count();
    let (mut acked, mut copies) = (Vec::new(), 0);
    while let Some(((at, _), what)) = queue.pop_first() {
        if let Ok(ahead @ 1..) = u64::try_from(at - world.age_ms()) {
            sleep(Duration::from_millis(ahead)).await;
        }
        let sending = match what {
            Ok(sending) => sending,
            Err(Cue::Say { message, copies_after_ms }) => Sending { message, copies_after_ms, may_fail: true },
            Err(Cue::Enter { group, user }) => {
                let Some(message) = stand.groups.enter(group, user, world) else { continue };
                let copies_after_ms = if world.draw(|random| random.random_bool(0.3)) { vec![5] } else { vec![] };
                Sending { message, copies_after_ms, may_fail: false }
            }
        };
        let fate = world.draw(|random| random.random_range(0..20));
        let (written, answered) = if sending.may_fail { (fate != 0, fate > 1) } else { (true, true) };
        if written {
            let at_once = 1 + sending.copies_after_ms.iter().filter(|after| **after == 0).count();
            append(stand, &sending.message, at_once, &mut copies);
        }
        let now = world.age_ms();
        if !answered {
            world.note(Happening::NotSaid { copy: copies, written });
            let again = now + world.draw(|random| random.random_range(5..40));
            put(&mut queue, again, Ok(sending));
            continue;
        }
        let Sending { message, copies_after_ms, .. } = sending;
        if !message.client_msg_id.is_empty() {
            acked.push(Key {
                conversation: message.conversation_id,
                sender: message.sender_id,
                client_msg_id: message.client_msg_id.clone(),
            });
        }
        for after in copies_after_ms.into_iter().filter(|after| *after > 0) {
            let copy = Sending { message: message.clone(), copies_after_ms: Vec::new(), may_fail: false };
            put(&mut queue, now + after, Ok(copy));
        }
    }
    (acked, messages)
}

fn append(stand: &Stand, message: &Upstream, at_once: usize, copies: &mut u64) {
    let mut encoder = Encoder::default();
    let first = *copies + 1;
    for _ in 0..at_once {
        *copies += 1;
        let copy = (COPY_HEADER.into(), Bytes::copy_from_slice(&copies.to_be_bytes()));
        let headers = Headers { other: vec![copy], ..Headers::default() };
        encoder.put(&UPSTREAM, &message.key(), message, headers).unwrap();
    }
    for (copy, place) in (first..).zip(stand.broker.append(encoder.finish())) {
        let (partition, offset) = (place.partition, place.offset);
        stand.world.note(Happening::Said { copy, topic: UPSTREAM.spec.name, partition, offset });
    }
}

/// What goes wrong at any moment, in the middle of a batch as well as between two.
async fn chaos(stand: Arc<Stand>, processes: Vec<Process>) {
    let world = &stand.world;
    let jumps = world.draw(|random| random.random_bool(0.25));
    for _ in 0..world.draw(|random| random.random_range(3..10)) {
        sleep(Duration::from_millis(world.draw(|random| random.random_range(10..180)))).await;
        let process = processes[world.draw(|random| random.random_range(0..processes.len()))];
        match world.draw(|random| random.random_range(0..7)) {
            0 | 1 => move_a_partition(&stand),
            2 => {
                world.count_fault();
                world.kill(process);
            }
            3 | 4 => {
                world.count_fault();
                let time = SESSION.mul_f64(world.draw(|random| random.random_range(0.5..4.0)));
                freeze(&stand.broker, process, &instance_of(process), time);
            }
            5 => {
                stand.broker.clean_up(&HEADS.spec, IdAssign::NAME, 0);
                stand.broker.clean_up(&DEDUPE_WINDOW.spec, Dedupe::NAME, WINDOW_MS + 1);
            }
            _ if jumps => world.jump(world.draw(|random| random.random_range(1..2 * WINDOW_MS))),
            _ => move_a_partition(&stand),
        }
    }
}

fn move_a_partition(stand: &Stand) {
    let groups = stand.broker.groups();
    if groups.is_empty() {
        return;
    }
    let (at, group, partitions) = groups[stand.world.draw(|random| random.random_range(0..groups.len()))].clone();
    let partition = stand.world.draw(|random| random.random_range(0..partitions));
    if stand.broker.group(at, |members| members.shift(partition)) {
        stand.world.note(Happening::Moved { group, partition });
    }
}
