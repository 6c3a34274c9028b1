//! The one process on the embedded log is killed while fifty users talk.

use tests::server::Server;

use crate::talk::Talk;
use crate::tools::holds;

const KILLS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_messages_survive_kill_9_in_the_middle() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path()).await;
    let mut talk = Talk::begin(&[server.http], server.grpc).await;
    for _ in 0..KILLS {
        talk.say_part(KILLS + 1);
        talk.goes_on().await;
        let (http, grpc) = (server.http, server.grpc);
        server.kill().await;
        server = Server::start_at(data.path(), http, grpc).await;
    }
    talk.end(server.http).await;
    holds(&["--data", data.path().to_str().unwrap()]).await;
    assert!(server.stop().await.success());
}
