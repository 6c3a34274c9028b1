//! While the chain is behind, the repo takes nothing that would wait in it.

use std::time::Duration;

use schemas::error::ErrorCode;
use schemas::ids::{ConversationId, UserId};
use schemas::pb;
use tokio::time::{sleep, timeout};
use topics::backlog::LagWatch;
use topics::catalogue::UPSTREAM;
use topics::log::{Commit, Event, Log, MemberSpec};

use crate::served::{SOON, Served, code, upstream_count};

/// Records that may wait here.
const LAG_RECORDS_MAX: u64 = 3;
const LAG_OF: [LagWatch; 1] = [LagWatch { group: "dedupe", topic: &UPSTREAM.spec }];

/// Takes so many records off the topic, as the stage does that reads it.
async fn catch_up(log: &dyn Log, mut records: u64) {
    let spec = MemberSpec {
        group: LAG_OF[0].group.into(),
        topic: LAG_OF[0].topic,
        instance: "dedupe-0".into(),
        transactional: true,
        batch_records_max: 1_000,
        batch_bytes_max: 1 << 20,
        poll_interval_max: SOON,
    };
    let mut member = log.join(spec).await.unwrap();
    while records > 0 {
        match timeout(SOON, member.next()).await.unwrap().unwrap() {
            Event::Assigned(partitions) => {
                for assigned in partitions {
                    member.start(assigned.partition, assigned.committed.unwrap_or_default()).await.unwrap();
                }
            }
            Event::Batch(batch) => {
                records -= batch.iter().map(|part| part.records.len() as u64).sum::<u64>();
                let positions = batch.iter().map(|part| (part.partition, part.next_offset)).collect();
                member.commit(Commit { outputs: Vec::new(), positions }).await.unwrap();
            }
            Event::Revoked(_) | Event::Lost(_) => panic!("it is the only member"),
        }
    }
    member.leave().await.unwrap();
}

#[tokio::test]
async fn messages_and_read_marks_are_refused_with_busy_until_the_chain_has_caught_up() {
    let repo = Served::start_with_lag_max(LAG_RECORDS_MAX).await;
    let (backlog, log, stop) = (repo.backlog.clone(), repo.log.clone(), repo.shutdown.clone());
    let watching = tokio::spawn(async move { backlog.watch(log, &LAG_OF, stop.cancelled_owned()).await });
    let (ann, ben) = (repo.user("ann").await, repo.user("ben").await);
    let conversation = ConversationId::single(UserId(ann), UserId(ben)).to_string();
    let save = |number: u32| pb::SaveMessageRequest {
        conversation_id: conversation.clone(),
        sender_id: ann,
        client_msg_id: format!("k{number}"),
        message_type: "text".into(),
        content: "hi".into(),
    };

    let mut taken = 0;
    let refused = timeout(SOON, async {
        loop {
            match repo.messages().save_message(save(taken)).await {
                Ok(_) => taken += 1,
                refused => return refused,
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(code(refused.await.expect("it is refused at last")), ErrorCode::Busy);
    assert!(u64::from(taken) > LAG_RECORDS_MAX, "it was refused after {taken}, below the limit");
    assert_eq!(upstream_count(&repo.log).await, u64::from(taken), "what is refused is not in the topic");
    let mark = pb::MarkAsReadRequest { conversation_id: conversation.clone(), user_id: ann, seq_id: 1 };
    assert_eq!(code(repo.conversations().mark_as_read(mark.clone()).await), ErrorCode::Busy);
    repo.users().get_user(pb::GetUserRequest { user_id: ann }).await.expect("what does not enter the chain goes on");

    catch_up(repo.log.as_ref(), u64::from(taken)).await;
    let accepted = timeout(SOON, async {
        while let Err(refused) = repo.messages().save_message(save(taken)).await {
            assert_eq!(code(Err::<(), _>(refused)), ErrorCode::Busy);
            sleep(Duration::from_millis(50)).await;
        }
    });
    accepted.await.expect("it is taken again once the lag is gone");
    repo.conversations().mark_as_read(mark).await.unwrap();
    assert_eq!(upstream_count(&repo.log).await, u64::from(taken) + 2);
    repo.shutdown.cancel();
    timeout(SOON, watching).await.unwrap().unwrap();
}
