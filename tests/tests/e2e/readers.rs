//! What the chain leaves on its topics is there for others: Kafka's own tools, kcat, and a Python program
//! that has only the published schemas see every topic as the catalogue says.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::Path;

use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};
use tests::api::{Account, Api};
use tests::broker::shared;
use tests::foreign::{kafka_tool, kcat, python};
use tests::installation::{Installation, Settings};
use tests::server::Server;
use tests::users::{Talker, quiet_users, text, with};
use topics::catalogue::{
    ALL, Cleanup, DELIVERIES, GROUP_TASKS, Layout, PERSISTED, PRESENCE, SEQUENCED, TopicSpec, UPSTREAM,
};

/// More members than a group may have before its messages go out page by page.
const LARGE_GROUP: usize = 501;
const LINES: usize = 20;
/// Kafka's tools that run at once: each is a Java of its own.
const TOOLS_AT_ONCE: usize = 2;

/// What was said, conversation by conversation, in order.
#[derive(Default)]
struct Said(BTreeMap<String, Vec<String>>);

/// A user at work.
struct Speaker {
    account: Account,
    talker: Talker,
    sent: usize,
}

impl Speaker {
    async fn join(server: &Server, name: &str) -> Self {
        let account = Api::new(server.http).register(name).await;
        Self { talker: Talker::connect(server, &account).await, account, sent: 0 }
    }

    /// Sends a frame under a key of its own, so many times, and waits until it is stored.
    async fn put(&mut self, kind: &str, mut data: Value, times: usize) {
        self.sent += 1;
        data["clientMsgId"] = format!("{}-{}", self.account.username, self.sent).into();
        for _ in 0..times {
            self.talker.send(kind, data.clone()).await;
        }
        let stored = self.talker.hears("message-stored").await;
        assert_eq!(stored["clientMsgId"], data["clientMsgId"]);
    }

    async fn say(&mut self, said: &mut Said, conversation: &str, times: usize) {
        let content = format!("line {} of {}, with ümlauts", self.sent + 1, self.account.username);
        self.put("send-message", text(conversation, &content), times).await;
        said.0.entry(conversation.to_owned()).or_default().push(content);
    }

    async fn hears(&mut self, content: &str) {
        while self.talker.hears("message").await["content"] != content {}
    }
}

/// A record that another program puts on a topic.
struct Foreign {
    topic: &'static TopicSpec,
    partition: u32,
    value: &'static [u8],
}

const FOREIGN_KEY: &str = "not/ours";

