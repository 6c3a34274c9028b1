//! A group's positions, set by hand as an operator, or a careless one, sets them.

use std::time::Duration;

use topics::catalogue::TopicSpec;
use topics::log::{Bounds, Commit, Event, Log, MemberSpec};

const WAIT: Duration = Duration::from_secs(20);

/// Moves a group that nobody is a member of.
pub async fn set_positions(log: &dyn Log, group: &str, topic: &'static TopicSpec, to: impl Fn(Bounds) -> u64) {
    let spec = MemberSpec {
        group: group.into(),
        topic,
        instance: "by hand".into(),
        transactional: true,
        batch_records_max: 1,
        batch_bytes_max: 1,
        poll_interval_max: WAIT,
    };
    let mut member = log.join(spec).await.unwrap();
    let mut positions = Vec::new();
    while positions.len() < log.layout().partitions(topic) as usize {
        match tokio::time::timeout(WAIT, member.next()).await.expect("partitions come").unwrap() {
            Event::Assigned(assigned) => {
                for one in assigned {
                    positions.push((one.partition, to(log.bounds(topic, one.partition).await.unwrap())));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    member.commit(Commit { outputs: vec![], positions }).await.unwrap();
    member.leave().await.unwrap();
}
