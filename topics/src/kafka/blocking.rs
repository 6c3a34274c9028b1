//! Keeps what waits for brokers off the async threads.

use crate::log::LogError;

/// Runs what waits for brokers away from the async runtime.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(call).await.unwrap_or(Err(LogError::Closed))
}

/// Drops what waits for threads of its own when it is dropped.
pub(super) fn drop_in_background<T: Send + 'static>(value: T) {
    std::thread::spawn(move || drop(value));
}
