//! A broker that is too old is turned away at start.
//!
//! No such broker runs here: Kafka 2.3 needs ZooKeeper and a Java of its time. The handshake is all that
//! is looked at, so a listener answers that one as Kafka 2.3 does, and stays silent to all else. That a
//! real broker of today is let in, every other test here shows.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use topics::kafka::{KafkaConfig, KafkaLog, Timeouts};
use topics::log::{Class, LogError};

use super::config;

const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;

/// What Kafka 2.3 says of itself: key, lowest and highest version of each request that a client of
/// transactions and groups makes.
const KAFKA_2_3: [(i16, i16, i16); 18] = [
    (0, 0, 7),  // Produce
    (1, 0, 11), // Fetch
    (2, 0, 5),  // ListOffsets
    (3, 0, 8),  // Metadata
    (8, 0, 7),  // OffsetCommit
    (9, 0, 5),  // OffsetFetch
    (10, 0, 2), // FindCoordinator
    (11, 0, 5), // JoinGroup
    (12, 0, 3), // Heartbeat
    (13, 0, 2), // LeaveGroup
    (14, 0, 3), // SyncGroup
    (API_VERSIONS, 0, 2),
    (19, 0, 3), // CreateTopics
    (22, 0, 1), // InitProducerId
    (24, 0, 1), // AddPartitionsToTxn
    (25, 0, 1), // AddOffsetsToTxn
    (26, 0, 1), // EndTxn
    (28, 0, 2), // TxnOffsetCommit
];

/// Answers the handshake of one connection until the client hangs up.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut request = vec![0; usize::try_from(stream.read_u32().await?).unwrap()];
        stream.read_exact(&mut request).await?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let (api_key, version, correlation) = (number(0), number(2), &request[4..8]);
        if api_key != API_VERSIONS {
            continue;
        }
        // A version that it does not know is answered in the oldest form, without a list.
        let (error, apis) = if version > 2 { (UNSUPPORTED_VERSION, &[][..]) } else { (0, &KAFKA_2_3[..]) };
        let mut body = correlation.to_vec();
        body.extend(error.to_be_bytes());
        body.extend(i32::try_from(apis.len()).unwrap().to_be_bytes());
        for (key, lowest, highest) in apis {
            body.extend([key, lowest, highest].into_iter().flat_map(|number| number.to_be_bytes()));
        }
        if (1..=2).contains(&version) {
            body.extend(0_i32.to_be_bytes()); // not throttled
        }
        stream.write_u32(u32::try_from(body.len()).unwrap()).await?;
        stream.write_all(&body).await?;
    }
}

#[tokio::test]
async fn a_broker_without_generations_in_commits_is_turned_away_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = listener.local_addr().unwrap().to_string();
    let broker = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream));
        }
    });
    let timeouts = Timeouts { connect: Duration::from_secs(30), ..Timeouts::default() };
    let answer = KafkaLog::connect(KafkaConfig { brokers: brokers.clone(), timeouts, ..config() }).await;
    broker.abort();
    let Err(error @ LogError::BrokerTooOld { .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(error.class(), Class::Fatal);
    let said = error.to_string();
    assert!(said.contains(&brokers) && said.contains("Kafka 2.5 or later"), "{said}");
    assert!(said.contains("TxnOffsetCommit up to version 2") || said.contains("OffsetFetch up to version 5"), "{said}");
}
