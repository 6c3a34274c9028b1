//! Which topics a stage is joined to: typed, so that a wrong pairing does not compile.

use schemas::avro::{AvroError, Record};
use stages::stage::{Either, Output, Stage};
use topics::catalogue::{Key, Keyed, PartitionKey, Topic, TopicSpec};
use topics::codec::Encoder;
use topics::headers::{Headers, Hop};

type Decode<T> = fn(&[u8]) -> Result<T, AvroError>;

/// Reads a record and turns it into what a stage restores from.
pub(super) type Restore<C> = Box<dyn Fn(&[u8]) -> Result<C, AvroError> + Send + Sync>;

/// Writes a stage's output to the topic, or topics, that it belongs to.
pub type Emit<T> = Box<dyn Fn(&Output<T>, &mut Encoder) -> Result<(), AvroError> + Send + Sync>;

/// Writes a change of state to its changelog, with these headers.
type EmitChange<C> = Box<dyn Fn(u32, &C, Headers, &mut Encoder) -> Result<(), AvroError> + Send + Sync>;

/// The topic that a stage reads, and how.
pub struct InputTopic<T> {
    pub spec: &'static TopicSpec,
    pub(super) decode: Decode<T>,
}

impl<T: Record> InputTopic<T> {
    /// From this topic.
    pub const fn of<K: Key>(topic: &'static Topic<K, T>) -> Self {
        Self { spec: &topic.spec, decode: T::decode }
    }
}

impl<T> Clone for InputTopic<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for InputTopic<T> {}

/// The place in the chain of a stage with these inputs, outputs and changes of state.
pub struct Wiring<I, O, C> {
    /// The consumer group.
    pub group: &'static str,
    pub input: InputTopic<I>,
    pub(super) emit: Emit<O>,
    pub(super) changelog: Changelog<C>,
    pub(super) hop: Hop,
}

/// The wiring of a stage.
pub type WiringOf<S> = Wiring<<S as Stage>::In, <S as Stage>::Out, <S as Stage>::Change>;

impl<I, O: 'static, C: 'static> Wiring<I, O, C> {
    /// A stage that reads `input` in this group; its outputs are stamped with `hop` and written by `emit`.
    pub fn new(group: &'static str, input: InputTopic<I>, hop: Hop, emit: Emit<O>, changelog: Changelog<C>) -> Self {
        Self { group, input, emit, changelog, hop }
    }

    /// This stage and then another in one task ([`Stage::then`]): read as the first, write as the second, keep the
    /// state of both.
    ///
    /// # Panics
    /// When the second restores from its input, which is then no topic: a wiring mistake.
    pub fn then<P: 'static, D: 'static>(self, next: Wiring<O, P, D>) -> Wiring<I, P, Either<C, D>> {
        let changelog = self.changelog.then(next.changelog);
        Wiring { group: self.group, input: self.input, emit: next.emit, changelog, hop: next.hop }
    }

    /// Whether outputs, changes of state and positions are committed in one transaction, exactly once: where there is
    /// state.
    pub(super) fn is_transactional(&self) -> bool {
        !self.changelog.topics.is_empty() || self.changelog.ahead.is_some()
    }
}

/// Where the changes of a stage's state are kept, and restored from.
pub struct Changelog<C> {
    /// Topics of its own, each partition beside the input's of the same number.
    pub(super) topics: Vec<ChangelogTopic<C>>,
    pub(super) emit: EmitChange<C>,
    /// The input itself: what lies ahead of the committed position is shown to the stage first.
    pub(super) ahead: Option<Restore<C>>,
}

/// A topic that a stage's state is restored from.
pub(super) struct ChangelogTopic<C> {
    pub(super) topic: &'static TopicSpec,
    pub(super) decode: Restore<C>,
}

impl<C: 'static> Changelog<C> {
    /// The stage has no state, or finds it elsewhere.
    pub fn none() -> Self {
        Self { topics: Vec::new(), emit: Box::new(|_, _, _, _| Ok(())), ahead: None }
    }

    /// The changes are the inputs that lie ahead; the stage emits none.
    pub fn input_ahead() -> Self
    where
        C: Record,
    {
        Self { ahead: Some(Box::new(C::decode)), ..Self::none() }
    }

    /// The newest record of each key is kept.
    pub fn by_key<K: Key + 'static>(topic: &'static Topic<K, C>) -> Self
    where
        C: Record + Keyed<K>,
    {
        Self::of(topic, |_, change| change.key())
    }

    /// Each change is kept for as long as the topic says.
    pub fn by_partition(topic: &'static Topic<PartitionKey, C>) -> Self
    where
        C: Record,
    {
        Self::of(topic, |partition, _| PartitionKey(partition))
    }

    fn of<K: Key + 'static>(topic: &'static Topic<K, C>, key: fn(u32, &C) -> K) -> Self
    where
        C: Record,
    {
        let topics = vec![ChangelogTopic { topic: &topic.spec, decode: Box::new(C::decode) }];
        let emit: EmitChange<C> = Box::new(move |partition, change, headers, encoder| {
            encoder.put_at(topic, partition, &key(partition, change), change, headers)
        });
        Self { topics, emit, ahead: None }
    }

    /// Both changelogs, as they are when the stages run apart.
    fn then<D: 'static>(self, next: Changelog<D>) -> Changelog<Either<C, D>> {
        assert!(next.ahead.is_none(), "a stage that restores from its input can't follow another in its task");
        let first = self.topics.into_iter().map(|topic| topic.map(Either::First));
        let second = next.topics.into_iter().map(|topic| topic.map(Either::Second));
        let (emit_first, emit_second) = (self.emit, next.emit);
        Changelog {
            topics: first.chain(second).collect(),
            emit: Box::new(move |partition, change, headers, encoder| match change {
                Either::First(change) => emit_first(partition, change, headers, encoder),
                Either::Second(change) => emit_second(partition, change, headers, encoder),
            }),
            ahead: self.ahead.map(|decode| mapped(decode, Either::First)),
        }
    }
}

impl<C: 'static> ChangelogTopic<C> {
    fn map<D: 'static>(self, into: fn(C) -> D) -> ChangelogTopic<D> {
        ChangelogTopic { topic: self.topic, decode: mapped(self.decode, into) }
    }
}

fn mapped<C: 'static, D: 'static>(decode: Restore<C>, into: fn(C) -> D) -> Restore<D> {
    Box::new(move |bytes| decode(bytes).map(into))
}

/// To a chain topic: the output stays in the partition that its input came from.
pub fn same_partition<K: Key + 'static, V: Record + Keyed<K>>(topic: &'static Topic<K, V>) -> Emit<V> {
    Box::new(move |output, encoder| {
        let (key, partition) = (output.value.key(), output.source.partition);
        encoder.put_at(topic, partition, &key, &output.value, output.headers.clone())
    })
}
