//! Sign-in beside everything else: it stalls nobody, tells no secret, and ends when it must.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use schemas::pb::UpdateUserRequest;
use serde_json::{Value, json};
use stages::repo::client::user_repo_client::UserRepoClient;
use tests::api::{Account, Api};
use tests::client::{connect, receive_type};
use tests::server::{Launch, Server, any_port};
use tests::users::{Talker, registered, served, text, with};
use tokio::time::{Instant, timeout};

const LOGINS: usize = 50;
/// What a message may take while they are worked on, on a machine that does other things too. Fifty
/// hashes at once on every core would hold each message up for seconds.
const CHAT_TIME_MAX: Duration = Duration::from_secs(1);
/// Longer than any sign-in that is over is believed in: 5 s by REST, and the next `heads` for sockets.
const ENDED_TIME_MAX: Duration = Duration::from_secs(30);

/// Says something, and returns how long it took until the other had it.
async fn message_time(from: &mut Talker, to: &mut Talker, conversation: &str, id: &str) -> Duration {
    let data = with(text(conversation, "hello"), json!({"clientMsgId": id}));
    let said = Instant::now();
    from.send("send-message", data).await;
    to.hears("message").await;
    said.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_logins_at_once_do_not_hold_a_conversation_up() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    for n in 0..LOGINS {
        api.register(&format!("user{n}")).await;
    }
    let pair = ann.pair_with(&bob);
    let [mut anns, mut bobs] = Talker::all(&server, [&ann, &bob]).await;
    let mut alone = Vec::new();
    for n in 0..50 {
        alone.push(message_time(&mut anns, &mut bobs, &pair, &format!("alone-{n}")).await);
    }
    let login = |n: usize| {
        let api = api.clone();
        async move { api.login(&format!("user{n}"), "correct horse").await.0.as_u16() }
    };
    let logins = tokio::spawn(join_all((0..LOGINS).map(login)));
    let mut beside = Vec::new();
    while !logins.is_finished() {
        let id = format!("beside-{}", beside.len());
        beside.push(message_time(&mut anns, &mut bobs, &pair, &id).await);
    }
    let answers = logins.await.unwrap();
    // Those that wait longer than a call may are told to come again.
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    let signed_in = answers.iter().filter(|status| **status == 200).count();
    alone.sort_unstable();
    beside.sort_unstable();
    let (middle, worst) = (|times: &[Duration]| times[times.len() / 2], |times: &[Duration]| times[times.len() - 1]);
    println!(
        "{} messages beside {LOGINS} logins ({signed_in} signed in): median {:?}, worst {:?}; alone: median {:?}, worst {:?}",
        beside.len(),
        middle(&beside),
        worst(&beside),
        middle(&alone),
        worst(&alone)
    );
    assert!(beside.len() >= 5 && signed_in >= 10, "the conversation went on beside the logins");
    assert!(worst(&beside) < CHAT_TIME_MAX.max(worst(&alone) * 5), "a message took {:?}", worst(&beside));
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_banned_is_out_within_the_bound() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("short.toml");
    std::fs::write(&config, "[gateway.limits]\nheads_after_s = 1\nheads_every_s = 1\n").unwrap();
    let args = ["--config".to_owned(), config.display().to_string()];
    let server = Server::start_with(data.path(), any_port(), any_port(), &args).await;
    let api = Api::new(server.http);
    let [ann, bob] = registered(&api, ["ann", "bob"]).await;
    let [mut anns, mut bobs] = Talker::all(&server, [&ann, &bob]).await;

    let mut repo = UserRepoClient::connect(format!("http://{}", server.grpc)).await.unwrap();
    let mut set = async |status: &str| {
        let user_id = ann.user_id.parse().unwrap();
        let request = UpdateUserRequest { user_id, status: Some(status.into()), ..UpdateUserRequest::default() };
        repo.update_user(request).await.unwrap();
    };
    set("banned").await;
    let closed =
        timeout(ENDED_TIME_MAX, receive_type(&mut anns.socket, "nothing")).await.expect("the socket is closed");
    assert!(closed.as_ref().is_err_and(|why| why.contains("4009")), "{closed:?}");
    let refused = async {
        loop {
            let (status, answer) = api.call(Method::GET, "/api/conversations", Some(&ann.token), None).await;
            if !status.is_success() && status != StatusCode::TOO_MANY_REQUESTS {
                break (status.as_u16(), answer["error"]["code"].clone());
            }
        }
    };
    assert_eq!(timeout(ENDED_TIME_MAX, refused).await.expect("REST is refused"), (403, json!(1002)));
    let mut again = connect(server.http, &ann.token).await.unwrap();
    assert!(receive_type(&mut again, "hello").await.is_err_and(|why| why.contains("4009")));
    assert_eq!(api.login("ann", "correct horse").await.0, 403);
    let (status, _) =
        api.call(Method::POST, "/api/auth/refresh", None, Some(json!({"refreshToken": ann.refresh_token}))).await;
    assert_eq!(status.as_u16(), 403);

    set("active").await;
    let (status, answer) = api.login("ann", "correct horse").await;
    assert_eq!(status, 200, "{answer}");
    let mut anns = Talker::connect(&server, &Account::from_answer(&answer, "ann")).await;
    message_time(&mut anns, &mut bobs, &ann.pair_with(&bob), "back").await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_a_password_is_slowed_down() {
    let (server, api, [_]) = served(["ann"]).await;
    let guesses = join_all((0..30).map(|_| api.login("ann", "wrong horse"))).await;
    let of = |code: u16| guesses.iter().filter(|(status, _)| status.as_u16() == code).count();
    assert!(of(401) >= 1 && of(401) <= 12 && of(429) == 30 - of(401), "{guesses:?}");
    let (status, answer) = api.login("ann", "correct horse").await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (429, &json!(1007)), "{answer}");
    // Others are not held up.
    api.register("ben").await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_log_nor_on_the_disk() {
    let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = elsewhere.path().join("server.log");
    let env = [("GOCHAT__TELEMETRY__FILTER", "debug"), ("GOCHAT__TELEMETRY__FORMAT", "json")];
    let launch = Launch { log: Some(log.clone()), ..Launch::new(&[], &env) };
    let server = Server::launch(data.path(), any_port(), any_port(), &launch).await.unwrap();
    let api = Api::new(server.http);
    let password = "Zw8-unmistakable-pa55word";
    let post = |path: &str, token: Option<String>, body: Value| {
        let (api, path) = (api.clone(), format!("/api/auth/{path}"));
        async move { api.call(Method::POST, &path, token.as_deref(), Some(body)).await.1 }
    };
    let credentials = json!({"username": "ann", "password": password});
    let registered = post("register", None, credentials.clone()).await;
    let signed_in = post("login", None, credentials).await;
    post("login", None, json!({"username": "ann", "password": format!("{password}-wrong")})).await;
    let refreshed = post("refresh", None, json!({"refreshToken": signed_in["refreshToken"]})).await;
    let reused = post("refresh", None, json!({"refreshToken": signed_in["refreshToken"]})).await;
    assert_eq!(reused["error"]["code"], 1006, "{reused}");
    let text = |answer: &Value, name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    let mut secrets = vec![password.to_owned()];
    for answer in [&registered, &signed_in, &refreshed] {
        secrets.extend([text(answer, "accessToken"), text(answer, "refreshToken")]);
    }
    // Both ways in which a socket is given its token.
    let token = secrets[1].clone();
    let mut socket = connect(server.http, &token).await.unwrap();
    receive_type(&mut socket, "hello").await.unwrap();
    api.call(Method::GET, "/api/users/me", Some(&token), None).await;
    post("logout", Some(token), json!({"refreshToken": secrets[2]})).await;
    secrets.push(std::fs::read_to_string(data.path().join("signing.key")).unwrap().trim().to_owned());

    server.signal("TERM").await;
    assert!(server.ends().await.success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.lines().filter(|line| line.contains("\"DEBUG\"")).count() > 10, "it logs a lot:\n{log}");
    for secret in &secrets {
        let told = log.lines().find(|line| line.contains(secret.as_str()));
        assert!(told.is_none(), "{secret} is in the log: {told:?}");
    }
    let mut looked_at = 0;
    for file in files(data.path()).into_iter().filter(|file| !file.ends_with("signing.key")) {
        let bytes = std::fs::read(&file).unwrap();
        looked_at += bytes.len();
        for secret in &secrets {
            let there = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!there, "{secret} is in {}", file.display());
        }
    }
    assert!(looked_at > 10_000, "the store is there");
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
