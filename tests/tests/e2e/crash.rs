//! The one process on the embedded log is killed while fifty users talk.

use tests::server::Server;

use crate::talk::{MESSAGES, Talk, USERS};

/// Acknowledgements of the first user after which the server is killed, each time.
const KILLS_AFTER: [usize; 2] = [MESSAGES / USERS / 3, MESSAGES / USERS * 2 / 3];

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_messages_survive_kill_9_in_the_middle() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path()).await;
    let mut talk = Talk::begin(&[server.http], server.grpc).await;
    for acked in KILLS_AFTER {
        talk.until_acked(acked).await;
        let (http, grpc) = (server.http, server.grpc);
        server.kill().await;
        server = Server::start_at(data.path(), http, grpc).await;
    }
    talk.end(server.http, |ledger| ledger.connections > KILLS_AFTER.len() as u64).await;
    assert!(server.stop().await.success());
}
