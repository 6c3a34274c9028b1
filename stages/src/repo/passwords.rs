//! Password hashes: argon2id, a few at a time.
//!
//! A hash takes tens of milliseconds and megabytes on purpose, so half of the cores at most work on
//! them, and a bounded number of calls waits; past that a sign-in is refused as Busy while everything
//! else goes on.

use std::num::NonZeroUsize;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error as HashError, PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use rand::TryRng;
use rand::rngs::SysRng;
use schemas::error::{ErrorCode, Refusal};
use tokio::sync::Semaphore;

use super::config::RepoConfig;
use super::services::CallError;

const SALT_BYTES: usize = 16;

/// Hashes passwords and checks them.
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    /// Those that are worked on.
    working: Arc<Semaphore>,
    /// Those that are worked on or wait.
    admitted: Arc<Semaphore>,
    /// How many of those there may be.
    admitted_max: usize,
    /// Of no password: what is checked when there is no such user, at the same cost.
    nobodys: Arc<str>,
}

/// Why passwords can't be hashed at all.
#[derive(Debug, thiserror::Error)]
#[error("passwords can't be hashed with these settings (password_memory_kib, password_passes): {reason}")]
pub struct PasswordsUnusable {
    reason: String,
}

impl Passwords {
    /// Hashes as configured.
    ///
    /// # Errors
    /// When argon2 does not take the configured costs.
    pub fn new(config: &RepoConfig) -> Result<Self, PasswordsUnusable> {
        let unusable = |reason: String| PasswordsUnusable { reason };
        let params = Params::new(config.password_memory_kib, config.password_passes, 1, None)
            .map_err(|e| unusable(e.to_string()))?;
        let argon2 = Argon2::from(params);
        let nobodys = hash(&argon2, b"").map_err(|e| unusable(e.to_string()))?;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = (cores / 2).max(1);
        let admitted_max = workers + config.password_queue_max;
        Ok(Self {
            argon2,
            working: Arc::new(Semaphore::new(workers)),
            admitted: Arc::new(Semaphore::new(admitted_max)),
            admitted_max,
            nobodys: nobodys.into(),
        })
    }

    /// The PHC string of a new password.
    pub(super) async fn hash(&self, password: String) -> Result<String, CallError> {
        self.work(move |argon2, _| hash(argon2, password.as_bytes())).await
    }

    /// Whether a password is the one of a hash; never without a hash, but at the same cost.
    pub(super) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, CallError> {
        self.work(move |argon2, nobodys| {
            let known = PasswordHash::new(hash.as_deref().unwrap_or(nobodys))?;
            match argon2.verify_password(password.as_bytes(), &known) {
                Ok(()) => Ok(hash.is_some()),
                Err(HashError::PasswordInvalid) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Argon2<'static>, &str) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, CallError> {
        let busy = || Refusal::new(ErrorCode::Busy, "too many are signing in at this moment: try again in a second");
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| busy())?;
        let admitted_now = self.admitted_max.saturating_sub(self.admitted.available_permits());
        metrics::gauge!("gochat_queue_length", "queue" => "repo-password-calls").set(admitted_now as f64);
        metrics::gauge!("gochat_queue_limit", "queue" => "repo-password-calls").set(self.admitted_max as f64);
        let working = Arc::clone(&self.working).acquire_owned().await.map_err(|_| busy())?;
        let (argon2, nobodys) = (self.argon2.clone(), Arc::clone(&self.nobodys));
        let worked = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the caller: one who hangs up does not free the core.
            let _permits = (admitted, working);
            job(&argon2, &nobodys)
        });
        match worked.await {
            Ok(done) => done.map_err(|e| CallError::internal("a password hash could not be worked out", e)),
            Err(panicked) => Err(CallError::internal("hashing a password panicked", panicked)),
        }
    }
}

fn hash(argon2: &Argon2<'_>, password: &[u8]) -> Result<String, HashError> {
    let mut salt = [0; SALT_BYTES];
    SysRng.try_fill_bytes(&mut salt).map_err(|_| HashError::RngFailure)?;
    Ok(argon2.hash_password_with_salt(password, &salt)?.to_string())
}
