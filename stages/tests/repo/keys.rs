//! The file of the signing key.

use std::os::unix::fs::PermissionsExt;

use stages::repo::keys::{KeyError, load_or_create};

#[test]
fn a_key_is_made_once_and_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signing.key");
    let made = load_or_create(&path).unwrap();
    let again = load_or_create(&path).unwrap();
    assert_eq!(made.to_paserk(), again.to_paserk());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft stays behind");
}

#[test]
fn processes_that_start_at_once_have_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signing.key");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || load_or_create(&path).unwrap().to_paserk())
        })
        .collect();
    let keys: std::collections::HashSet<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_file_with_something_else_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signing.key");
    std::fs::write(&path, "password123").unwrap();
    let error = load_or_create(&path).unwrap_err();
    assert!(matches!(error, KeyError::NotAKey { .. }) && error.to_string().contains("signing.key"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "password123");
    let nowhere = load_or_create(&dir.path().join("no/such/signing.key")).unwrap_err();
    assert!(matches!(nowhere, KeyError::File { .. }), "{nowhere}");
}
