//! Which topics a stage is joined to: typed, so that a wrong pairing does not compile.

use schemas::avro::{AvroError, Record};
use stages::stage::{Output, Stage};
use topics::catalogue::{Key, Keyed, Topic, TopicSpec};
use topics::codec::Encoder;
use topics::headers::{Headers, Hop};

type Decode<T> = fn(&[u8]) -> Result<T, AvroError>;

/// Reads a record and turns it into what a stage restores from.
type Restore<C> = Box<dyn Fn(&[u8]) -> Result<C, AvroError> + Send + Sync>;

/// Writes a stage's output to the topic, or topics, that it belongs to.
pub type Emit<T> = Box<dyn Fn(&Output<T>, &mut Encoder) -> Result<(), AvroError> + Send + Sync>;

/// Writes a change of state to its changelog, with these headers.
type EmitChange<C> = Box<dyn Fn(u32, &C, Headers, &mut Encoder) -> Result<(), AvroError> + Send + Sync>;

/// A stage's place in the chain.
pub struct Wiring<S: Stage> {
    /// Its consumer group.
    pub group: &'static str,
    /// Its input topic.
    pub input: &'static TopicSpec,
    pub(super) decode: Decode<S::In>,
    pub(super) emit: Emit<S::Out>,
    pub(super) changelog: Changelog<S::Change>,
    pub(super) hop: Hop,
    pub(super) transactional: bool,
}

/// Where the changes of a stage's state are kept.
pub enum Changelog<C> {
    /// It has none.
    None,
    /// In topics of their own, each partition beside the input's of the same number.
    Topics {
        /// What to restore from.
        topics: Vec<ChangelogTopic<C>>,
        /// What to write changes with.
        emit: EmitChange<C>,
    },
    /// In the input itself: what lies ahead of the committed position is shown to the stage first.
    InputAhead(Decode<C>),
}

/// A topic that a stage's state is restored from.
pub struct ChangelogTopic<C> {
    pub(super) topic: &'static TopicSpec,
    pub(super) decode: Restore<C>,
}

impl<C> ChangelogTopic<C> {
    /// A changelog whose records become changes by `into`.
    pub fn new<K: Key, V: Record>(topic: &'static Topic<K, V>, into: fn(V) -> C) -> Self
    where
        C: 'static,
    {
        Self { topic: &topic.spec, decode: Box::new(move |bytes| V::decode(bytes).map(into)) }
    }
}

impl<S: Stage> Wiring<S> {
    /// A stage that reads `input` and whose every commit is one transaction if `transactional`.
    pub fn new<K: Key>(group: &'static str, input: &'static Topic<K, S::In>, hop: Hop, emit: Emit<S::Out>) -> Self
    where
        S::In: Record,
    {
        let (input, decode) = (&input.spec, S::In::decode);
        Self { group, input, decode, emit, changelog: Changelog::None, hop, transactional: false }
    }

    /// With state that is committed together with outputs and positions, exactly once.
    pub fn transactional(self, changelog: Changelog<S::Change>) -> Self {
        Self { changelog, transactional: true, ..self }
    }
}

/// To a chain topic: the output stays in the partition that its input came from.
pub fn along<K: Key + 'static, V: Record + Keyed<K>>(topic: &'static Topic<K, V>) -> Emit<V> {
    Box::new(move |output, encoder| {
        let (key, partition) = (output.value.key(), output.source.partition);
        encoder.put_at(topic, partition, &key, &output.value, output.headers.clone())
    })
}
