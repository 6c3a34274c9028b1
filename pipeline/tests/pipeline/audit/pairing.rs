//! What a process that opens a log and a store looks at first: whether they belong together.

use std::sync::Arc;

use pipeline::pairing::{self, PairingError};
use schemas::ids::Seq;
use schemas::records::{Head, Sequenced};
use stages::repo::model::{User, UserStatus};
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use topics::catalogue::{HEADS, Keyed, Layout, SEQUENCED};
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::headers::Headers;
use topics::log::Log;

use super::ground::{ANN, Ground, next_of, pair, place, said};
use super::pairs::{another_log_is_refused, check, config, the_newest_messages_are_missed};

#[tokio::test(flavor = "multi_thread")]
async fn embedded_a_store_that_lost_its_newest_messages_is_noticed() {
    the_newest_messages_are_missed(Ground::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_a_store_is_refused_beside_another_log_than_its_own() {
    another_log_is_refused(Ground::embedded().await, &Ground::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_alone_tie_a_store_to_its_log() {
    let (ground, other) = (Ground::embedded().await, Ground::embedded().await);
    check(&ground, ground.store()).await.unwrap();
    let user = User {
        id: ANN,
        username: "ann".into(),
        display_name: "Ann".into(),
        avatar_url: String::new(),
        email: String::new(),
        status: UserStatus::Active,
        created_at: 1,
    };
    ground.store().create_user(&user, None).await.unwrap();
    check(&ground, ground.store()).await.expect("the log has no message either");
    let error = check(&other, ground.store()).await.unwrap_err();
    assert!(matches!(error, PairingError::Foreign { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_restored_from_an_older_copy_is_noticed() {
    let ground = Ground::embedded().await.talked().await;
    check(&ground, ground.store()).await.unwrap();
    let newest = ground.newest(pair()).await;
    ground.store().write_batch(&[&next_of(&newest, 1)]).await.unwrap();
    let error = check(&ground, ground.store()).await.unwrap_err();
    let PairingError::Ahead { seq, knows, .. } = error else { panic!("{error}") };
    assert_eq!(seq, Seq(newest.seq_id.0 + 1));
    assert_eq!(knows, format!("has its first {} messages alone", newest.seq_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_ran_ahead_does_not_hide_the_heads() {
    let ground = Ground::embedded().await.talked().await;
    let newest = ground.newest(pair()).await;
    let ahead = "UPDATE messages SET created_at = created_at + 1000000000 WHERE message_id =";
    ground.tamper(&format!("{ahead} {}", newest.message_id));
    check(&ground, ground.store()).await.expect("all heads are read then");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_begin_at_once_agree_on_the_id() {
    let ground = Arc::new(Ground::embedded().await);
    let at_once = (0..4).map(|_| {
        let ground = Arc::clone(&ground);
        tokio::spawn(async move { check(&ground, ground.store()).await })
    });
    for checked in at_once.collect::<Vec<_>>() {
        checked.await.unwrap().unwrap();
    }
    check(&ground, ground.store()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_store_is_filled_from_the_log_and_is_its_own_from_then_on() {
    let (ground, empty) = (Ground::embedded().await.talked().await, Ground::embedded().await);
    check(&ground, ground.store()).await.unwrap();
    pairing::check_for_rebuild(&*ground.log(), empty.store(), &config()).await.expect("it may lack everything");
    let messages: Vec<Sequenced> = ground.sequenced(pair()).await.into_iter().map(|(_, message)| message).collect();
    empty.store().write_batch(&messages.iter().collect::<Vec<_>>()).await.unwrap();
    pairing::note(&*ground.log(), empty.store(), &config()).await.unwrap();
    let error = check(&empty, empty.store()).await.unwrap_err();
    assert!(matches!(error, PairingError::Foreign { .. }), "{error}");
}

/// Retention drops messages, and the heads stay: such a log is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_messages_are_too_old_to_be_kept_still_has_their_heads() {
    const WEEKS_LATER_MS: i64 = 3 * 7 * 24 * 3_600_000;
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(1_800_000_000_000));
    let layout = Layout { chain_partitions: 2, gateway_slots: 1 };
    let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"), layout), clock.clone()).unwrap();
    let store = SqliteStore::open(&dir.path().join("repo.db"), SqliteConfig::default()).await.unwrap();

    let message = Sequenced { conversation_id: pair(), ..next_of_nothing(clock.now_ms()) };
    let Sequenced { conversation_id, seq_id, ordinal, message_id, .. } = message;
    let head = Head { conversation_id, seq_id, ordinal, message_id };
    let mut encoder = Encoder::default();
    encoder.put_at(&SEQUENCED, place(pair()), &message.key(), &message, Headers::default()).unwrap();
    encoder.put_at(&HEADS, place(pair()), &head.key(), &head, Headers::default()).unwrap();
    log.append(encoder.finish()).await.unwrap();
    store.write_batch(&[&message]).await.unwrap();

    clock.advance_ms(WEEKS_LATER_MS);
    log.maintain().await.unwrap();
    let bounds = log.bounds(&SEQUENCED.spec, place(pair())).await.unwrap();
    assert_eq!(bounds.start, bounds.end, "the message is not kept any more");
    pairing::check(&*log, &*store, &config()).await.expect("its head is");
}

/// The first message of a conversation, made at this time.
fn next_of_nothing(now_ms: i64) -> Sequenced {
    said(1).identified(schemas::ids::MessageId(7), Seq(1), 1, now_ms)
}