/// Text, bytes of a schema that nobody published, a header without a record.
const FOREIGN: [Foreign; 6] = [
    Foreign { topic: &UPSTREAM.spec, partition: 1, value: b"hello, is this the right topic?" },
    Foreign { topic: &SEQUENCED.spec, partition: 2, value: b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08of nobody" },
    Foreign { topic: &PERSISTED.spec, partition: 0, value: b"{\"json\": true}" },
    Foreign { topic: &GROUP_TASKS.spec, partition: 3, value: b"\xc3\x01\x00" },
    Foreign { topic: &DELIVERIES.spec, partition: 0, value: b"\x00" },
    Foreign { topic: &PRESENCE.spec, partition: 0, value: b"online" },
];

async fn write_foreign(settings: &Settings, dir: &Path) {
    for Foreign { topic, partition, value } in &FOREIGN {
        let (file, name) = (dir.join("value"), format!("{}{}", settings.prefix, topic.name));
        std::fs::write(&file, value).unwrap();
        let (partition, file) = (partition.to_string(), file.display().to_string());
        let to = ["-P", "-b", &settings.brokers, "-t", &name, "-p", &partition];
        kcat(&[&to[..], &["-k", FOREIGN_KEY, "-H", "from=elsewhere", &file]].concat()).await;
    }
}

/// Something of every kind, in conversations of every kind.
async fn talk(server: &Server) -> (Said, Vec<Speaker>, String) {
    let (api, mut said) = (Api::new(server.http), Said::default());
    let mut speakers = Vec::new();
    for name in ["ann", "bob", "carl"] {
        speakers.push(Speaker::join(server, name).await);
    }
    let accounts: Vec<Account> = speakers.iter().map(|speaker| speaker.account.clone()).collect();
    let [ann, bob, _] = &mut speakers[..] else { panic!("three speak") };
    let pair = accounts[0].pair_with(&accounts[1]);
    for n in 0..LINES {
        // Every fourth line is sent twice.
        ann.say(&mut said, &pair, if n % 4 == 0 { 2 } else { 1 }).await;
        bob.say(&mut said, &pair, 1).await;
    }
    let target = |rest: Value| with(json!({"conversationId": pair, "targetSeqId": 1}), rest);
    ann.put("edit-message", target(json!({"content": "edited"})), 1).await;
    for remove in [false, true] {
        bob.put("react", target(json!({"emoji": "👍", "remove": remove})), 1).await;
    }
    ann.put("recall-message", target(json!({})), 1).await;
    bob.talker.send("mark-read", json!({"conversationId": pair, "seqId": 3})).await;
    ann.talker.hears("read-receipt").await;

    let friends: Vec<String> = accounts[1..].iter().map(|account| account.user_id.clone()).collect();
    let small = api.group(&accounts[0], "small", &friends).await;
    let mut everybody = friends;
    everybody.extend(quiet_users(server.grpc, accounts.len()..LARGE_GROUP).await);
    let large = api.group(&accounts[0], "large", &everybody).await;
    for conversation in [&small, &large, "world"] {
        for _ in 0..3 {
            ann.say(&mut said, conversation, 1).await;
        }
    }
    let last = said.0["world"].last().unwrap().clone();
    for listener in &mut speakers[1..] {
        listener.hears(said.0[&large].last().unwrap()).await;
        listener.hears(&last).await;
    }
    (said, speakers, large)
}

/// What the Python program is told: where everything is, and what it shall find there.
fn expected(settings: &Settings, layout: Layout, said: &Said, speakers: &[Speaker], large: &str) -> Value {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/avro");
    let topic =
        |spec: &&TopicSpec| json!({"name": spec.name, "partitions": layout.partitions(spec), "record": spec.record});
    let hex = |value: &[u8]| {
        value.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a String does not fail");
            hex
        })
    };
    let foreign = |it: &Foreign| json!({"topic": it.topic.name, "partition": it.partition, "key": FOREIGN_KEY, "value": hex(it.value)});
    json!({
        "brokers": settings.brokers,
        "prefix": settings.prefix,
        "schemas": schemas,
        "topics": ALL.iter().map(topic).collect::<Vec<_>>(),
        "said": said.0,
        "large": large,
        "online": speakers.iter().map(|speaker| speaker.account.user_id.parse().unwrap()).collect::<Vec<i64>>(),
        "foreign": FOREIGN.iter().map(foreign).collect::<Vec<_>>(),
    })
}

/// Kafka's `kafka-topics` describes each topic as the catalogue has it.
async fn check_described(settings: &Settings, layout: Layout) {
    let pattern = format!("{}.*", settings.prefix);
    let args = ["--bootstrap-server", &settings.brokers, "--describe", "--topic", &pattern];
    let described = kafka_tool("topics", &args).await;
    let mut topics: HashMap<&str, HashMap<&str, &str>> = HashMap::new();
    for line in described.lines().filter(|line| line.starts_with("Topic: ")) {
        let fields: HashMap<&str, &str> = line.split('\t').filter_map(|field| field.split_once(": ")).collect();
        topics.insert(fields["Topic"], fields);
    }
    assert_eq!(topics.len(), ALL.len(), "{described}");
    for spec in ALL {
        let fields = &topics[&*format!("{}{}", settings.prefix, spec.name)];
        assert_eq!(fields["PartitionCount"], layout.partitions(spec).to_string(), "{fields:?}");
        assert_eq!(fields["ReplicationFactor"], settings.replicas().to_string(), "{fields:?}");
        let configs: HashMap<&str, &str> = fields["Configs"].split(',').filter_map(|it| it.split_once('=')).collect();
        assert_eq!(configs["message.timestamp.type"], "LogAppendTime", "{fields:?}");
        match spec.cleanup {
            Cleanup::Delete(after) => {
                assert_eq!(configs["cleanup.policy"], "delete", "{fields:?}");
                assert_eq!(configs["retention.ms"], after.as_millis().to_string(), "{fields:?}");
            }
            Cleanup::Compact => assert_eq!(configs["cleanup.policy"], "compact", "{fields:?}"),
        }
    }
}

