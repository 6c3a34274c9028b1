//! Locks whatever a panic left behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. What a panic in another thread left is consistent: no lock here is held across a step that
/// can fail half-way.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
