//! How the tables of the gateway are locked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also when poisoned: no code that holds one of these locks can panic half-way.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
