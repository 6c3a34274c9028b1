//! Calls that no service answers: their statuses carry a code all the same.

use schemas::error::{ErrorCode, GRPC_CODE_METADATA};
use schemas::pb;
use stages::repo::RepoConfig;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

use crate::served::{SOON, Served, code, config};

/// A call of any path with any message.
async fn call<M: prost::Message + 'static>(repo: &Served, path: &str, request: Request<M>) -> Status {
    let mut client = tonic::client::Grpc::new(repo.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<M, pb::Empty>::default();
    let path: PathAndQuery = path.parse().unwrap();
    tokio::time::timeout(SOON, client.unary(request, path, codec)).await.unwrap().unwrap_err()
}

fn number(status: &Status) -> Option<&str> {
    status.metadata().get(GRPC_CODE_METADATA)?.to_str().ok()
}

#[tokio::test]
async fn a_call_over_the_limit_is_too_large() {
    let repo = Served::start().await;
    let large = pb::SaveMessageRequest { content: "x".repeat(300_000), ..Default::default() };
    assert_eq!(code(repo.messages().save_message(large).await), ErrorCode::TooLarge);
}

#[tokio::test]
async fn what_no_service_knows_or_reads_is_invalid_input() {
    let repo = Served::start().await;
    for path in ["/gochat.repo.v1.UserRepo/NoSuchMethod", "/gochat.repo.v1.NoSuchService/GetUser", "/nothing"] {
        let status = call(&repo, path, Request::new(pb::Empty {})).await;
        assert_eq!((status.code(), number(&status)), (Code::Unimplemented, Some("1000")), "{path}");
    }
    // A text where GetUser has a number.
    let malformed = pb::GetUserByUsernameRequest { username: "ann".into() };
    let status = call(&repo, "/gochat.repo.v1.UserRepo/GetUser", Request::new(malformed)).await;
    assert_eq!((status.code(), number(&status)), (Code::InvalidArgument, Some("1000")), "{status}");
    let mut compressed = Request::new(pb::GetUserRequest { user_id: 1 });
    compressed.metadata_mut().insert("grpc-encoding", "gzip".parse().unwrap());
    let status = call(&repo, "/gochat.repo.v1.UserRepo/GetUser", compressed).await;
    assert_eq!((status.code(), number(&status)), (Code::Unimplemented, Some("1000")), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_is_busy() {
    let slow = RepoConfig { password_memory_kib: 64 * 1_024, password_passes: 20, ..config() };
    let login = || pb::LoginRequest { username: "ann".into(), password: "correct horse".into(), ..Default::default() };
    let repo = Served::start_with(RepoConfig { request_timeout_ms: 20, ..slow }).await;
    let status = repo.auth().login(login()).await.unwrap_err();
    assert_eq!((status.code(), number(&status)), (Code::DeadlineExceeded, Some("1008")), "{status}");
}
