//! Sign-ins that end while tokens of them are good, and logins that fail.

use gateway::{GatewayConfig, Registrations};
use schemas::error::ErrorCode;
use serde_json::json;

use crate::harness::{Gateway, gateway, gateway_with, say, within};

#[tokio::test]
async fn of_a_sign_in_that_is_over_nothing_is_taken_and_its_sockets_are_closed() {
    let config = GatewayConfig { sign_in_cache_ms: 20, heads_after_s: 1, heads_every_s: 1, ..Default::default() };
    let gateway = gateway_with(config).await;
    for code in [ErrorCode::Unauthenticated, ErrorCode::PermissionDenied] {
        *gateway.repo.sign_ins_are.lock().unwrap() = None;
        let (token, mut open) = (gateway.token(1), gateway.connect(1).await);
        assert_eq!(gateway.request("GET", "/api/users/me", Some(&token), None).await.0, 200);
        *gateway.repo.sign_ins_are.lock().unwrap() = Some(code);
        let refused = async {
            loop {
                let (status, answer) = gateway.request("GET", "/api/users/me", Some(&token), None).await;
                if status != 200 {
                    break (status, answer["error"]["code"].clone());
                }
            }
        };
        assert_eq!(within(refused).await, (code.http_status(), json!(code.code())));
        assert_eq!(open.closed().await, 4009);
        assert_eq!(gateway.open(&format!("/ws?token={token}")).await.closed().await, 4009);
    }
}

#[tokio::test]
async fn sockets_stay_while_the_repo_cannot_judge_sign_ins() {
    let config = GatewayConfig { sign_in_cache_ms: 0, heads_after_s: 1, heads_every_s: 1, ..Default::default() };
    let gateway = gateway_with(config).await;
    *gateway.repo.sign_ins_are.lock().unwrap() = Some(ErrorCode::Busy);
    let mut client = gateway.connect(1).await;
    *gateway.repo.sign_ins_are.lock().unwrap() = None;
    client.frame_of("heads").await;
    client.send(say("single_1_2", "k", "still here")).await;
    client.frame_of("message-ack").await;
    *gateway.repo.sign_ins_are.lock().unwrap() = Some(ErrorCode::Busy);
    let answer = gateway.request("GET", "/api/users/me", Some(&gateway.token(1)), None).await;
    assert_eq!((answer.0, &answer.1["error"]["code"]), (503, &json!(1008)));
}

async fn log_in(gateway: &Gateway, username: &str, password: &str, forwarded_for: &str) -> (u16, Option<u32>) {
    let request = reqwest::Client::new()
        .post(format!("http://{}/api/auth/login", gateway.address))
        .header("x-forwarded-for", forwarded_for)
        .header("content-type", "application/json")
        .body(json!({"username": username, "password": password}).to_string());
    let response = within(request.send()).await.unwrap();
    let wait = response.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
    (response.status().as_u16(), wait)
}

fn strict(trusted: &[&str]) -> GatewayConfig {
    GatewayConfig {
        failed_logins_a_minute_a_user_and_address: 2,
        failed_logins_a_minute_a_user: 3,
        failed_logins_a_minute_an_address: 4,
        trusted_proxies: trusted.iter().map(|network| network.parse().unwrap()).collect(),
        ..GatewayConfig::default()
    }
}

#[tokio::test]
async fn logins_that_fail_are_throttled_by_user_and_by_address() {
    let gateway = gateway_with(strict(&["127.0.0.0/8"])).await;
    let (here, there) = ("198.51.100.1", "198.51.100.2");
    for _ in 0..5 {
        assert_eq!(log_in(&gateway, "ann", "right one", "198.51.100.4").await, (200, None), "successes do not count");
    }
    assert_eq!(log_in(&gateway, "ann", "wrong one", here).await.0, 401);
    assert_eq!(log_in(&gateway, "Ann", "wrong two", here).await.0, 401);
    let (status, wait) = log_in(&gateway, "ann", "right one", here).await;
    assert_eq!(status, 429, "even the right one, so that nothing is learnt");
    assert!(wait.is_some_and(|seconds| (1..=30).contains(&seconds)), "{wait:?}");
    assert_eq!(log_in(&gateway, "ann", "wrong one", there).await.0, 401, "at another place there are more");
    assert_eq!(log_in(&gateway, "ann", "wrong one", there).await.0, 429, "but three for the user in all");
    assert_eq!(log_in(&gateway, "ann", "right one", "198.51.100.3").await.0, 429, "at any place");
    assert_eq!(log_in(&gateway, "ben", "wrong one", here).await.0, 401);
    assert_eq!(log_in(&gateway, "cleo", "wrong one", here).await.0, 401);
    assert_eq!(log_in(&gateway, "dan", "wrong one", here).await.0, 429, "four for the address in all");
}

#[tokio::test]
async fn guesses_from_everywhere_lock_nobody_out_where_they_have_signed_in_before() {
    let gateway = gateway_with(strict(&["127.0.0.0/8"])).await;
    let home = "198.51.100.1";
    assert_eq!(log_in(&gateway, "ann", "right one", home).await.0, 200);
    for n in 2..5 {
        assert_eq!(log_in(&gateway, "ann", "wrong one", &format!("198.51.100.{n}")).await.0, 401);
    }
    assert_eq!(log_in(&gateway, "ann", "right one", "198.51.100.9").await.0, 429);
    assert_eq!(log_in(&gateway, "ann", "right one", home).await.0, 200);
}

