//! What an audit found: for each invariant how much was looked at, how often it was broken, and the
//! first place that contradicts it.

use std::collections::BTreeMap;
use std::fmt;

use schemas::ids::{ConversationId, Seq};
use serde_json::{Value, json};
use stages::invariants::Invariant;
use topics::catalogue::TopicSpec;

/// Where a counterexample lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Record {
        topic: &'static TopicSpec,
        partition: u32,
        offset: u64,
    },
    /// A message of the store, of which the topics hold no record any more.
    Stored {
        conversation: ConversationId,
        seq: Seq,
    },
    Topic(&'static TopicSpec),
}

impl Location {
    pub fn record(topic: &'static TopicSpec, partition: u32, offset: u64) -> Self {
        Self::Record { topic, partition, offset }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Record { topic, partition, offset } => {
                json!({"topic": topic.name, "partition": partition, "offset": offset})
            }
            Self::Stored { conversation, seq } => {
                json!({"store": true, "conversation": conversation.to_string(), "seq": seq})
            }
            Self::Topic(topic) => json!({"topic": topic.name}),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { topic, partition, offset } => {
                write!(f, "{} partition {partition} offset {offset}", topic.name)
            }
            Self::Stored { conversation, seq } => write!(f, "the store, {conversation} seq {seq}"),
            Self::Topic(topic) => f.write_str(topic.name),
        }
    }
}

/// Something that contradicts an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    pub location: Location,
    pub what: String,
}

/// What was found of one invariant.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// How many records, rows or partitions were judged by it. 0 proves nothing.
    pub looked_at: u64,
    /// How many contradict it.
    pub violations: u64,
    pub first: Option<Counterexample>,
    /// Why there was nothing, or less than there might be, to look at.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Findings(BTreeMap<Invariant, Verdict>);

impl Default for Findings {
    fn default() -> Self {
        Self(Invariant::ALL.into_iter().map(|invariant| (invariant, Verdict::default())).collect())
    }
}

impl Findings {
    /// So much was judged by an invariant.
    pub fn looked_at(&mut self, invariant: Invariant, count: u64) {
        self.of_mut(invariant).looked_at += count;
    }

    pub fn broken(&mut self, invariant: Invariant, location: Location, what: String) {
        let verdict = self.of_mut(invariant);
        verdict.violations += 1;
        verdict.first.get_or_insert(Counterexample { location, what });
    }

    /// Whether an invariant is broken already: what costs a search is looked for once.
    pub fn is_broken(&self, invariant: Invariant) -> bool {
        self.0.get(&invariant).is_some_and(|verdict| verdict.violations > 0)
    }

    /// Why less was looked at; said once.
    pub fn note(&mut self, invariant: Invariant, why: impl Into<String>) {
        let (notes, why) = (&mut self.of_mut(invariant).notes, why.into());
        if !notes.contains(&why) {
            notes.push(why);
        }
    }

    pub fn verdicts(&self) -> impl Iterator<Item = (Invariant, &Verdict)> {
        self.0.iter().map(|(invariant, verdict)| (*invariant, verdict))
    }

    /// Whether nothing contradicts any of them.
    pub fn hold(&self) -> bool {
        self.0.values().all(|verdict| verdict.violations == 0)
    }

    fn of_mut(&mut self, invariant: Invariant) -> &mut Verdict {
        self.0.entry(invariant).or_default()
    }

    /// `{holds, invariants: [{invariant, meaning, holds, looked_at, violations, counterexample, notes}]}`.
    pub fn to_json(&self) -> Value {
        let one = |(invariant, verdict): (Invariant, &Verdict)| {
            let first = verdict.first.as_ref().map(|c| json!({"at": c.location.to_json(), "what": c.what}));
            json!({
                "invariant": invariant.name(), "meaning": invariant.meaning(), "holds": verdict.violations == 0,
                "looked_at": verdict.looked_at, "violations": verdict.violations, "counterexample": first,
                "notes": verdict.notes,
            })
        };
        json!({"holds": self.hold(), "invariants": self.verdicts().map(one).collect::<Vec<_>>()})
    }
}
