//! The web page, as the binary carries it.

use crate::harness::{gateway, within};

#[tokio::test]
async fn the_page_comes_with_its_files_under_a_strict_policy() {
    let gateway = gateway().await;
    let get = |path: &str, etag: Option<String>| {
        let request = reqwest::Client::new().get(format!("http://{}{path}", gateway.address));
        let request = etag.into_iter().fold(request, |request, etag| request.header("If-None-Match", etag));
        within(request.send())
    };
    let page = get("/", None).await.unwrap();
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert!(
        policy.contains("img-src 'self' https: http:;"),
        "pictures of users, and nothing else, may come from elsewhere: {policy}"
    );
    let etag = page.headers()["etag"].to_str().unwrap().to_owned();
    let html = within(page.text()).await.unwrap();
    assert_eq!(get("/", Some(etag)).await.unwrap().status(), 304);

    let files: Vec<_> = html.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert!(!files.is_empty(), "{html}");
    for file in files {
        let answer = get(file, None).await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let expected = match file.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(kind, expected, "{file}");
    }
    for path in ["/assets/nothing.js", "/assets/tests/api.test.mjs", "/assets/../Cargo.toml", "/assets/%2e%2e/build.rs"]
    {
        assert_eq!(get(path, None).await.unwrap().status(), 404, "{path}");
    }
}
