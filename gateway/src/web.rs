//! The web page, carried in the binary: `/` and the files it needs under `/assets/`.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::error::Refusal;

use crate::failure::Failure;
use crate::request::PathParams;

/// A file of the folder `web`.
struct File {
    name: &'static str,
    etag: &'static str,
    bytes: &'static [u8],
}

/// Made by `build.rs`.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/web.rs"));

/// Allows our own files and server, and images from anywhere: pictures of users.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' https: http:; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// `GET /`.
pub async fn index(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

/// `GET /assets/{file}`.
pub async fn asset(PathParams(name): PathParams<String>, headers: HeaderMap) -> Response {
    serve(&name, &headers)
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Failure::with_status(StatusCode::NOT_FOUND, Refusal::invalid("there is no such file")).into_response();
    };
    // The names have no version, so a browser asks each time whether its copy is the newest.
    let always = [
        (header::ETAG, file.etag),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == file.etag)) {
        return (StatusCode::NOT_MODIFIED, always).into_response();
    }
    (always, [(header::CONTENT_TYPE, content_type(name))], file.bytes).into_response()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
