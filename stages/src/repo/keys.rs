//! The key that signs access tokens, in a file of its own.
//!
//! The first start creates it; two processes that start at once get the same one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use schemas::token::{InvalidKey, SigningKey};

/// Why the signing key could not be loaded or created.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the signing key {path} could not be {doing}: {source}. See that its directory exists and is yours")]
    File {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} does not hold a signing key: {source}. Put the right file there, or remove it to get a new key, which ends every session"
    )]
    NotAKey {
        path: PathBuf,
        #[source]
        source: InvalidKey,
    },
    #[error("no signing key could be made: the system gives no randomness")]
    NoRandomness(#[source] InvalidKey),
}

/// Loads the key from a file (PASERK `k4.secret.…`), or creates one that only its owner can read.
///
/// # Errors
/// [`KeyError`].
pub fn load_or_create(path: &Path) -> Result<SigningKey, KeyError> {
    match load(path)? {
        Some(key) => Ok(key),
        None => create(path),
    }
}

fn load(path: &Path) -> Result<Option<SigningKey>, KeyError> {
    let failed = |source| KeyError::File { path: path.into(), doing: "read", source };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others may read the signing key: chmod 600");
    }
    SigningKey::from_paserk(&text).map(Some).map_err(|source| KeyError::NotAKey { path: path.into(), source })
}

/// Writes the key to a temporary file and links it to its path. The link succeeds for one process only; the other
/// loads the first one's key.
fn create(path: &Path) -> Result<SigningKey, KeyError> {
    let failed = |source| KeyError::File { path: path.into(), doing: "made", source };
    let key = SigningKey::generate().map_err(KeyError::NoRandomness)?;
    // Named by the key it holds, by its public half: no two drafts meet.
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.new", key.verifying_key().to_paserk()));
    let draft = PathBuf::from(draft);
    let placed = write_draft(&draft, &key).and_then(|()| fs::hard_link(&draft, path));
    // A draft that stays behind does no harm.
    let _ = fs::remove_file(&draft);
    match placed {
        Ok(()) => {
            let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(directory).and_then(|dir| dir.sync_all()).map_err(failed)?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => load(path)?.ok_or_else(|| failed(error)),
        Err(error) => Err(failed(error)),
    }
}

fn write_draft(draft: &Path, key: &SigningKey) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.write_all(key.to_paserk().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
