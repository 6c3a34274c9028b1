//! Serves HTTP/1.1 on a bounded listener.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use listener::{Listener, Seat};
use schemas::error::Refusal;
use tokio::io::join;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::failure::Failure;
use crate::heads::{BodyLength, Heads};

/// Bytes of a request's head, and the headers in it; more are refused with 431.
const HEAD_BYTES_MAX: usize = 64 * 1_024;
const HEADERS_MAX: usize = 100;

/// Serves each connection as a task of `tasks` until `closing`; then those that are open, to the end of their request.
/// A WebSocket keeps the seat of its connection.
///
/// A connection waits as long as `wait` says of its address: one that is refused and comes again costs little.
pub async fn serve(
    mut listener: Listener,
    router: Router,
    wait: impl Fn(IpAddr) -> Duration,
    closing: CancellationToken,
    tasks: TaskTracker,
) {
    while let Some((stream, peer, seat)) = closing.run_until_cancelled(listener.accept()).await {
        let wait = tokio::time::sleep(wait(peer.ip()));
        let (router, closing) = (router.clone(), closing.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = wait => connection(stream, peer, Arc::new(seat), router, closing).await,
                () = seat.lost() => {}
                () = closing.cancelled() => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>, router: Router, closing: CancellationToken) {
    let body = BodyLength::default();
    let (read, write) = stream.into_split();
    let stream = join(Heads::new(read, body.clone(), seat.clone()), write);
    let lost = seat.lost();
    let service = service_fn(move |request: Request<Incoming>| {
        seat.begins();
        let ends =
            if request.headers().contains_key(header::UPGRADE) { None } else { request.body().size_hint().exact() };
        body.set(ends);
        let (answer, seat) = (answer(request, peer, seat.clone(), router.clone()), seat.clone());
        async move {
            let mut response = answer.await?;
            if ends.is_none() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                // It is not known here where the next head begins.
                response.headers_mut().append(header::CONNECTION, HeaderValue::from_static("close"));
            }
            seat.finishes();
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.half_close(false).header_read_timeout(None).max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    // How a connection ends is its client's affair.
    tokio::select! {
        _ = served.as_mut() => return,
        () = lost => return,
        () = closing.cancelled() => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    seat: Arc<Seat>,
    mut router: Router,
) -> Result<Response, Infallible> {
    if !names_one_host(request.version(), request.headers()) {
        let refusal = Refusal::invalid("a request has one Host (RFC 9112, section 3.2)");
        return Ok(Failure::with_status(StatusCode::BAD_REQUEST, refusal).into_response());
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(seat);
    router.call(request).await
}

fn names_one_host(version: Version, headers: &HeaderMap) -> bool {
    let hosts = headers.get_all(header::HOST).iter().count();
    hosts == 1 || (hosts == 0 && version < Version::HTTP_11)
}
