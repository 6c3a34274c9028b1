//! Codes for the calls that tonic refuses before a service sees them, or gives up.
//!
//! A status of a service carries its code already. What is left comes from tonic: an unknown method, a message that
//! is malformed, compressed or too large, a deadline that has passed. A layer around all services adds the code, and
//! puts right the two statuses that tonic gives otherwise than the table of codes has them.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use listener::Seat;
use schemas::error::{ErrorCode, GRPC_CODE_METADATA};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::{Code, Status};
use tower::Service;

/// The services, with a code on every refusal and a bound on every call. The seat of a call's connection hears when it
/// begins and is answered.
#[derive(Debug, Clone)]
pub struct Coded<S> {
    pub services: S,
    /// What a call may take at most; its caller may give it less.
    pub time_max: Duration,
}

impl<S> Service<Request<Body>> for Coded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let seat = request.extensions().get::<Arc<Seat>>().cloned();
        if let Some(seat) = &seat {
            seat.begins();
        }
        let time = deadline_of(request.headers()).map_or(self.time_max, |given| given.min(self.time_max));
        // Begun here, before tonic's own clock for the call: this one gives it up first.
        let call = timeout(time, self.services.call(request));
        Box::pin(async move {
            let mut response = match call.await {
                Ok(answered) => answered?,
                Err(_) => Status::deadline_exceeded("the call took longer than it may: try again").into_http(),
            };
            add_code(response.headers_mut());
            if let Some(seat) = seat {
                seat.finishes();
            }
            Ok(response)
        })
    }
}

/// Adds the code to the status of a call that has ended with its headers.
fn add_code(headers: &mut HeaderMap) {
    let Some(status) = headers.get(Status::GRPC_STATUS) else { return };
    let given = Code::from_bytes(status.as_bytes());
    if given == Code::Ok || headers.contains_key(GRPC_CODE_METADATA) {
        return;
    }
    let (status, code) = match given {
        // A message over the limit.
        Code::OutOfRange => (Code::InvalidArgument, ErrorCode::TooLarge),
        // Bytes that are no message.
        Code::Internal => (Code::InvalidArgument, ErrorCode::InvalidInput),
        Code::Cancelled | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Unavailable => {
            (given, ErrorCode::Busy)
        }
        Code::Unknown | Code::DataLoss => (given, ErrorCode::Internal),
        _ => (given, ErrorCode::InvalidInput),
    };
    headers.insert(Status::GRPC_STATUS, HeaderValue::from(i32::from(status)));
    headers.insert(GRPC_CODE_METADATA, HeaderValue::from(code.code()));
}

/// What the caller gives the call: up to 8 digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn deadline_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count = (digits.len() <= 8).then(|| digits.parse::<u64>().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Duration>) {
        let headers = HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), text.parse().unwrap())]);
        assert_eq!(deadline_of(&headers), expected, "{text}");
    }

    #[test]
    fn a_callers_deadline_is_read_in_every_unit() {
        check("2H", Some(Duration::from_secs(7_200)));
        check("3M", Some(Duration::from_secs(180)));
        check("4S", Some(Duration::from_secs(4)));
        check("5m", Some(Duration::from_millis(5)));
        check("6u", Some(Duration::from_micros(6)));
        check("99999999n", Some(Duration::from_nanos(99_999_999)));
        for text in ["", "S", "7", "1s", "-1S", "100000000S", "1 S", "1.5S"] {
            check(text, None);
        }
    }
}
