//! The dead letters of a log: all of them, those that were chosen, and summed up by reason.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::catalogue::{DEAD_LETTERS, TopicSpec};
use crate::dead_letter::{Entry, Letter};
use crate::log::{Log, LogError, Place, StartAt};
use crate::scan::Scan;

/// Most letters that a tool holds at once. Older ones are left out beyond it, and said to be.
pub const LETTERS_MAX: usize = 1_000_000;

#[derive(Debug, Default)]
pub struct DeadLetters {
    /// The letters that were chosen and not put back yet, oldest first within a partition.
    pub letters: Vec<Letter>,
    /// How many of those that were chosen have been put back.
    pub redriven: usize,
    /// Records that are no letters.
    pub foreign: usize,
    /// Letters that were chosen, but are more than [`LETTERS_MAX`].
    pub left_out: usize,
    /// Offsets that were chosen, and hold no letter.
    pub no_letters_at: BTreeSet<u64>,
}

#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Of this error class.
    pub class: Option<String>,
    pub topic: Option<&'static TopicSpec>,
    /// At this offset of `dead-letters`.
    pub offsets: Vec<u64>,
    /// In this partition of `dead-letters`.
    pub partition: Option<u32>,
}

impl Selection {
    /// Whether a letter is chosen.
    pub fn takes(&self, letter: &Letter) -> bool {
        self.class.as_ref().is_none_or(|class| *class == letter.class)
            && self.topic.is_none_or(|topic| topic == letter.topic)
            && self.partition.is_none_or(|partition| partition == letter.place.partition)
            && (self.offsets.is_empty() || self.offsets.contains(&letter.place.offset))
    }
}

impl DeadLetters {
    /// Reads all there is now.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn read(log: &dyn Log, selection: &Selection) -> Result<Self, LogError> {
        let topic = &DEAD_LETTERS.spec;
        let mut found = Self { no_letters_at: selection.offsets.iter().copied().collect(), ..Self::default() };
        let mut redriven: HashSet<Place> = HashSet::new();
        for partition in 0..log.layout().partitions(topic) {
            let end = log.bounds(topic, partition).await?.end;
            let mut scan = Scan::open(log, topic, partition, StartAt::Earliest, end).await?;
            while let Some(batch) = scan.next().await? {
                for record in batch.records {
                    let entry = Entry::read(partition, record);
                    if let Entry::Letter(letter) = &entry {
                        found.no_letters_at.remove(&letter.place.offset);
                    }
                    match entry {
                        Entry::Letter(letter) if !selection.takes(&letter) => {}
                        Entry::Letter(_) if found.letters.len() >= LETTERS_MAX => found.left_out += 1,
                        Entry::Letter(letter) => found.letters.push(*letter),
                        Entry::Redriven(offset) => {
                            redriven.insert(Place { partition, offset });
                        }
                        Entry::Foreign => found.foreign += 1,
                    }
                }
            }
        }
        let chosen = found.letters.len();
        found.letters.retain(|letter| !redriven.contains(&letter.place));
        found.redriven = chosen - found.letters.len();
        Ok(found)
    }

    /// The letters by source topic and error class.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<(&str, &str), Group<'_>> = BTreeMap::new();
        for letter in &self.letters {
            let group = groups.entry((letter.topic.name, &letter.class)).or_insert_with(|| Group::new(letter));
            group.letters += 1;
            group.first_ms = group.first_ms.min(letter.time_ms);
            group.last_ms = group.last_ms.max(letter.time_ms);
            group.tries_max = group.tries_max.max(letter.tries);
        }
        groups.into_values().collect()
    }
}

/// Letters of one source topic and error class.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// Where they came from.
    pub topic: &'static TopicSpec,
    /// What is wrong with them.
    pub class: &'a str,
    pub letters: u64,
    /// When the first was set aside, ms since 1970 UTC.
    pub first_ms: i64,
    /// When the last was.
    pub last_ms: i64,
    /// How often one of them was read in vain, at most.
    pub tries_max: u32,
    pub example: &'a Letter,
}

impl<'a> Group<'a> {
    fn new(letter: &'a Letter) -> Self {
        let (topic, class, time_ms) = (letter.topic, letter.class.as_str(), letter.time_ms);
        Self { topic, class, letters: 0, first_ms: time_ms, last_ms: time_ms, tries_max: 0, example: letter }
    }
}
