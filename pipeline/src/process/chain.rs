//! The stages that a process runs.

use std::sync::Arc;

use stages::membership::MembershipSource;
use stages::repo::store::MessageSink;
use topics::catalogue::dedupe_memory;
use topics::log::Log;

use super::base::Base;
use super::error::{ProcessError, start_error};
use crate::config::StagesConfig;
use crate::role::Role;
use crate::runner::{RunError, TaskContext};
use crate::store;
use crate::supervisor::Layer;
use crate::tasks::StageTasks;
use crate::topology::{self, Parts, Row};

const STAGES: &str = "stages";

impl StagesConfig {
    /// Starts the tasks of the stages that are roles of this process.
    pub(super) async fn start(
        &self,
        base: &mut Base<'_>,
        store: Option<Arc<dyn MessageSink>>,
        members: MembershipSource,
    ) -> Result<(), ProcessError> {
        let mut rows = topology::tasks(self.fuse());
        for &row in &rows {
            second_is_not_alone(row, base)?;
        }
        rows.retain(|row| base.runs(Role::of(*row)));
        if rows.is_empty() {
            return Ok(());
        }
        for &row in &rows {
            nothing_waits_between(row, &*base.log).await?;
        }
        let config = base.config;
        let parts = Parts {
            dedupe_window_ms: i64::try_from(dedupe_memory(config.resend_window()).as_millis()).unwrap_or(i64::MAX),
            first_instance: config.first_instance_id(),
            store,
            persist_tasks_max: store::persist_tasks_max(config),
            presence: base.presence.clone(),
            members,
            large_group: stages::large_group::Config::default(),
        };
        // Names the members of groups: that no two processes have it, `runner::instance` sees to.
        let instance = config.instance.to_string();
        let (log, clock) = (base.log.clone(), base.clock.clone());
        let context = TaskContext { log, clock, config: config.runner(), instance };
        let stop = base.supervisor.stop_of(Layer::Chain);
        let mut tasks = StageTasks::new(context, self.tasks_per_stage, stop);
        for row in rows {
            row.start(&parts, &mut tasks);
        }
        base.supervisor.start(Layer::Chain, STAGES, |stop| async move {
            while let Some(ended) = tasks.ended().await {
                ended?;
            }
            // All have ended since they were told to.
            stop.cancelled().await;
            Ok::<_, RunError>(())
        });
        Ok(())
    }
}

/// Fused stages do not read the topic between them: what an earlier run of both apart left there would stay.
async fn nothing_waits_between(row: &dyn Row, log: &dyn Log) -> Result<(), ProcessError> {
    let Some(second) = row.second() else { return Ok(()) };
    let (group, between) = (second.name(), second.input());
    let lag = log.lag(group, between).await.map_err(start_error(STAGES))?;
    let records = lag.iter().map(|partition| partition.records).sum();
    if records == 0 {
        return Ok(());
    }
    Err(ProcessError::Waiting { records, topic: between.name, group, setting: setting_of(row, second) })
}

/// The second of two fused stages has no tasks: a process that has its role alone would do nothing.
fn second_is_not_alone(row: &dyn Row, base: &Base<'_>) -> Result<(), ProcessError> {
    match row.second() {
        Some(second) if base.runs(Role::of(second)) && !base.runs(Role::of(row)) => Err(ProcessError::RunsWithFirst {
            first: row.name(),
            second: second.name(),
            setting: setting_of(row, second),
        }),
        _ => Ok(()),
    }
}

/// The environment variable that fuses two stages or parts them.
fn setting_of(first: &dyn Row, second: &dyn Row) -> String {
    format!("GOCHAT__STAGES__FUSE_{}_AND_{}", first.name(), second.name()).to_uppercase().replace('-', "_")
}
