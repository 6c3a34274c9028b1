//! Pages of other sites: what they may not do, and what those of allowed origins may.

use gateway::GatewayConfig;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;

use crate::harness::{Gateway, gateway, gateway_with, within};

const ALLOWED: &str = "https://chat.example";
const OTHER: &str = "https://evil.example";

fn call(gateway: &Gateway, method: Method, path: &str, origin: &str) -> RequestBuilder {
    let url = format!("http://{}{path}", gateway.address);
    reqwest::Client::new().request(method, url).header("origin", origin)
}

fn register(gateway: &Gateway, origin: &str) -> RequestBuilder {
    call(gateway, Method::POST, "/api/auth/register", origin)
        .header("content-type", "application/json")
        .body(json!({"username": "ann", "password": "12-45-78"}).to_string())
}

async fn answer(request: RequestBuilder) -> (u16, Response) {
    let response = within(request.send()).await.unwrap();
    (response.status().as_u16(), response)
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn allowing() -> Gateway {
    gateway_with(GatewayConfig { allowed_origins: vec![ALLOWED.into()], ..Default::default() }).await
}

#[tokio::test]
async fn a_page_of_another_site_writes_nothing() {
    let gateway = allowing().await;
    for origin in
        [OTHER, "null", "https://chat.example.evil.example", "http://chat.example", "https://chat.example:8443"]
    {
        let (status, response) = answer(register(&gateway, origin)).await;
        assert_eq!((status, header(&response, "access-control-allow-origin")), (403, ""), "{origin}");
        let (status, _) =
            answer(call(&gateway, Method::DELETE, "/api/groups/5", origin).bearer_auth(gateway.token(1))).await;
        assert_eq!(status, 403, "{origin}");
    }
    let own = format!("http://{}", gateway.address);
    for origin in [&own, ALLOWED] {
        assert_eq!(answer(register(&gateway, origin)).await.0, 201, "{origin}");
    }
    // What is only read, the browser keeps from the page.
    let (status, read) =
        answer(call(&gateway, Method::GET, "/api/users/me", OTHER).bearer_auth(gateway.token(1))).await;
    assert_eq!((status, header(&read, "access-control-allow-origin")), (200, ""));
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_ask_first_and_read_the_answer() {
    let gateway = allowing().await;
    let ask = |origin| {
        let preflight = call(&gateway, Method::OPTIONS, "/api/groups/5", origin)
            .header("access-control-request-method", "PATCH")
            .header("access-control-request-headers", "authorization,content-type");
        answer(preflight)
    };
    let (status, asked) = ask(ALLOWED).await;
    assert_eq!((status, header(&asked, "access-control-allow-origin")), (200, ALLOWED));
    for (name, needed) in [("access-control-allow-methods", "PATCH"), ("access-control-allow-headers", "authorization")]
    {
        assert!(header(&asked, name).contains(needed), "{name}: {}", header(&asked, name));
    }
    assert_eq!(header(&ask(OTHER).await.1, "access-control-allow-origin"), "");
    let (status, refused) = answer(call(&gateway, Method::POST, "/api/auth/register", ALLOWED).body("{}")).await;
    assert_eq!((status, header(&refused, "access-control-allow-origin")), (415, ALLOWED), "refusals can be read, too");
}

#[tokio::test]
async fn tokens_are_stored_by_no_cache() {
    let gateway = gateway().await;
    let own = format!("http://{}", gateway.address);
    let (status, response) = answer(register(&gateway, &own)).await;
    assert_eq!((status, header(&response, "cache-control")), (201, "no-store"));
}

#[tokio::test]
async fn everything_on_the_public_port_counts_to_its_address() {
    for path in ["/", "/assets/app.js", "/health/live", "/health/ready", "/metrics", "/nowhere", "/api/users/me"] {
        let config = GatewayConfig { requests_a_second_an_address: 1, rate_burst_s: 3, ..Default::default() };
        let gateway = gateway_with(config).await;
        let mut statuses = Vec::new();
        for _ in 0..10 {
            statuses.push(gateway.request("GET", path, None, None).await.0);
        }
        assert!(statuses[..3].iter().all(|&status| status != 429), "{path}: {statuses:?}");
        assert!(statuses.iter().filter(|&&status| status == 429).count() >= 5, "{path}: {statuses:?}");
    }
}
