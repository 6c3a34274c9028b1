//! Bugs that are put around the real stages and the simulated log, to see that the simulation finds
//! them.

use std::collections::HashSet;
use std::sync::Arc;

use pipeline::tasks::StageTasks;
use pipeline::topology::{DEDUPE, FAN_OUT, Fuse, ID_ASSIGN, LARGE_GROUP, PERSIST, Parts, Place, Row};
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
use super::world::Process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Something is wrong with the log that this stage is given; without a name, that every stage is given.
    Log(LogFlaw, Option<&'static str>),
    /// Something is wrong with this stage.
    Stage(Flaw, &'static str),
    /// Ids are given first, and repeats dropped then.
    IdBeforeDedupe,
    /// The store says yes before it has written.
    PositionBeforeStore,
    /// Both machines make ids under one instance id.
    OneInstanceIdForTwo,
}

impl Planted {
    /// Which stages share a task: as the bug needs it, else as given.
    pub fn fuse(self, given: Fuse) -> Fuse {
        let first = |dedupe_and_id_assign| Fuse { dedupe_and_id_assign, ..given };
        match self {
            Self::IdBeforeDedupe | Self::Log(LogFlaw::PositionsSetBack, _) => first(true),
            Self::Stage(_, Dedupe::NAME | IdAssign::NAME) => first(false),
            Self::Stage(_, Persist::NAME | FanOut::NAME)
            | Self::Log(LogFlaw::CommitBeforeOutput, Some(FanOut::NAME)) => {
                Fuse { persist_and_fan_out: false, ..given }
            }
            Self::Stage(_, _) | Self::Log(_, _) | Self::PositionBeforeStore | Self::OneInstanceIdForTwo => given,
        }
    }
}

/// The log of a process, with the bug around it if it is one of the log.
pub fn log(planted: Option<Planted>, process: Process, log: Arc<dyn Log>, broker: &Arc<Broker>) -> Arc<dyn Log> {
    match planted {
        Some(Planted::Log(flaw, of)) if of.is_none_or(|of| of == process.stage) => {
            Arc::new(FlawedLog::new(log, Arc::clone(broker), process, flaw))
        }
        Some(_) | None => log,
    }
}

/// Starts a stage as the product does, or with the bug around it if it is one of this stage.
pub fn start(stand: &Stand, row: &'static dyn Row, parts: &Parts, tasks: &mut StageTasks) {
    let all = parts.clone();
    match (row.name(), stand.planted) {
        (Dedupe::NAME, Some(Planted::IdBeforeDedupe)) => {
            let id_first = move |task| IdFirst { dedupe: (DEDUPE.make)(&all, task), ids: (ID_ASSIGN.make)(&all, task) };
            tasks.start(1, id_first, DEDUPE.wiring().then(ID_ASSIGN.wiring()));
        }
        (name, Some(Planted::Stage(flaw, of))) if name == of => match name {
            Dedupe::NAME => start_flawed(&DEDUPE, flaw, all, tasks, |_| false),
            IdAssign::NAME => start_flawed(&ID_ASSIGN, flaw, all, tasks, |_| false),
            Persist::NAME => {
                let rows = Arc::clone(&stand.rows);
                let is_known = move |message: &Sequenced| rows.has(message.conversation_id, message.seq_id);
                start_flawed(&PERSIST, flaw, all, tasks, is_known);
            }
            FanOut::NAME => start_flawed(&FAN_OUT, flaw, all, tasks, |_| false),
            LargeGroup::NAME => start_flawed(&LARGE_GROUP, flaw, all, tasks, |_| false),
            other => unreachable!("{other} is no stage"),
        },
        (_, _) => row.start(parts, tasks),
    }
}

/// Starts a stage with something wrong around it; `is_known` tells what the stage's view holds already.
fn start_flawed<S: Stage>(
    place: &'static Place<S>,
    flaw: Flaw,
    parts: Parts,
    tasks: &mut StageTasks,
    is_known: impl Fn(&S::In) -> bool + Clone + Send + Sync + 'static,
) {
    let make = move |task| Flawed {
        stage: (place.make)(&parts, task),
        flaw,
        was_aborted: false,
        is_known: Box::new(is_known.clone()),
        known: HashSet::new(),
    };
    tasks.start(1, make, place.wiring());
}

/// What is wrong with a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// What a batch changed is kept although the commit failed.
    StateKeptOnAbort,
    /// After a restart it has no state: what its changelog holds is not given back to it.
    NothingRestored,
    /// It counts time by its own clock.
    WallClock,
    /// It forgets the last output of a batch.
    TailForgotten,
    /// Worked again after a failure, it forgets the last output.
    LastLostAfterAbort,
    /// It passes on only what it wrote itself.
    RepeatsHeldBack,
}

/// Whether the store had a record before this try.
type IsKnown<I> = Box<dyn Fn(&I) -> bool + Send + Sync>;

/// A stage with something wrong around it.
struct Flawed<S: Stage> {
    stage: S,
    flaw: Flaw,
    was_aborted: bool,
    is_known: IsKnown<S::In>,
    /// Where the inputs lie that were known before this try.
    known: HashSet<(u32, u64)>,
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
        let known = batch.iter().filter(|input| (self.is_known)(&input.value));
        self.known = known.map(|input| (input.source.partition, input.source.offset)).collect();
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
            Flaw::StateKeptOnAbort | Flaw::NothingRestored | Flaw::WallClock | Flaw::RepeatsHeldBack => false,
        };
        if forgets {
            out.records.pop();
        }
        if self.flaw == Flaw::RepeatsHeldBack {
            out.records.retain(|output| !self.known.contains(&(output.source.partition, output.source.offset)));
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
