//! What holds of logs and stores, whatever log it is.

use pipeline::config::Config;
use pipeline::pairing::{self, PairingError};
use stages::repo::store::Store;

use super::ground::{Ground, pair};

pub fn config() -> Config {
    Config { data_dir: "data of the test".into(), ..Config::default() }
}

pub async fn check(ground: &Ground, store: &dyn Store) -> Result<(), PairingError> {
    pairing::check(&*ground.log(), store, &config()).await
}

pub async fn the_newest_messages_are_missed(ground: Ground) {
    check(&ground, ground.store()).await.expect("where nothing was said nothing is missing");
    let ground = ground.talked().await;
    check(&ground, ground.store()).await.expect("everything is there");

    let newest = ground.newest(pair()).await;
    ground.tamper(&format!("DELETE FROM messages WHERE message_id = {}", newest.message_id));
    let error = check(&ground, ground.store()).await.unwrap_err();
    assert!(error.to_string().contains("gochat rebuild store"), "{error}");
    let PairingError::Lacks { store, message, conversation, seq } = error else { panic!("it lacks a message") };
    assert_eq!((store.as_str(), message), ("data of the test/repo.db", newest.message_id));
    assert_eq!((conversation, seq), (pair(), newest.seq_id));

    ground.store().write_batch(&[&newest]).await.unwrap();
    check(&ground, ground.store()).await.expect("it was written again");
    ground.tamper(&format!("UPDATE messages SET message_id = 1 WHERE message_id = {}", newest.message_id));
    check(&ground, ground.store()).await.expect_err("another message in its place");
}

pub async fn another_log_is_refused(ground: Ground, other: &Ground) {
    let ground = ground.talked().await;
    // As an installation is that is older than the ids.
    let error = check(other, ground.store()).await.unwrap_err();
    let said = error.to_string();
    let PairingError::Ahead { knows, .. } = error else { panic!("{said}") };
    assert_eq!(knows, "knows nothing of that conversation");
    for remedy in ["rebuild store", "repo.store.url", "--data DIR", "move data of the test/log away"] {
        assert!(said.contains(remedy), "{remedy}: {said}");
    }

    check(&ground, ground.store()).await.expect("its own");
    let error = check(other, ground.store()).await.unwrap_err();
    assert!(matches!(error, PairingError::Foreign { .. }), "{error}");
    let error = pairing::check_for_rebuild(&*other.log(), ground.store(), &config()).await.unwrap_err();
    assert!(matches!(error, PairingError::Foreign { .. }), "{error}");
    check(&ground, ground.store()).await.expect("nothing was changed by the looks");
}
