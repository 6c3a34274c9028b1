//! What a stage is.
//!
//! The life of a batch: [`prepare`](Stage::prepare) does its I/O (the only part that may wait);
//! [`process`](Stage::process) makes outputs and changes of state from it, synchronously and
//! deterministically; then the runner commits outputs, changes and input positions at once and calls
//! [`committed`](Stage::committed), or [`aborted`](Stage::aborted), after which state must be as if
//! the batch had never come.

use std::future::Future;

use futures::future::join;
use topics::headers::Headers;

/// A record that a stage is given.
#[derive(Debug, Clone)]
pub struct Input<T> {
    /// Where it comes from.
    pub source: Source,
    /// What travels beside it.
    pub headers: Headers,
    pub value: T,
}

/// Where a record, or what was made from it, comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Partition of the stage's input topic.
    pub partition: u32,
    /// Offset in it.
    pub offset: u64,
    /// When the log took it, ms since 1970 UTC.
    pub time_ms: i64,
}

/// A record that a stage makes.
#[derive(Debug, Clone)]
pub struct Output<T> {
    /// The input that it was made from.
    pub source: Source,
    /// What travels beside it: the input's, as a rule.
    pub headers: Headers,
    pub value: T,
}

/// Handed on to the next stage.
impl<T> From<Output<T>> for Input<T> {
    fn from(Output { source, headers, value }: Output<T>) -> Self {
        Self { source, headers, value }
    }
}

/// What a stage makes of a batch.
#[derive(Debug)]
pub struct Outputs<O, C> {
    /// Records for the next topics, in order.
    pub records: Vec<Output<O>>,
    /// Changes of state for the changelog, with the partition they belong to.
    pub changes: Vec<(u32, C)>,
}

impl<O, C> Default for Outputs<O, C> {
    fn default() -> Self {
        Self { records: Vec::new(), changes: Vec::new() }
    }
}

/// What a stage may know of its surroundings while it works on a batch.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The wall clock, ms since 1970 UTC.
    pub now_ms: i64,
    /// Ids must not carry a later time than this: the end of the instance id's lease less a margin.
    /// `None`: the instance id is not leased.
    pub ids_not_after_ms: Option<i64>,
}

/// Why a stage can't work on a batch, and what to do about it. A stage refuses no record: admission did so before the
/// client got its ack.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A service it needs is down: wait, and give it the same batch again.
    #[error("{what}")]
    Retry {
        /// What is down, and what to do if it stays down.
        what: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Going on would break a guarantee: a person has to look.
    #[error("{what}")]
    Fatal {
        what: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl StageError {
    /// A transient failure with its cause.
    pub fn retry(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Retry { what: what.into(), source: Some(source.into()) }
    }

    /// A record of a partition that the stage was never assigned: a bug of the caller.
    pub(crate) fn not_assigned(stage: &str, partition: u32) -> Self {
        let what = format!("{stage} was given a record of partition {partition}, which is not assigned to it");
        Self::Fatal { what, source: None }
    }
}

/// A function over batches, with state of its own that is kept by input partition.
pub trait Stage: Send + 'static {
    /// The records it is given.
    type In: Send + Sync + 'static;
    /// The records it makes.
    type Out: Send + 'static;
    /// The changes of its state.
    type Change: Send + 'static;

    /// Its name, and that of its role and consumer group; logs and metrics have it.
    const NAME: &'static str;

    /// Takes over a partition, with empty state. Its changes so far follow through [`restore`](Self::restore), in
    /// batches, in the order of their commits.
    fn assigned(&mut self, partition: u32);

    /// More of a partition's former changes.
    fn restore(&mut self, partition: u32, changes: Vec<Self::Change>);

    /// Gives up a partition and drops its state.
    fn revoked(&mut self, partition: u32);

    /// Does the batch's I/O: writes it, or loads what the stage does not have, in one call. May be called again with
    /// the same batch, so it must be idempotent.
    ///
    /// # Errors
    /// [`StageError`].
    fn prepare(&mut self, batch: &[Input<Self::In>]) -> impl Future<Output = Result<(), StageError>> + Send {
        let _ = batch;
        async { Ok(()) }
    }

    /// Makes outputs and changes from a batch. State changes are pending until
    /// [`committed`](Self::committed). The batch is moved in, since most stages pass records on; a retry
    /// decodes it again. After an error `out` is dropped and
    /// [`aborted`](Self::aborted) is called. The same batch, state and context give the same outputs.
    ///
    /// # Errors
    /// [`StageError`].
    fn process(
        &mut self,
        batch: Vec<Input<Self::In>>,
        out: &mut Outputs<Self::Out, Self::Change>,
        cx: &Context,
    ) -> Result<(), StageError>;

    /// The last batch is committed: keep its changes.
    fn committed(&mut self);

    /// The last batch is not committed: forget its changes.
    fn aborted(&mut self);

    /// This stage and then another in one task: one topic and one hop less.
    fn then<B>(self, next: B) -> Then<Self, B>
    where
        Self: Filter + Sized,
        B: Stage<In = Self::In>,
    {
        Then { first: self, second: next }
    }
}

/// A stage that passes on records that it was given, and makes none: another in the same task can prepare for the
/// batch while this one still does. The next stage prepares for the records left out, too.
pub trait Filter: Stage<Out = <Self as Stage>::In> {}

/// Two stages in one task. Made by [`Stage::then`].
#[derive(Debug)]
pub struct Then<A, B> {
    first: A,
    second: B,
}

/// A change of either of two fused stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Either<A, B> {
    First(A),
    Second(B),
}

impl<A, B> Stage for Then<A, B>
where
    A: Filter,
    B: Stage<In = A::In>,
{
    type In = A::In;
    type Out = B::Out;
    type Change = Either<A::Change, B::Change>;

    const NAME: &'static str = A::NAME;

    fn assigned(&mut self, partition: u32) {
        self.first.assigned(partition);
        self.second.assigned(partition);
    }

    fn restore(&mut self, partition: u32, changes: Vec<Self::Change>) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Either::First(change) => first.push(change),
                Either::Second(change) => second.push(change),
            }
        }
        self.first.restore(partition, first);
        self.second.restore(partition, second);
    }

    fn revoked(&mut self, partition: u32) {
        self.first.revoked(partition);
        self.second.revoked(partition);
    }

    async fn prepare(&mut self, batch: &[Input<Self::In>]) -> Result<(), StageError> {
        // Both to their end: what one has done must not be forgotten because the other failed.
        let (first, second) = join(self.first.prepare(batch), self.second.prepare(batch)).await;
        first.and(second)
    }

    fn process(
        &mut self,
        batch: Vec<Input<Self::In>>,
        out: &mut Outputs<Self::Out, Self::Change>,
        cx: &Context,
    ) -> Result<(), StageError> {
        let mut between = Outputs::default();
        self.first.process(batch, &mut between, cx)?;
        let handed = between.records.into_iter().map(Output::into).collect();
        let mut last = Outputs::default();
        self.second.process(handed, &mut last, cx)?;
        out.records.append(&mut last.records);
        out.changes.extend(between.changes.into_iter().map(|(p, change)| (p, Either::First(change))));
        out.changes.extend(last.changes.into_iter().map(|(p, change)| (p, Either::Second(change))));
        Ok(())
    }

    fn committed(&mut self) {
        self.first.committed();
        self.second.committed();
    }

    fn aborted(&mut self) {
        self.first.aborted();
        self.second.aborted();
    }
}
