//! The cache in this process: the contract, and its bounds.

use std::sync::Arc;

use schemas::ids::{ConversationId, GroupId, Seq, UserId};
use stages::repo::cache::local::{LocalCache, LocalConfig};
use stages::repo::cache::{Cache, Lifetimes, Lookup};

use super::contract::{cache_contract, run_of};
use super::store::cached_store_contract;
use crate::fixtures::user;

fn in_process(lifetimes: Lifetimes) -> Arc<dyn Cache> {
    Arc::new(LocalCache::new(&LocalConfig::default(), lifetimes))
}

cache_contract!(in_process);
cached_store_contract!(in_process_before_the_store, in_process);

#[tokio::test]
async fn memory_stays_within_its_bounds() {
    let config = LocalConfig { users_max: 100, messages_mib_max: 1, ..LocalConfig::default() };
    let cache = LocalCache::new(&config, Lifetimes::default());
    const CONVERSATIONS: i64 = 200;
    for n in 1..=CONVERSATIONS {
        cache.put_user(UserId(n), Some(&user(UserId(n), &format!("user{n}")))).await.unwrap();
        let conversation = ConversationId::Group(GroupId(n));
        // 100 messages of 200 bytes: some 25 KiB with what is around them.
        cache.fill(conversation, &run_of(conversation, 1..=100, &"x".repeat(200))).await.unwrap();
    }
    cache.settled().await;
    let (mut users, mut messages) = (0, 0);
    for n in 1..=CONVERSATIONS {
        users += usize::from(cache.user(UserId(n)).await.unwrap() != Lookup::Unknown);
        messages += cache.messages(ConversationId::Group(GroupId(n)), Seq(1)).await.unwrap().len();
    }
    assert!((1..=100).contains(&users), "{users} users");
    assert!(messages > 0 && messages * 200 <= 1 << 20, "{messages} messages");
}

#[tokio::test]
async fn a_conversation_that_nobody_has_read_is_not_begun() {
    let cache = in_process(Lifetimes::default());
    let conversation = ConversationId::Group(GroupId(1));
    let run = run_of(conversation, 1..=3, "hi");
    cache.append(&run.iter().map(|message| &**message).collect::<Vec<_>>()).await.unwrap();
    assert!(cache.messages(conversation, Seq(1)).await.unwrap().is_empty());
}
