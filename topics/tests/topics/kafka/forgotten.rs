//! A broker that has just started, and says that it knows of no broker: librdkafka believes it, forgets
//! every broker, and asks none again (confluentinc/librdkafka#5301). The log goes on all the same.
//!
//! A real broker says so for a moment only, and not every time. So the real one stands behind a proxy that
//! takes the list of brokers out of what it answers, for as long as the test wants.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use topics::catalogue::UPSTREAM;
use topics::kafka::{KafkaConfig, KafkaLog, Timeouts};
use topics::log::{Event, Log, Member, Reader, StartAt};

use super::{brokers, config};
use crate::contract::CHAIN_PARTITIONS;
use crate::contract::drive::{append, join_and_start, member_spec, placed, text};

const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;
/// From this version of Metadata on, lists and texts are "compact" and sections end with tags.
const METADATA_COMPACT: i16 = 9;
/// Not every client forgets every time: it depends on what else it is about to do.
const ROUNDS: u32 = 8;
/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all connections of a proxy share.
struct Shared {
    /// Of the brokers that there seem to be. The first one leads everything.
    ports: [u16; 3],
    /// Whether the list of brokers is taken out.
    forgets: AtomicBool,
    /// How many new connections are turned away.
    refusals: AtomicUsize,
    /// Names of the clients that were given an empty list.
    misled: Mutex<BTreeSet<String>>,
    /// Raised to close all connections.
    cut: watch::Sender<u32>,
}

impl Shared {
    /// As a broker that is killed, starts again, and knows of no broker at first: until a member and a
    /// client that looks up bounds were told so.
    async fn start_anew(&self, log: &Arc<dyn Log>) {
        self.misled.lock().unwrap().clear();
        self.forgets.store(true, Ordering::SeqCst);
        self.refusals.store(20, Ordering::SeqCst);
        self.cut.send_modify(|cut| *cut += 1);
        let misled = async {
            loop {
                let _refused = log.bounds(&UPSTREAM.spec, 0).await;
                let names = self.misled.lock().unwrap().clone();
                if ["-lookup", "-forgetful"].iter().all(|end| names.iter().any(|name| name.ends_with(end))) {
                    return;
                }
            }
        };
        timeout(PATIENCE, misled).await.unwrap_or_else(|_| panic!("told only {:?}", self.misled.lock().unwrap()));
        self.forgets.store(false, Ordering::SeqCst);
    }
}

/// Stands between clients and the broker, and takes its place in what the broker says of the cluster.
async fn proxy() -> Arc<Shared> {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let shared = Arc::new(Shared {
        ports: std::array::from_fn(|n| listeners[n].local_addr().unwrap().port()),
        forgets: AtomicBool::new(false),
        refusals: AtomicUsize::new(0),
        misled: Mutex::default(),
        cut: watch::Sender::new(0),
    });
    for listener in listeners {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let less = |left: usize| left.checked_sub(1);
                if shared.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
                    continue;
                }
                let broker = TcpStream::connect(brokers().split(',').next().unwrap()).await.unwrap();
                tokio::spawn(pass(client, broker, Arc::clone(&shared)));
            }
        });
    }
    shared
}

/// Until either side hangs up, or connections are cut.
async fn pass(client: TcpStream, broker: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    // What was asked, by its correlation id.
    let asked = Mutex::new(HashMap::new());
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    tokio::select! {
        _ = cut.changed() => {}
        _ = requests(from_client, to_broker, &asked) => {}
        _ = answers(from_broker, to_client, &asked, &shared) => {}
    }
}

type Asked = Mutex<HashMap<[u8; 4], About>>;

/// A request whose answer names brokers.
struct About {
    api: i16,
    version: i16,
    client: String,
}

