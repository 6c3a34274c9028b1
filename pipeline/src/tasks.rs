//! The stage tasks of this process: started, watched, stopped together.

use std::sync::Arc;

use stages::stage::Stage;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::runner::{self, RunError, TaskContext, WiringOf};

/// The stage tasks of a process.
pub struct StageTasks {
    context: TaskContext,
    tasks_per_stage: u16,
    shutdown: CancellationToken,
    running: JoinSet<Result<(), RunError>>,
}

impl StageTasks {
    /// None yet. Each stage gets `tasks_per_stage` tasks, named after `context.instance`.
    pub fn new(context: TaskContext, tasks_per_stage: u16, shutdown: CancellationToken) -> Self {
        Self { context, tasks_per_stage, shutdown, running: JoinSet::new() }
    }

    /// Starts the tasks of a stage, at most `tasks_max` of them. `make` gets the number of the task, from 0.
    pub fn start<S: Stage>(
        &mut self,
        tasks_max: u16,
        make: impl Fn(u16) -> S + Send + Sync + 'static,
        wiring: WiringOf<S>,
    ) {
        let (make, wiring) = (Arc::new(make), Arc::new(wiring));
        for task in 0..self.tasks_per_stage.min(tasks_max) {
            let (make, wiring, shutdown) = (make.clone(), wiring.clone(), self.shutdown.clone());
            let instance = format!("{}-{}-{task}", wiring.group, self.context.instance);
            let context = TaskContext { instance, ..self.context.clone() };
            self.running.spawn(async move { runner::run(|| make(task), &wiring, &context, &shutdown).await });
        }
    }

    /// Waits until a task ends. `None`: all have ended.
    pub async fn ended(&mut self) -> Option<Result<(), RunError>> {
        let ended = self.running.join_next().await?;
        Some(ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())))
    }
}
