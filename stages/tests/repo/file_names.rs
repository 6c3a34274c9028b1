//! The file of a store: the one that was named, whatever its name.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use stages::repo::store::Class;

#[tokio::test]
async fn a_name_that_sqlite_would_take_for_a_uri_or_for_memory_is_a_file() {
    for (begin, end) in [("file:", "?mode=memory"), ("file:", "#b%41"), (":memory:", ""), ("-v", " ")] {
        let dir = tempfile::Builder::new().prefix(begin).suffix(end).tempdir_in(".").unwrap();
        let relative = Path::new(dir.path().file_name().unwrap()).join("repo.db");
        drop(SqliteStore::open(&relative, SqliteConfig::default()).await.unwrap());
        assert!(dir.path().join("repo.db").is_file(), "{relative:?}");
        let read = SqliteStore::open_read_only(&relative, SqliteConfig::default()).await.unwrap();
        assert!(read.outbox(1).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_name_that_is_no_text_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(std::ffi::OsStr::from_bytes(b"repo-\xff.db"));
    let Err(error) = SqliteStore::open(&path, SqliteConfig::default()).await else { panic!("it opens") };
    assert!(matches!(error.class(), Class::Fatal), "it is not waited for: {error}");
}
