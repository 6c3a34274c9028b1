//! The processes of a schedule: each runs one stage as the product does, dies, and comes again.

use std::sync::Arc;
use std::time::Duration;

use pipeline::runner::{RunnerConfig, TaskContext};
use pipeline::tasks::StageTasks;
use pipeline::topology::{Parts, Row};
use rand::RngExt;
use stages::large_group;
use stages::presence::SharedPresence;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::log::SimLog;
use super::planted::{self, Planted};
use super::scene::{Groups, PAGE_MEMBERS, WINDOW_MS};
use super::store::{Answers, Rows, SimStore};
use super::world::{Happening, Process, SESSION, World};

/// What all processes of a schedule stand on.
pub struct Stand {
    pub world: Arc<World>,
    pub broker: Arc<Broker>,
    pub rows: Arc<Rows>,
    pub groups: Arc<Groups>,
    pub presence: SharedPresence,
    pub planted: Option<Planted>,
    pub batch_records_max: usize,
    pub stop: CancellationToken,
}

/// The name that a process's one task has in its group.
pub fn instance_of(process: Process) -> String {
    format!("{}-{}-0", process.stage, machine_name(process))
}

fn machine_name(process: Process) -> String {
    format!("m{}", process.machine)
}

/// Lives until it is told to stop, or stops for good.
pub async fn live(stand: Arc<Stand>, process: Process, row: &'static dyn Row) {
    let world = &stand.world;
    loop {
        world.note(Happening::Born(process));
        let mut tasks = start(&stand, process, row);
        tokio::select! {
            biased;
            () = world.killed(process) => {}
            ended = tasks.ended() => {
                if let Some(Err(error)) = ended {
                    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
                    world.stopped(process, causes.map(ToString::to_string).collect::<Vec<_>>().join(": "));
                }
                return;
            }
        }
        drop(tasks);
        let (notices_first, down_ms) = world.draw(|random| (random.random_bool(0.6), random.random_range(40..120)));
        if notices_first {
            sleep(SESSION).await;
            if stand.broker.evict(&instance_of(process)) {
                world.note(Happening::Evicted(process));
            }
        }
        sleep(Duration::from_millis(down_ms)).await;
    }
}

fn start(stand: &Arc<Stand>, process: Process, row: &'static dyn Row) -> StageTasks {
    let (world, broker) = (Arc::clone(&stand.world), Arc::clone(&stand.broker));
    let log = planted::log(stand.planted, process, Arc::new(SimLog { broker, process }), &stand.broker);
    let context = TaskContext {
        log,
        clock: world.clock(process.machine),
        config: RunnerConfig {
            batch_records_max: stand.batch_records_max,
            retry_wait_min: Duration::from_millis(2),
            retry_wait_max: Duration::from_millis(16),
            retry_spread: || 1.0,
            ..RunnerConfig::default()
        },
        instance: machine_name(process),
    };
    let answers = if stand.planted == Some(Planted::PositionBeforeStore) {
        Answers::BeforeItIsWritten
    } else {
        Answers::OnceItIsWritten
    };
    let one_for_two = stand.planted == Some(Planted::OneInstanceIdForTwo);
    let parts = Parts {
        dedupe_window_ms: WINDOW_MS,
        first_instance: if one_for_two { 0 } else { u16::try_from(process.machine).unwrap() },
        store: Some(Arc::new(SimStore { rows: Arc::clone(&stand.rows), world: Arc::clone(&world), process, answers })),
        persist_tasks_max: 1,
        presence: Arc::clone(&stand.presence),
        members: stand.groups.source(&world, process),
        large_group: large_group::Config { page_members: PAGE_MEMBERS, ..large_group::Config::default() },
    };
    let mut tasks = StageTasks::new(context, 1, stand.stop.clone());
    planted::start(stand, row, &parts, &mut tasks);
    tasks
}
