//! The web page, carried in the binary: `/` and the files it needs under `/assets/`.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::error::Refusal;

use crate::http::{At, Failure};

/// A file of the page.
struct File {
    /// Its path below the folder.
    name: &'static str,
    content_type: &'static str,
    etag: &'static str,
    bytes: &'static [u8],
}

mod table {
    use super::File;
    include!(concat!(env!("OUT_DIR"), "/web.rs"));
}

/// Nothing but our own files and server; users' pictures come from wherever their profiles say, as images alone.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' https: http:; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// `GET /`.
pub async fn index(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

/// `GET /assets/{file}`.
pub async fn asset(At(name): At<String>, headers: HeaderMap) -> Response {
    serve(&name, &headers)
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = table::FILES.iter().find(|file| file.name == name) else {
        return Failure::with_status(StatusCode::NOT_FOUND, Refusal::invalid("there is no such file")).into_response();
    };
    // The names carry no version, so a browser asks each time and is told that it has the newest.
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
    (always, [(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response()
}
