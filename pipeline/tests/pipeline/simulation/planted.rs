//! Bugs that are put around the real stages and the simulated log, to see that the simulation finds
//! them.

use std::collections::HashSet;
use std::sync::Arc;

use pipeline::tasks::StageTasks;
use pipeline::topology::{DEDUPE, FAN_OUT, Fuse, ID_ASSIGN, LARGE_GROUP, PERSIST, Parts, Place, Row};
use schemas::ids::{ConversationId, Seq};
use schemas::records::{Sequenced, Upstream};
use stages::dedupe::Dedupe;
use stages::fan_out::FanOut;
use stages::id_assign::IdAssign;
use stages::large_group::LargeGroup;
use stages::persist::Persist;
use stages::stage::{Context, Either, Input, Outputs, Stage, StageError};
use topics::log::Log;

use super::broker::Broker;
use super::planted_log::{FlawedLog, LogFlaw};
use super::process::Stand;
use super::store::Rows;
use super::world::Process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A stage commits its position and then its outputs.
    CommitBeforeOutput(&'static str),
    /// A stage's outputs, positions and changelog are not one transaction.
    NoTransactions(&'static str),
    /// A stage's changelog is written after its outputs and position.
    ChangelogApart,
    /// A new owner looks up the changelog's end before the position.
    ChangelogBeforePosition,
    /// Ids are given first, and repeats dropped then.
    IdBeforeDedupe,
    /// The store says yes before it has written.
    PositionBeforeStore,
    /// Persist passes on only what it wrote itself.
    RepeatsHeldBack,
    /// A stage keeps what a batch changed although the commit failed.
    StateKeptOnAbort(&'static str),
    /// A stage starts anew with nothing restored.
    NothingRestored(&'static str),
    /// Dedupe counts its window by its own clock.
    WindowByWallClock,
    /// Fan-out forgets the last message of a batch.
    TailForgotten,
    /// Large-group, worked again after a failure, forgets the next page.
    ContinuationLost,
    /// No bug: the first machine's stages are slow to take over, and find that the second one's have.
    SlowToTakeOver,
    /// No bug: the first stage is told of positions that are not the newest, and that open transactions may
    /// change.
    PositionsSetBack,
    /// Both machines make ids under one instance id.
    OneInstanceIdForTwo,
}

impl Planted {
    /// Which stages share a task: as the bug needs it, else as given.
    pub fn fuse(self, given: Fuse) -> Fuse {
        let first = |dedupe_and_id_assign| Fuse { dedupe_and_id_assign, ..given };
        let apart = Fuse { persist_and_fan_out: false, ..given };
        match self {
            Self::IdBeforeDedupe | Self::PositionsSetBack => first(true),
            Self::StateKeptOnAbort(_) | Self::NothingRestored(_) | Self::WindowByWallClock => first(false),
            Self::RepeatsHeldBack | Self::TailForgotten => apart,
            Self::CommitBeforeOutput(of) if of == FanOut::NAME => apart,
            Self::CommitBeforeOutput(_)
            | Self::NoTransactions(_)
            | Self::SlowToTakeOver
            | Self::ChangelogApart
            | Self::ChangelogBeforePosition
            | Self::PositionBeforeStore
            | Self::ContinuationLost
            | Self::OneInstanceIdForTwo => given,
        }
    }

    /// What is wrong with the log that a stage is given.
    fn log_flaw(self, process: Process) -> Option<LogFlaw> {
        match self {
            Self::CommitBeforeOutput(of) => (of == process.stage).then_some(LogFlaw::CommitBeforeOutput),
            Self::NoTransactions(of) => (of == process.stage).then_some(LogFlaw::NoTransactions),
            Self::SlowToTakeOver => (process.machine == 0).then_some(LogFlaw::SlowToTakeOver),
            Self::ChangelogApart => Some(LogFlaw::ChangelogApart),
            Self::ChangelogBeforePosition => Some(LogFlaw::ChangelogBeforePosition),
            Self::PositionsSetBack => (process.stage == Dedupe::NAME).then_some(LogFlaw::PositionsSetBack),
            Self::IdBeforeDedupe
            | Self::PositionBeforeStore
            | Self::RepeatsHeldBack
            | Self::StateKeptOnAbort(_)
            | Self::NothingRestored(_)
            | Self::WindowByWallClock
            | Self::TailForgotten
            | Self::ContinuationLost
            | Self::OneInstanceIdForTwo => None,
        }
    }

    /// What is wrong with a stage, where it is wrong inside.
    fn stage_flaw(self, stage: &str) -> Option<Flaw> {
        let (of, flaw) = match self {
            Self::StateKeptOnAbort(of) => (of, Flaw::StateKeptOnAbort),
            Self::NothingRestored(of) => (of, Flaw::NothingRestored),
            Self::WindowByWallClock => (Dedupe::NAME, Flaw::WallClock),
            Self::TailForgotten => (FanOut::NAME, Flaw::TailForgotten),
            Self::ContinuationLost => (LargeGroup::NAME, Flaw::LastLostAfterAbort),
            Self::CommitBeforeOutput(_)
            | Self::NoTransactions(_)
            | Self::SlowToTakeOver
            | Self::PositionsSetBack
            | Self::ChangelogApart
            | Self::ChangelogBeforePosition
            | Self::IdBeforeDedupe
            | Self::PositionBeforeStore
            | Self::RepeatsHeldBack
            | Self::OneInstanceIdForTwo => return None,
        };
        (of == stage).then_some(flaw)
    }
}

/// The log of a process, with the bug around it if it is one of the log.
pub fn log(planted: Option<Planted>, process: Process, log: Arc<dyn Log>, broker: &Arc<Broker>) -> Arc<dyn Log> {
    match planted.and_then(|planted| planted.log_flaw(process)) {
        Some(flaw) => Arc::new(FlawedLog::new(log, Arc::clone(broker), process, flaw)),
        None => log,
    }
}

/// Starts a stage as the product does, or with the bug around it if it is one of this stage.
pub fn start(stand: &Stand, row: &'static dyn Row, parts: &Parts, tasks: &mut StageTasks) {
    let planted = stand.planted;
    let flaw = planted.and_then(|planted| planted.stage_flaw(row.name()));
    let all = parts.clone();
    match (row.name(), flaw) {
        (Dedupe::NAME, _) if planted == Some(Planted::IdBeforeDedupe) => {
            let id_first = move |task| IdFirst { dedupe: (DEDUPE.make)(&all, task), ids: (ID_ASSIGN.make)(&all, task) };
            tasks.start(1, id_first, DEDUPE.wiring().then(ID_ASSIGN.wiring()));
        }
        (Persist::NAME, _) if planted == Some(Planted::RepeatsHeldBack) => {
            let rows = Arc::clone(&stand.rows);
            let held_back =
                move |task| NewOnly { persist: (PERSIST.make)(&all, task), rows: rows.clone(), known: HashSet::new() };
            tasks.start(1, held_back, PERSIST.wiring());
        }
        (Dedupe::NAME, Some(flaw)) => start_flawed(&DEDUPE, flaw, all, tasks),
        (IdAssign::NAME, Some(flaw)) => start_flawed(&ID_ASSIGN, flaw, all, tasks),
        (FanOut::NAME, Some(flaw)) => start_flawed(&FAN_OUT, flaw, all, tasks),
        (LargeGroup::NAME, Some(flaw)) => start_flawed(&LARGE_GROUP, flaw, all, tasks),
        (_, _) => row.start(parts, tasks),
    }
}

fn start_flawed<S: Stage>(place: &'static Place<S>, flaw: Flaw, parts: Parts, tasks: &mut StageTasks) {
    let make = move |task| Flawed { stage: (place.make)(&parts, task), flaw, was_aborted: false };
    tasks.start(1, make, place.wiring());
}

/// What is wrong with a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    StateKeptOnAbort,
    NothingRestored,
    WallClock,
    TailForgotten,
    LastLostAfterAbort,
}

/// A stage with something wrong around it.
struct Flawed<S> {
    stage: S,
    flaw: Flaw,
    was_aborted: bool,
}

impl<S: Stage> Stage for Flawed<S> {
    type In = S::In;
    type Out = S::Out;
    type Change = S::Change;

    const NAME: &str = S::NAME;

    fn assigned(&mut self, partition: u32) {
        self.stage.assigned(partition);
    }

    fn restore(&mut self, partition: u32, changes: Vec<S::Change>) {
        if self.flaw != Flaw::NothingRestored {
            self.stage.restore(partition, changes);
        }
    }

    fn revoked(&mut self, partition: u32) {
        self.stage.revoked(partition);
    }

    async fn prepare(&mut self, batch: &[Input<S::In>]) -> Result<(), StageError> {
        self.stage.prepare(batch).await
    }

    fn process(
        &mut self,
        mut batch: Vec<Input<S::In>>,
        out: &mut Outputs<S::Out, S::Change>,
        cx: &Context,
    ) -> Result<(), StageError> {
        if self.flaw == Flaw::WallClock {
            batch.iter_mut().for_each(|input| input.source.time_ms = cx.now_ms);
        }
        let records = batch.len();
        self.stage.process(batch, out, cx)?;
        let forgets = match self.flaw {
            Flaw::TailForgotten => records > 1,
            Flaw::LastLostAfterAbort => self.was_aborted,
            Flaw::StateKeptOnAbort | Flaw::NothingRestored | Flaw::WallClock => false,
        };
        if forgets {
            out.records.pop();
        }
        Ok(())
    }

    fn committed(&mut self) {
        self.was_aborted = false;
        self.stage.committed();
    }

    fn aborted(&mut self) {
        self.was_aborted = true;
        if self.flaw == Flaw::StateKeptOnAbort { self.stage.committed() } else { self.stage.aborted() }
    }
}

/// The two stages in the wrong order: a repeat is dropped after it took a seq.
struct IdFirst {
    dedupe: Dedupe,
    ids: IdAssign,
}

impl Stage for IdFirst {
    type In = Upstream;
    type Out = Sequenced;
    type Change = Either<<Dedupe as Stage>::Change, <IdAssign as Stage>::Change>;

    const NAME: &str = "id-first";

    fn assigned(&mut self, partition: u32) {
        self.dedupe.assigned(partition);
        self.ids.assigned(partition);
    }

    fn restore(&mut self, partition: u32, changes: Vec<Self::Change>) {
        for change in changes {
            match change {
                Either::First(window) => self.dedupe.restore(partition, vec![window]),
                Either::Second(head) => self.ids.restore(partition, vec![head]),
            }
        }
    }

    fn revoked(&mut self, partition: u32) {
        self.dedupe.revoked(partition);
        self.ids.revoked(partition);
    }

    fn process(
        &mut self,
        batch: Vec<Input<Upstream>>,
        out: &mut Outputs<Sequenced, Self::Change>,
        cx: &Context,
    ) -> Result<(), StageError> {
        let mut identified = Outputs::default();
        self.ids.process(batch.clone(), &mut identified, cx)?;
        let mut kept = Outputs::default();
        self.dedupe.process(batch, &mut kept, cx)?;
        let places: HashSet<_> = kept.records.iter().map(|o| (o.source.partition, o.source.offset)).collect();
        identified.records.retain(|output| places.contains(&(output.source.partition, output.source.offset)));
        out.records.append(&mut identified.records);
        out.changes.extend(kept.changes.into_iter().map(|(p, change)| (p, Either::First(change))));
        out.changes.extend(identified.changes.into_iter().map(|(p, change)| (p, Either::Second(change))));
        Ok(())
    }

    fn committed(&mut self) {
        self.dedupe.committed();
        self.ids.committed();
    }

    fn aborted(&mut self) {
        self.dedupe.aborted();
        self.ids.aborted();
    }
}

/// Persist, holding back what the store had before this try.
struct NewOnly {
    persist: Persist,
    rows: Arc<Rows>,
    known: HashSet<(ConversationId, Seq)>,
}

impl Stage for NewOnly {
    type In = Sequenced;
    type Out = Sequenced;
    type Change = ();

    const NAME: &str = Persist::NAME;

    fn assigned(&mut self, partition: u32) {
        self.persist.assigned(partition);
    }

    fn restore(&mut self, partition: u32, changes: Vec<()>) {
        self.persist.restore(partition, changes);
    }

    fn revoked(&mut self, partition: u32) {
        self.persist.revoked(partition);
    }

    async fn prepare(&mut self, batch: &[Input<Sequenced>]) -> Result<(), StageError> {
        let places = batch.iter().map(|input| (input.value.conversation_id, input.value.seq_id));
        self.known = places.filter(|&(conversation, seq)| self.rows.has(conversation, seq)).collect();
        self.persist.prepare(batch).await
    }

    fn process(
        &mut self,
        batch: Vec<Input<Sequenced>>,
        out: &mut Outputs<Sequenced, ()>,
        cx: &Context,
    ) -> Result<(), StageError> {
        self.persist.process(batch, out, cx)?;
        out.records.retain(|output| !self.known.contains(&(output.value.conversation_id, output.value.seq_id)));
        Ok(())
    }

    fn committed(&mut self) {
        self.persist.committed();
    }

    fn aborted(&mut self) {
        self.persist.aborted();
    }
}