async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; usize::try_from(from.read_u32().await?).unwrap()];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn put(to: &mut OwnedWriteHalf, frame: &[u8]) -> io::Result<()> {
    to.write_u32(u32::try_from(frame.len()).unwrap()).await?;
    to.write_all(frame).await
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: &Asked) -> io::Result<()> {
    loop {
        let request = frame(&mut from).await?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        if [METADATA, FIND_COORDINATOR].contains(&number(0)) {
            let name = &request[10..10 + usize::try_from(number(8)).unwrap()];
            let client = String::from_utf8(name.to_vec()).unwrap();
            let about = About { api: number(0), version: number(2), client };
            asked.lock().unwrap().insert(request[4..8].try_into().unwrap(), about);
        }
        put(&mut to, &request).await?;
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: &Asked, shared: &Shared) -> io::Result<()> {
    loop {
        let mut answer = frame(&mut from).await?;
        let about = asked.lock().unwrap().remove(&answer[..4]);
        match about {
            Some(About { api: METADATA, version, client }) => {
                assert!(version >= METADATA_COMPACT, "this proxy does not read version {version} of Metadata");
                let forgets = shared.forgets.load(Ordering::SeqCst);
                answer = with_brokers(&answer, (!forgets).then_some(&shared.ports));
                if forgets {
                    shared.misled.lock().unwrap().insert(client);
                }
            }
            Some(About { version, .. }) => {
                assert!((1..=2).contains(&version), "this proxy does not read version {version} of FindCoordinator");
                answer = with_coordinator(&answer, shared.ports[0]);
            }
            None => {}
        }
        put(&mut to, &answer).await?;
    }
}

/// The same answer with brokers at these ports of the loopback, the real one first, or none.
fn with_brokers(answer: &[u8], ports: Option<&[u16; 3]>) -> Vec<u8> {
    // Correlation id, no tags, throttle time; then the list.
    let (head, mut rest) = answer.split_at(4 + 1 + 4);
    let count = length(&mut rest).expect("a list of brokers");
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(take(&mut rest, 4).to_vec());
        let host = length(&mut rest).expect("a host");
        take(&mut rest, host);
        take(&mut rest, 4);
        let rack = length(&mut rest).unwrap_or(0);
        take(&mut rest, rack);
        assert_eq!(take(&mut rest, 1), [0], "tags of a broker");
    }
    let mut made = head.to_vec();
    made.push(ports.map_or(0, |_| 3) + 1);
    for (n, port) in (0..).zip(ports.into_iter().flatten()) {
        let id = i32::from_be_bytes(ids[0].clone().try_into().unwrap()) + n;
        made.extend(id.to_be_bytes());
        made.push(10);
        made.extend(b"127.0.0.1");
        made.extend(u32::from(*port).to_be_bytes());
        made.extend([0, 0]);
    }
    made.extend(rest);
    made
}

/// The same answer with the coordinator at this port of the loopback.
fn with_coordinator(answer: &[u8], port: u16) -> Vec<u8> {
    // Correlation id, throttle time, error; its message; the broker's id; then where it is.
    let message = i16::from_be_bytes([answer[10], answer[11]]).max(0);
    let place = 12 + usize::try_from(message).unwrap() + 4;
    let mut made = answer[..place].to_vec();
    made.extend([0, 9]);
    made.extend(b"127.0.0.1");
    made.extend(u32::from(port).to_be_bytes());
    made
}

/// A length that is written as one more; `None`: there is nothing.
fn length(bytes: &mut &[u8]) -> Option<usize> {
    let (mut value, mut shift) = (0_usize, 0);
    loop {
        let byte = take(bytes, 1)[0];
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value.checked_sub(1);
        }
    }
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

/// Reads on until a record with this value comes.
async fn reads(reader: &mut Reader, value: &str) {
    let reading = async {
        loop {
            let batch = reader.next_within(Duration::from_secs(1)).await.unwrap();
            if batch.is_some_and(|batch| batch.records.iter().any(|record| text(record) == value)) {
                return;
            }
        }
    };
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("the reader never gets {value:?}"));
}

/// The same of a member. On a busy machine its session may end, and it gets its partitions again.
async fn works_on(member: &mut dyn Member, value: &str) {
    let working = async {
        loop {
            match member.next().await.unwrap() {
                Event::Batch(batches) => {
                    if batches.iter().flat_map(|batch| &batch.records).any(|record| text(record) == value) {
                        return;
                    }
                }
                Event::Assigned(again) => {
                    for one in again {
                        member.start(one.partition, one.committed.unwrap_or(0)).await.unwrap();
                    }
                }
                Event::Revoked(_) | Event::Lost(_) => {}
            }
        }
    };
    timeout(PATIENCE, working).await.unwrap_or_else(|_| panic!("the member never gets {value:?}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_were_told_of_no_broker_find_them_again() {
    let shared = proxy().await;
    let timeouts =
        Timeouts { delivery: Duration::from_secs(2), request: Duration::from_secs(3), ..Timeouts::default() };
    let own = config();
    let direct: Arc<dyn Log> = KafkaLog::connect(own.clone()).await.unwrap();
    let config =
        KafkaConfig { brokers: shared.ports.map(|port| format!("127.0.0.1:{port}")).join(","), timeouts, ..own };
    let log: Arc<dyn Log> = KafkaLog::connect(config).await.unwrap();
    let mut reader = log.read(&UPSTREAM.spec, &[(0, StartAt::Earliest)]).await.unwrap();
    let partitions = usize::try_from(CHAIN_PARTITIONS).unwrap();
    let mut member = join_and_start(&log, member_spec(&UPSTREAM.spec, "forgetful"), partitions).await;
    append(&log, &UPSTREAM.spec, 0, &["before"]).await;
    reads(&mut reader, "before").await;
    works_on(&mut *member, "before").await;

    for round in 0..ROUNDS {
        shared.start_anew(&log).await;
        let value = format!("after {round}");
        append(&direct, &UPSTREAM.spec, 0, &[&value]).await;
        reads(&mut reader, &value).await;
        works_on(&mut *member, &value).await;
        let looks_up = async { while log.bounds(&UPSTREAM.spec, 0).await.is_err() {} };
        timeout(PATIENCE, looks_up).await.expect("bounds are never known again");
        let again = || vec![placed(&UPSTREAM.spec, 0, "again")];
        let appends = async { while log.append(again()).await.is_err() {} };
        timeout(PATIENCE, appends).await.expect("appends never go on");
    }
}