/// kcat lists each topic with its partitions.
async fn check_listed(settings: &Settings, layout: Layout) {
    let listed: Value = serde_json::from_str(&kcat(&["-L", "-J", "-b", &settings.brokers]).await).unwrap();
    let listed = listed["topics"].as_array().unwrap();
    for spec in ALL {
        let name = format!("{}{}", settings.prefix, spec.name);
        let topic = listed.iter().find(|topic| topic["topic"] == name.as_str()).expect("kcat sees it");
        let partitions = topic["partitions"].as_array().unwrap().len();
        assert_eq!(partitions, layout.partitions(spec) as usize, "{name}");
    }
}

/// kcat and Kafka's console consumer read as many records of a topic, each with its key and headers.
async fn check_read(settings: &Settings, spec: &TopicSpec, records: usize) {
    let name = format!("{}{}", settings.prefix, spec.name);
    let to_the_end = ["-C", "-e", "-q", "-b", &settings.brokers, "-t", &name, "-X", "isolation.level=read_committed"];
    let seen = kcat(&[&to_the_end[..], &["-f", "%p %o %T %k\n"]].concat()).await;
    let count = seen.lines().filter(|line| line.split(' ').all(|field| !field.is_empty())).count();
    // Presence has more by now: heartbeats, and everybody who left at the end.
    let as_many = if spec == &PRESENCE.spec { count >= records } else { count == records };
    assert!(as_many, "kcat sees {count} records of {name}, not {records}:\n{seen}");

    let most = records.to_string();
    let from = ["--bootstrap-server", &settings.brokers, "--topic", &name, "--from-beginning"];
    let until = ["--max-messages", &most, "--timeout-ms", "30000", "--isolation-level", "read_committed"];
    // Some headers are bytes; of those, and here of all, only the names are shown.
    let bytes = "headers.deserializer=org.apache.kafka.common.serialization.ByteArrayDeserializer";
    let shown = ["key", "headers", "partition", "timestamp"].map(|field| format!("print.{field}=true"));
    let shown: Vec<&str> = shown.iter().map(String::as_str).chain(["print.value=false", bytes]).collect();
    let shown: Vec<&str> = shown.iter().flat_map(|property| ["--formatter-property", property]).collect();
    let consumed = kafka_tool("console-consumer", &[&from[..], &until, &shown].concat()).await;
    assert_eq!(consumed.lines().count(), records, "{name}:\n{consumed}");
    for line in consumed.lines() {
        let [time, partition, headers, key] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert!(time.starts_with("LogAppendTime:") && partition.starts_with("Partition:") && !key.is_empty(), "{line}");
        let on_the_way = spec.name.ends_with("-messages") || spec == &DELIVERIES.spec || spec == &GROUP_TASKS.spec;
        assert!(!on_the_way || headers.contains("hop-times:") || headers.contains("from:"), "{name}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_read_every_topic_with_the_published_schemas_alone() {
    // Unfused, so that accepted-messages is not empty.
    let settings = Settings { fused: false, ..Settings::on(shared()) };
    let layout = Layout { chain_partitions: settings.chain_partitions, gateway_slots: 2 };
    let installation = Installation::new(settings.clone());
    let server = installation.starting().ready().await.unwrap();
    let (said, speakers, large) = talk(&server).await;
    let dir = tempfile::tempdir().unwrap();
    write_foreign(&settings, dir.path()).await;

    let told = expected(&settings, layout, &said, &speakers, &large).to_string();
    let read = python("read_topics.py", &told).await;
    print!("{read}");
    assert!(server.stop().await.success(), "foreign records disturb nothing");

    check_described(&settings, layout).await;
    check_listed(&settings, layout).await;
    let counts: BTreeMap<String, usize> = serde_json::from_str(read.lines().last().unwrap()).unwrap();
    let topics = stream::iter(ALL).map(|spec| check_read(&settings, spec, counts[spec.name]));
    topics.buffer_unordered(TOOLS_AT_ONCE).collect::<()>().await;
}
