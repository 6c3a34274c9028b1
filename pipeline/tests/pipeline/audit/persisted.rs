//! What a process that begins to persist looks at: whether the store has what was stored.

use pipeline::config::Config;
use pipeline::persisted::{self, PersistedError};
use stages::repo::sqlite::SqliteStore;
use stages::repo::store::Store;

use super::ground::{Ground, pair};

async fn check(ground: &Ground, store: &SqliteStore) -> Result<(), PersistedError> {
    let config = Config { data_dir: "data of the test".into(), ..Config::default() };
    persisted::check(&*ground.log(), store, &config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_a_store_that_lost_its_newest_messages_is_noticed() {
    the_newest_messages_are_missed(Ground::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_a_store_that_lost_its_newest_messages_is_noticed() {
    the_newest_messages_are_missed(Ground::kafka().await).await;
}

async fn the_newest_messages_are_missed(ground: Ground) {
    check(&ground, ground.store()).await.expect("where nothing was said nothing is missing");
    let ground = ground.talked().await;
    check(&ground, ground.store()).await.expect("everything is there");

    let newest = ground.newest(pair()).await;
    ground.tamper(&format!("DELETE FROM messages WHERE message_id = {}", newest.message_id));
    let error = check(&ground, ground.store()).await.unwrap_err();
    assert!(error.to_string().contains("gochat rebuild store"), "{error}");
    let PersistedError::Lacks { store, message, conversation, seq } = error else { panic!("it lacks a message") };
    assert_eq!((store.as_str(), message), ("data of the test/repo.db", newest.message_id));
    assert_eq!((conversation, seq), (pair(), newest.seq_id));

    ground.store().write_batch(&[&newest]).await.unwrap();
    check(&ground, ground.store()).await.expect("it was written again");
    ground.tamper(&format!("UPDATE messages SET message_id = 1 WHERE message_id = {}", newest.message_id));
    check(&ground, ground.store()).await.expect_err("another message in its place");
}
