//! What a stage is.
//!
//! The life of a batch: [`prepare`](Stage::prepare) loads what is missing (the only part that may
//! wait), [`process`](Stage::process) makes outputs and changes of state from it, synchronously and
//! deterministically; then the runner commits outputs, changes and input positions at once and calls
//! [`committed`](Stage::committed), or [`aborted`](Stage::aborted), after which state must be as if
//! the batch had never come.

use std::future::Future;

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

/// What a stage may know of the world while it works on a batch.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The wall clock, ms since 1970 UTC.
    pub now_ms: i64,
    /// Ids must not carry a later time than this: the end of the instance id's lease less a margin.
    /// `None`: the instance id is not leased.
    pub ids_not_after_ms: Option<i64>,
}

/// Why a stage can't work on a batch, and what to do about it. There is no third way: what a stage
/// could refuse was refused before the client got its ack.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Something it needs is away: wait, and give it the same batch again.
    #[error("{what}")]
    Retry {
        /// What is away, and what to do if it stays so.
        what: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Going on would break a guarantee: a person has to look.
    #[error("{what}")]
    Fatal {
        /// What is wrong.
        what: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl StageError {
    /// A passing failure with its cause.
    pub fn retry(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Retry { what: what.into(), source: Some(source.into()) }
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

    /// The name in configuration, logs and metrics.
    fn name(&self) -> &'static str;

    /// Takes over a partition whose changes so far, in the order they were committed, come in
    /// batches through [`restore`](Self::restore). Starts from nothing.
    fn assigned(&mut self, partition: u32);

    /// More of a partition's former changes.
    fn restore(&mut self, partition: u32, changes: Vec<Self::Change>);

    /// Gives up a partition and all state of it.
    fn revoked(&mut self, partition: u32);

    /// Loads what the batch needs and the stage does not have, in one call. May be called again with
    /// the same batch, so it must be idempotent.
    ///
    /// # Errors
    /// [`StageError`].
    fn prepare(&mut self, batch: &[Input<Self::In>]) -> impl Future<Output = Result<(), StageError>> + Send {
        let _ = batch;
        async { Ok(()) }
    }

    /// Makes outputs and changes from a batch. State changes are pending until
    /// [`committed`](Self::committed). The batch is moved in, since most stages pass records on; a runner
    /// that works it again reads it again. After an error `out` is thrown away and
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

    /// What the last batch changed is committed: keep it.
    fn committed(&mut self);

    /// What the last batch changed is not committed: forget it.
    fn aborted(&mut self);

    /// This stage and then another in one task: the same stages, one hop less.
    fn then<B>(self, next: B) -> Then<Self, B>
    where
        Self: Sized,
        B: Stage<In = Self::Out> + Synchronous,
    {
        Then { first: self, second: next }
    }
}

/// A stage that needs no [`prepare`](Stage::prepare): it can follow another in the same task.
pub trait Synchronous {}

/// Two stages in one task. Made by [`Stage::then`].
#[derive(Debug)]
pub struct Then<A, B> {
    first: A,
    second: B,
}

/// A change of either of two fused stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Either<A, B> {
    /// Of the first.
    First(A),
    /// Of the second.
    Second(B),
}

impl<A, B> Stage for Then<A, B>
where
    A: Stage,
    B: Stage<In = A::Out> + Synchronous,
{
    type In = A::In;
    type Out = B::Out;
    type Change = Either<A::Change, B::Change>;

    fn name(&self) -> &'static str {
        self.first.name()
    }

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
        self.first.prepare(batch).await
    }

    fn process(
        &mut self,
        batch: Vec<Input<Self::In>>,
        out: &mut Outputs<Self::Out, Self::Change>,
        cx: &Context,
    ) -> Result<(), StageError> {
        let mut between = Outputs::default();
        self.first.process(batch, &mut between, cx)?;
        let handed: Vec<_> = between
            .records
            .into_iter()
            .map(|Output { source, headers, value }| Input { source, headers, value })
            .collect();
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
