//! Password hashes: argon2id, a few at a time.
//!
//! A hash takes tens of milliseconds and megabytes on purpose. At most half of the cores hash, and a bounded
//! number of calls waits, in which clients take turns and logins come before new passwords; beyond that a sign-in is
//! refused as Busy while everything else goes on. The memory of a hash is used again by the next one: the allocator
//! would otherwise keep some for every thread that ever hashed.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::Error as HashError;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use rand::TryRng;
use rand::rngs::SysRng;
use schemas::error::{ErrorCode, Refusal};
use topics::queue_metrics::Bound;

use super::call::CallError;
use super::config::RepoConfig;
use super::fair_queue::{Client, FairQueue, Full, Urgency};

const SALT_BYTES: usize = 16;

#[derive(Clone)]
pub struct Passwords {
    params: Params,
    /// Idle work memory: at most one piece a worker.
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
    /// A turn for each hash that is computed; clients without an address share their turns.
    turns: FairQueue,
    /// Calls that are worked on or wait, and their limit, as metrics.
    calls: Arc<Bound>,
    /// A hash of no password, checked when the user does not exist, so that it costs the same.
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
        let mut memory = Vec::new();
        let nobodys = hash(&params, b"", &mut memory).map_err(|e| unusable(e.to_string()))?;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = (cores / 2).max(1);
        Ok(Self {
            params,
            memory: Arc::new(Mutex::new(vec![memory])),
            turns: FairQueue::new(workers, config.password_queue_max),
            calls: Arc::new(Bound::new("repo-password-calls", workers + config.password_queue_max)),
            nobodys: nobodys.into(),
        })
    }

    /// The PHC string of a new password, for the client at this address.
    pub(super) async fn hash(&self, password: String, client: Client) -> Result<String, CallError> {
        let job = move |params: &Params, _: &str, memory: &mut Vec<Block>| hash(params, password.as_bytes(), memory);
        self.work(client, Urgency::CanWait, job).await
    }

    /// Whether a password matches a hash. Without a hash it does not, at the same cost.
    pub(super) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
        client: Client,
    ) -> Result<bool, CallError> {
        self.work(client, Urgency::Urgent, move |_, nobodys, memory| {
            let right = is_right(password.as_bytes(), hash.as_deref().unwrap_or(nobodys), memory)?;
            Ok(right && hash.is_some())
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        client: Client,
        urgency: Urgency,
        job: impl FnOnce(&Params, &str, &mut Vec<Block>) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, CallError> {
        let busy = || Refusal::new(ErrorCode::Busy, "too many are signing in at this moment: try again in a second");
        let told = self.calls.entered(1);
        let turn = self.turns.turn(client, urgency).await.map_err(|Full| busy())?;
        let (params, nobodys) = (self.params.clone(), Arc::clone(&self.nobodys));
        let pieces = Arc::clone(&self.memory);
        let worked = tokio::task::spawn_blocking(move || {
            // The work holds the turn, not the caller: one who hangs up does not free the core.
            let _held = (told, turn);
            let mut memory = pieces.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let done = job(&params, &nobodys, &mut memory);
            // A hash made with other settings may have needed more.
            memory.truncate(params.block_count());
            memory.shrink_to_fit();
            pieces.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
            done
        });
        match worked.await {
            Ok(done) => done.map_err(|e| CallError::internal("a password hash could not be computed", e)),
            Err(panicked) => Err(CallError::internal("hashing a password panicked", panicked)),
        }
    }
}

/// The PHC string of a password under a new salt.
fn hash(params: &Params, password: &[u8], memory: &mut Vec<Block>) -> Result<String, HashError> {
    let mut salt = [0; SALT_BYTES];
    SysRng.try_fill_bytes(&mut salt).map_err(|_| HashError::RngFailure)?;
    let (algorithm, version, salt) = (Algorithm::default(), Version::default(), Salt::new(&salt)?);
    let hash = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(params)?,
        salt: Some(salt),
        hash: Some(output(algorithm, version, params, &salt, password, memory)?),
    };
    Ok(hash.to_string())
}

/// Whether a password matches a PHC string, by the string's own settings.
fn is_right(password: &[u8], phc: &str, memory: &mut Vec<Block>) -> Result<bool, HashError> {
    let known = PasswordHash::new(phc)?;
    let (Some(salt), Some(wanted)) = (&known.salt, &known.hash) else { return Ok(false) };
    let algorithm = Algorithm::try_from(known.algorithm.as_str())?;
    let version = known.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let found = output(algorithm, version, &Params::try_from(&known)?, salt, password, memory)?;
    // Compared in constant time: `Output` has no other equality.
    Ok(found == *wanted)
}

fn output(
    algorithm: Algorithm,
    version: Version,
    params: &Params,
    salt: &Salt,
    password: &[u8],
    memory: &mut Vec<Block>,
) -> Result<Output, HashError> {
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::new());
    }
    let mut bytes = [0; Output::MAX_LENGTH];
    let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let bytes = bytes.get_mut(..length).ok_or(HashError::OutputSize)?;
    let argon2 = Argon2::new(algorithm, version, params.clone());
    argon2.hash_password_into_with_memory(password, salt, bytes, &mut memory[..blocks])?;
    Ok(Output::new(bytes)?)
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher;

    use super::*;

    fn params(memory_kib: u32) -> Params {
        Params::new(memory_kib, 1, 1, None).unwrap()
    }

    /// What others made, with more and with less memory than ours, in whatever order.
    #[test]
    fn a_hash_is_the_same_whatever_was_worked_out_in_the_memory_before() {
        let mut memory = Vec::new();
        for kib in [64, 256, 32, 256] {
            let salt = [u8::try_from(kib % 251).unwrap(); SALT_BYTES];
            let theirs = Argon2::from(params(kib)).hash_password_with_salt(b"secret", &salt).unwrap().to_string();
            assert_eq!(is_right(b"secret", &theirs, &mut memory), Ok(true), "{theirs}");
            assert_eq!(is_right(b"secret ", &theirs, &mut memory), Ok(false));
            let ours = hash(&params(kib), b"secret", &mut memory).unwrap();
            assert_eq!(is_right(b"secret", &ours, &mut memory), Ok(true), "{ours}");
        }
        assert_eq!(is_right(b"secret", "$argon2id$v=19$m=64,t=1,p=1", &mut memory), Ok(false), "it has no hash");
    }

    #[tokio::test]
    async fn memory_is_kept_for_as_many_as_may_work_at_once_and_no_larger_than_configured() {
        let config = RepoConfig { password_memory_kib: 64, password_passes: 1, ..RepoConfig::default() };
        let passwords = Passwords::new(&config).unwrap();
        let larger = hash(&params(512), b"other", &mut Vec::new()).unwrap();
        let calls = (0..20).map(|_| passwords.verify("other".into(), Some(larger.clone()), None));
        for right in futures::future::join_all(calls).await {
            assert!(right.unwrap());
        }
        let pieces = passwords.memory.lock().unwrap();
        let workers = (std::thread::available_parallelism().map_or(1, NonZeroUsize::get) / 2).max(1);
        assert!((1..=workers).contains(&pieces.len()), "{} pieces for {workers} at work", pieces.len());
        assert!(pieces.iter().all(|piece| piece.capacity() <= 64), "a piece of more than 64 KiB is kept");
    }
}
