//! The auditor over a chain that has worked: it finds nothing to complain of, also while messages are
//! under way, and finds what is planted.

mod ground;
mod pairing;
mod pairs;
mod planted;
mod retained;

use std::sync::Arc;

use pipeline::audit::{Location, Scope};
use pipeline::config::Config;
use stages::invariants::Invariant;
use topics::catalogue::PERSISTED;
use topics::clock::Clock;

use self::ground::{Ground, assert_all_hold, assert_broken, scope, stopped};

impl Ground {
    pub async fn embedded() -> Self {
        Self::open(Config::default()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_worked_holds_everything_and_each_guarantee_was_looked_at() {
    let ground = Ground::embedded().await.talked().await;
    assert_all_hold(&ground.audit().await);
    let in_small_passes = Scope { identities_max: 1, ..scope() };
    assert_all_hold(&ground.audit_by(in_small_passes).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_persist_and_fan_out_share_a_task_holds_everything_too() {
    let mut config = Config::default();
    config.stages.fuse_persist_and_fan_out = true;
    let ground = Ground::open(config).await.talked().await;
    assert_all_hold(&ground.audit_by(Scope { fuse: ground.fuse, ..scope() }).await);
    let told = "if persist and fan-out shared a task then, check with --since";
    let apart = ground.audit().await;
    assert_broken(&apart, Invariant::Arrives, &Location::Topic(&PERSISTED.spec), told);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_log_proves_nothing_and_says_so() {
    let findings = Ground::embedded().await.audit().await;
    assert!(findings.hold());
    let (_, verdict) = findings.verdicts().find(|(of, _)| *of == Invariant::Gapless).unwrap();
    assert_eq!((verdict.looked_at, verdict.notes.len()), (0, 1), "{:?}", verdict.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_no_violation() {
    const PORTIONS: i64 = 30;
    const PORTION: i64 = 200;
    let ground = Arc::new(Ground::embedded().await);
    let (tasks, stop) = ground.run();
    let talking = {
        let ground = ground.clone();
        tokio::spawn(async move {
            for n in 0..PORTIONS {
                ground.say(n * PORTION, (n + 1) * PORTION).await;
            }
        })
    };
    let mut looks = 0;
    while !talking.is_finished() || looks < 3 {
        for since_ms in [None, Some(Clock::system().now_ms() - 500)] {
            let findings = ground.audit_by(Scope { since_ms, ..scope() }).await;
            assert!(findings.hold(), "look {looks}: {}", findings.to_json());
        }
        looks += 1;
    }
    talking.await.unwrap();
    ground.arrived(PORTIONS * PORTION).await;
    stopped(tasks, stop).await;
    assert_all_hold(&ground.audit().await);
}
