//! What HTTP itself asks for: schemes, methods, types of bodies, versions.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::harness::{Gateway, gateway, within};

fn call(gateway: &Gateway, method: Method, path: &str) -> RequestBuilder {
    reqwest::Client::new().request(method, format!("http://{}{path}", gateway.address))
}

async fn answer(request: RequestBuilder) -> Response {
    within(request.send()).await.unwrap()
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn the_name_of_a_scheme_has_no_case() {
    let gateway = gateway().await;
    let token = gateway.token(1);
    let me =
        |authorization: String| call(&gateway, Method::GET, "/api/users/me").header("authorization", authorization);
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR   "] {
        assert_eq!(answer(me(format!("{scheme} {token}"))).await.status(), 200, "{scheme}");
    }
    for bad in [token.clone(), format!("Bearer{token}"), format!("Basic {token}"), "Bearer".into(), "Bearer ".into()] {
        let refused = answer(me(bad.clone())).await;
        assert_eq!((refused.status().as_u16(), header(&refused, "www-authenticate")), (401, "Bearer"), "{bad}");
    }
    let twice = me(format!("Bearer {token}")).header("authorization", format!("Bearer {token}"));
    assert_eq!(answer(twice).await.status(), 401);
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://{}/ws", gateway.address).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("bearer {token}").parse().unwrap());
    let (stream, _) = within(tokio_tungstenite::connect_async(request)).await.unwrap();
    assert_eq!(crate::harness::Client { stream }.frame().await["type"], "hello");
}

#[tokio::test]
async fn of_another_version_a_client_hears_which_one_is_spoken() {
    let gateway = gateway().await;
    let upgrade = |method, version: Option<&str>| {
        let request = call(&gateway, method, &format!("/ws?token={}", gateway.token(1)))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        answer(version.into_iter().fold(request, |request, version| request.header("sec-websocket-version", version)))
    };
    for version in [Some("8"), Some("14"), Some("x"), None] {
        let refused = upgrade(Method::GET, version).await;
        let headers = (header(&refused, "sec-websocket-version"), header(&refused, "upgrade"));
        assert_eq!((refused.status().as_u16(), headers), (426, ("13", "websocket")), "{version:?}");
        let body: Value = serde_json::from_str(&within(refused.text()).await.unwrap()).unwrap();
        assert_eq!(body["error"]["code"], 1000);
    }
    assert_eq!(upgrade(Method::GET, Some("13")).await.status(), 101);
    let refused = upgrade(Method::HEAD, Some("13")).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "allow")), (405, "GET"));
    assert_eq!(answer(call(&gateway, Method::GET, "/ws")).await.status(), 400);
}

#[tokio::test]
async fn a_method_that_is_not_taken_is_told_which_ones_are() {
    let gateway = gateway().await;
    for (method, path, allowed) in [
        (Method::PUT, "/api/groups/5", "GET,HEAD,PATCH,DELETE"),
        (Method::OPTIONS, "/api/auth/login", "POST"),
        (Method::GET, "/api/auth/login", "POST"),
        (Method::DELETE, "/api/conversations/world/read", "GET,HEAD,POST"),
        (Method::POST, "/ws", "GET,HEAD"),
        (Method::POST, "/health/live", "GET,HEAD"),
        (Method::POST, "/", "GET,HEAD"),
    ] {
        let refused = answer(call(&gateway, method.clone(), path)).await;
        assert_eq!((refused.status().as_u16(), header(&refused, "allow")), (405, allowed), "{method} {path}");
    }
    let head = answer(call(&gateway, Method::HEAD, "/api/users/me").bearer_auth(gateway.token(1))).await;
    assert_eq!((head.status().as_u16(), header(&head, "content-type")), (200, "application/json"));
    assert_eq!(within(head.text()).await.unwrap(), "");
}

#[tokio::test]
async fn a_body_says_that_it_is_json() {
    let gateway = gateway().await;
    let register = |content_type: Option<&str>| {
        let request = call(&gateway, Method::POST, "/api/auth/register")
            .body(json!({"username": "ann", "password": "12345678"}).to_string());
        answer(content_type.into_iter().fold(request, |request, kind| request.header("content-type", kind)))
    };
    for taken in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.example+json"] {
        assert_eq!(register(Some(taken)).await.status(), 201, "{taken}");
    }
    let others = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", ""];
    for refused in others.map(Some).into_iter().chain([None]) {
        assert_eq!(register(refused).await.status(), 415, "{refused:?}");
    }
}

#[tokio::test]
async fn a_body_is_an_object_and_nothing_else() {
    let gateway = gateway().await;
    let token = gateway.token(1);
    for (method, path, body) in [
        ("POST", "/api/auth/register", r#"["ann","12345678"]"#),
        ("POST", "/api/auth/login", r#"["ann","right one"]"#),
        ("POST", "/api/auth/refresh", r#"["r"]"#),
        ("PATCH", "/api/users/me", r#"["Ann"]"#),
        ("PATCH", "/api/users/me", "[]"),
        ("POST", "/api/conversations/world/read", "[1]"),
        ("POST", "/api/conversations/world/read", r#"{"seqId":1,"seqId":2}"#),
        ("POST", "/api/conversations/world/read", r#"{"seqId":1} {}"#),
        ("POST", "/api/conversations/world/read", r#"{"seqId":1.0}"#),
        ("POST", "/api/groups", r#"["Tea","",["2"]]"#),
        ("POST", "/api/groups", r#"{"name":"Tea","memberIds":{"0":"2"}}"#),
        ("POST", "/api/groups", r#"{"name":"Tea","memberIds":null}"#),
        ("PATCH", "/api/groups/5", r#"["Tea"]"#),
        ("POST", "/api/groups/5/members", r#"[["9"]]"#),
        ("PATCH", "/api/groups/5/members/2", r#"["admin"]"#),
    ] {
        let (status, answer) = gateway.request(method, path, Some(&token), Some(body)).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(1000)), "{method} {path} {body} {answer}");
    }
}
