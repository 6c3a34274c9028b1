//! How a runner starts anew after its client broke.

use std::sync::Arc;
use std::time::Duration;

use pipeline::runner::{self, RunnerConfig, TaskContext};
use pipeline::topology::DEDUPE;
use stages::dedupe::Dedupe;
use stages::stage::Stage;
use tokio_util::sync::CancellationToken;
use topics::catalogue::Layout;

use super::broker::Broker;
use super::log::SimLog;
use super::planted_log::{FlawedLog, LogFlaw, WELL};
use super::scene::WINDOW_MS;
use super::world::{Happening, Process, World};

#[tokio::test(start_paused = true)]
async fn a_task_that_was_well_meanwhile_starts_anew_as_soon_as_after_its_first_trouble() {
    const REBUILDS: u32 = 12;
    let world = Arc::new(World::new(1, 1).calm());
    let broker = Broker::new(Arc::clone(&world), Layout { chain_partitions: 1, gateway_slots: 1 });
    let process = Process { index: 0, stage: Dedupe::NAME, machine: 0 };
    let log = Arc::new(SimLog { broker: Arc::clone(&broker), process });
    let config = RunnerConfig { retry_spread: || 1.0, ..RunnerConfig::default() };
    let context = TaskContext {
        log: Arc::new(FlawedLog::new(log, broker, process, LogFlaw::BrokenNowAndThen)),
        clock: world.clock(0),
        config: config.clone(),
        instance: "one".into(),
    };
    let (wiring, stop) = (DEDUPE.wiring(), CancellationToken::new());
    let running = runner::run(|| Dedupe::new(WINDOW_MS), &wiring, &context, &stop);
    let ended = tokio::time::timeout(WELL * REBUILDS, running).await;
    assert!(ended.is_err(), "{ended:?}");
    let joined = |(at_ms, happening): &(i64, Happening)| matches!(happening, Happening::Joined(_)).then_some(*at_ms);
    let joined: Vec<i64> = world.trace().0.iter().filter_map(joined).collect();
    let longest = joined.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    let (well, wait) = (WELL.as_millis() as i64, config.retry_wait_min.as_millis() as i64);
    let steps = Duration::from_millis(50).as_millis() as i64;
    assert!(longest <= well + wait + steps, "after {longest} ms: {joined:?}");
}
