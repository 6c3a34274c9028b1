//! The breaker, the budget and the time limit, on a clock that stands until it is moved.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[derive(Debug, thiserror::Error, PartialEq)]
enum Said {
    #[error("away")]
    Away,
    #[error("no such thing")]
    NoSuchThing,
}

fn is_outage(said: &Said) -> bool {
    *said == Said::Away
}

fn guard() -> Guard {
    Guard::new("test", Limits::within(Duration::from_millis(50)))
}

async fn answer(guard: &Guard, said: Result<(), Said>) -> Result<(), CallFailed<Said>> {
    guard.once(|| async { said }, is_outage).await
}

async fn fail(guard: &Guard, times: u32) {
    for _ in 0..times {
        answer(guard, Err(Said::Away)).await.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_the_breaker_and_a_probe_that_works_closes_it() {
    let guard = guard();
    fail(&guard, 4).await;
    answer(&guard, Ok(())).await.unwrap();
    fail(&guard, 4).await;
    assert_eq!(guard.state(), BreakerState::Closed);
    fail(&guard, 1).await;
    assert_eq!(guard.state(), BreakerState::Open);
    assert!(matches!(answer(&guard, Ok(())).await, Err(CallFailed::Refused { .. })));

    tokio::time::advance(Duration::from_secs(1)).await;
    fail(&guard, 1).await;
    assert!(
        matches!(answer(&guard, Ok(())).await, Err(CallFailed::Refused { .. })),
        "a probe that fails opens it anew"
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    answer(&guard, Ok(())).await.unwrap();
    assert_eq!(guard.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_alone_and_one_that_is_given_up_makes_room_for_the_next() {
    let guard = guard();
    fail(&guard, 5).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut probe = Box::pin(guard.once(std::future::pending::<Result<(), Said>>, is_outage));
    assert!(futures::poll!(&mut probe).is_pending());
    assert_eq!(guard.state(), BreakerState::HalfOpen);
    assert!(matches!(answer(&guard, Ok(())).await, Err(CallFailed::Refused { .. })));
    drop(probe);
    answer(&guard, Ok(())).await.unwrap();
    assert_eq!(guard.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn more_than_half_of_many_calls_failing_opens_the_breaker() {
    let guard = guard();
    for _ in 0..6 {
        fail(&guard, 2).await;
        answer(&guard, Ok(())).await.unwrap();
    }
    assert_eq!(guard.state(), BreakerState::Closed, "18 calls are too few to tell");
    fail(&guard, 2).await;
    assert_eq!(guard.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_a_refusal_is_no_failure() {
    let guard = guard();
    for _ in 0..100 {
        let failed = guard.retrying(|| async { Err::<(), _>(Said::NoSuchThing) }, is_outage).await.unwrap_err();
        assert!(matches!(failed, CallFailed::Failed { source: Said::NoSuchThing, .. }));
    }
    assert_eq!(guard.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_given_up() {
    let guard = guard();
    let started = Instant::now();
    let failed = guard.once(std::future::pending::<Result<(), Said>>, is_outage).await.unwrap_err();
    assert!(matches!(failed, CallFailed::TimedOut { .. }), "{failed}");
    assert_eq!(started.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_tried_again() {
    let (guard, tries) = (guard(), AtomicU32::new(0));
    let third = || async { if tries.fetch_add(1, Ordering::SeqCst) < 2 { Err(Said::Away) } else { Ok(7) } };
    assert_eq!(guard.retrying(third, is_outage).await.unwrap(), 7);
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn retries_stay_within_a_tenth_of_all_calls() {
    let limits = Limits { failures_in_a_row_max: u32::MAX, failures_percent_max: 100, ..guard().limits };
    let (guard, tries) = (Guard::new("test", limits), AtomicU32::new(0));
    const CALLS: u32 = 1_000;
    for _ in 0..CALLS {
        let away = || async {
            tries.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(Said::Away)
        };
        guard.retrying(away, is_outage).await.unwrap_err();
    }
    let retries = tries.load(Ordering::SeqCst) - CALLS;
    // A retry is an attempt too, and earns its tenth.
    assert!((100..=130).contains(&retries), "{retries} retries of {CALLS} calls");
}
