//! A stage from beginning to end: it counts the words of each conversation, and says each new total.
//!
//! `cargo run --example word_count` drives it without a log, through a failed commit and a crash.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;

use schemas::ids::{ConversationId, UserId};
use schemas::kind::Kind;
use schemas::records::Upstream;
use stages::driver::{Driver, Fate};
use stages::stage::{Context, Input, Output, Outputs, Stage, StageError};

/// What the stage makes, and what it writes to its changelog: the words of a conversation so far.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Total {
    conversation: ConversationId,
    words: u64,
}

/// The state, by partition: a partition comes and goes as a whole.
#[derive(Default)]
struct WordCount {
    totals: HashMap<u32, HashMap<ConversationId, u64>>,
    /// What the batch in hand changed; kept on a commit, forgotten on an abort.
    pending: HashMap<(u32, ConversationId), u64>,
}

impl Stage for WordCount {
    type In = Upstream;
    type Out = Total;
    type Change = Total;

    const NAME: &'static str = "word-count";

    fn assigned(&mut self, partition: u32) {
        self.totals.insert(partition, HashMap::new());
    }

    fn restore(&mut self, partition: u32, changes: Vec<Total>) {
        let totals = self.totals.entry(partition).or_default();
        totals.extend(changes.into_iter().map(|Total { conversation, words }| (conversation, words)));
    }

    fn revoked(&mut self, partition: u32) {
        self.totals.remove(&partition);
    }

    /// The same batch, state and context give the same outputs: no clock, no randomness, no waiting.
    fn process(
        &mut self,
        batch: Vec<Input<Upstream>>,
        out: &mut Outputs<Total, Total>,
        _: &Context,
    ) -> Result<(), StageError> {
        for Input { source, headers, value } in batch {
            let (partition, conversation) = (source.partition, value.conversation_id);
            let before = self.pending.get(&(partition, conversation)).copied();
            let before = before.or_else(|| self.totals.get(&partition)?.get(&conversation).copied()).unwrap_or(0);
            let words = before + value.content.split_whitespace().count() as u64;
            self.pending.insert((partition, conversation), words);
            let total = Total { conversation, words };
            out.changes.push((partition, total.clone()));
            out.records.push(Output { source, headers, value: total });
        }
        Ok(())
    }

    fn committed(&mut self) {
        for ((partition, conversation), words) in self.pending.drain() {
            self.totals.entry(partition).or_default().insert(conversation, words);
        }
    }

    fn aborted(&mut self) {
        self.pending.clear();
    }
}

fn said(content: &str) -> Upstream {
    Upstream {
        conversation_id: ConversationId::single(UserId(1), UserId(2)),
        sender_id: UserId(1),
        client_msg_id: content.into(),
        kind: Kind::Text,
        content: content.into(),
        target_seq: None,
        remove: false,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StageError> {
    let mut driver = Driver::new(1, 1_800_000_000_000, WordCount::default);
    let totals = driver.feed_values(0, [said("good morning"), said("hello")]).await?;
    assert_eq!(totals.last().map(|total| total.words), Some(3));

    // The commit fails: the batch counts for nothing, and comes again.
    driver.next_fate(Fate::Abort);
    driver.feed_values(0, [said("how are you")]).await?;
    let totals = driver.feed_values(0, [said("how are you")]).await?;
    assert_eq!(totals.last().map(|total| total.words), Some(6));

    // The process dies: a new stage restores the state from the changelog.
    driver.crash();
    let totals = driver.feed_values(0, [said("fine")]).await?;
    assert_eq!(totals.last().map(|total| total.words), Some(7));
    println!("{totals:?}");
    Ok(())
}