async fn register(gateway: &Gateway, invitation: Option<&str>) -> (u16, serde_json::Value) {
    let body = json!({"username": "ann", "password": "12-45-78", "invitation": invitation}).to_string();
    gateway.request("POST", "/api/auth/register", None, Some(&body)).await
}

#[tokio::test]
async fn registration_is_open_or_by_invitation_or_closed_and_limited_by_address() {
    let closed = gateway_with(GatewayConfig { registration: Registrations::Closed, ..Default::default() }).await;
    let (status, answer) = register(&closed, Some("a-good-code")).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!(1002)), "{answer}");
    let invitation_codes = vec!["a-good-code".to_owned()];
    let config = GatewayConfig { registration: Registrations::Invited, invitation_codes, ..Default::default() };
    let invited = gateway_with(config).await;
    for (invitation, expected) in [(None, 403), (Some("a-good-cod"), 403), (Some(""), 403), (Some("a-good-code"), 201)]
    {
        assert_eq!(register(&invited, invitation).await.0, expected, "{invitation:?}");
    }
    let limited = gateway_with(GatewayConfig { registrations_a_minute_an_address: 2, ..Default::default() }).await;
    for expected in [201, 201, 429] {
        assert_eq!(register(&limited, None).await.0, expected);
    }
    assert_eq!(log_in(&limited, "ann", "right one", "").await.0, 200, "who has an account gets in");
}

#[tokio::test]
async fn a_new_password_closes_the_sockets_of_other_sign_ins_and_is_not_guessed() {
    let gateway = gateway_with(strict(&[])).await;
    let mut here = gateway.connect(1).await;
    let mut other = gateway.open(&format!("/ws?token={}", gateway.token_of(1, 99))).await;
    other.frame_of("hello").await;
    let change = async |password: &str, new: &str| {
        let body = json!({"password": password, "newPassword": new}).to_string();
        gateway.request("POST", "/api/users/me/password", Some(&gateway.token(1)), Some(&body)).await.0
    };
    assert_eq!(change("right one", "password").await, 400, "one that everybody guesses");
    assert_eq!(change("right one", "a better one").await, 204);
    assert_eq!(other.closed().await, 4009);
    here.send(json!({"type": "ping", "data": {}})).await;
    here.frame_of("pong").await;
    for expected in [403, 403, 429] {
        assert_eq!(change("wrong one", "a better one").await, expected);
    }
}

#[tokio::test]
async fn a_user_sees_where_they_are_signed_in_and_ends_it_there_or_everywhere() {
    let gateway = gateway().await;
    let token = gateway.token(1);
    let (status, answer) = gateway.request("GET", "/api/users/me/sign-ins", Some(&token), None).await;
    let current: Vec<_> = answer["signIns"].as_array().unwrap().iter().map(|one| &one["current"]).collect();
    assert_eq!((status, current), (200, vec![&json!(true), &json!(false)]), "{answer}");
    let mut here = gateway.connect(1).await;
    let mut other = gateway.open(&format!("/ws?token={}", gateway.token_of(1, 11))).await;
    other.frame_of("hello").await;
    assert_eq!(gateway.request("DELETE", "/api/users/me/sign-ins/x", Some(&token), None).await.0, 400);
    assert_eq!(gateway.request("DELETE", "/api/users/me/sign-ins/11", Some(&token), None).await.0, 204);
    assert_eq!(other.closed().await, 4009);
    let logged_out = gateway.repo.logged_out.lock().unwrap().pop().unwrap();
    assert_eq!((logged_out.user_id, logged_out.session_id), (1, 11));
    assert_eq!(gateway.request("DELETE", "/api/users/me/sign-ins", Some(&token), None).await.0, 204);
    assert_eq!(here.closed().await, 4009);
}

#[tokio::test]
async fn a_token_that_has_expired_stays_so_when_the_clock_is_set_back() {
    let gateway = gateway().await;
    let token = gateway.token(1);
    assert_eq!(gateway.request("GET", "/api/users/me", Some(&token), None).await.0, 200);
    gateway.clock.advance_ms(900_000);
    assert_eq!(gateway.request("GET", "/api/users/me", Some(&token), None).await.0, 401);
    gateway.clock.advance_ms(-900_000);
    assert_eq!(gateway.request("GET", "/api/users/me", Some(&token), None).await.0, 401);
}

#[tokio::test]
async fn a_forwarded_address_is_believed_of_trusted_proxies_only() {
    let gateway = gateway_with(strict(&["10.0.0.0/8"])).await;
    for n in 0..4 {
        assert_eq!(log_in(&gateway, &format!("user{n}"), "wrong one", &format!("198.51.100.{n}")).await.0, 401);
    }
    assert_eq!(log_in(&gateway, "user9", "wrong one", "198.51.100.9").await.0, 429);
}

#[tokio::test]
async fn a_name_of_no_user_is_wrong_whatever_its_form() {
    let gateway = gateway().await;
    for name in ["", "x", "'; --", &"a".repeat(100_000), "ünï"] {
        assert_eq!(log_in(&gateway, name, "right one", "").await.0, 401, "{}", name.len());
    }
}
