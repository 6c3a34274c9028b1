//! Reading histories: the newest messages of conversations that are not all read alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::repo::model::HistoryRange;
use stages::repo::store::{Conversations, StoreError};
use tokio::task::JoinSet;

use crate::usage::{Stopwatch, Took};
use crate::zipf::Zipf;

/// Messages in conversations, written and read by the same law.
#[derive(Debug, Clone)]
pub struct Histories {
    /// Where its randomness starts.
    pub seed: u64,
    /// Which conversation comes how often.
    pub zipf: Zipf,
    /// Bytes of content in a message.
    pub content_bytes: usize,
    /// Messages in a page.
    pub page_messages: usize,
}

/// The conversation of a number.
pub fn conversation(number: usize) -> ConversationId {
    ConversationId::Group(GroupId(1 + i64::try_from(number).unwrap_or(i64::MAX - 1)))
}

fn message(n: i64, conversation_id: ConversationId, seq: i64, content: Box<str>) -> Sequenced {
    Sequenced {
        message_id: MessageId(n),
        seq_id: Seq(seq),
        ordinal: seq,
        created_at: 1_800_000_000_000 + n,
        conversation_id,
        sender_id: UserId(1 + n % 1_000),
        client_msg_id: n.to_string().into(),
        kind: Kind::Text,
        content,
        target_seq: None,
        remove: false,
    }
}

impl Histories {
    /// So many messages of so many conversations, as id-assign numbers them.
    pub fn messages(&self, messages: u64, conversations: usize) -> impl Iterator<Item = Sequenced> + use<> {
        let (zipf, mut rng) = (self.zipf.clone(), StdRng::seed_from_u64(self.seed));
        let mut seqs = vec![0; conversations];
        let content: Box<str> = "x".repeat(self.content_bytes).into();
        (1_i64..).take(usize::try_from(messages).unwrap_or(usize::MAX)).map(move |n| {
            let number = zipf.sample(&mut rng);
            seqs[number] += 1;
            message(n, conversation(number), seqs[number], content.clone())
        })
    }

    /// So many messages of one conversation, as large as the last of `messages`.
    pub fn sample(&self, id: ConversationId, count: usize, messages: u64) -> Vec<Arc<Sequenced>> {
        let content: Box<str> = "x".repeat(self.content_bytes).into();
        let n = i64::try_from(messages).unwrap_or(i64::MAX);
        (1_i64..).take(count).map(|seq| Arc::new(message(n, id, seq, content.clone()))).collect()
    }

    /// Reads the newest page of conversations, `reads` times, by so many readers at once.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(
        self: &Arc<Self>,
        store: &Arc<impl Conversations + ?Sized>,
        reads: u64,
        readers: u64,
        seed: u64,
    ) -> Result<Took, StoreError> {
        let left = Arc::new(AtomicU64::new(reads));
        let watch = Stopwatch::start();
        let mut reading = JoinSet::new();
        for reader in 0..readers {
            let (histories, store, left) = (Arc::clone(self), Arc::clone(store), Arc::clone(&left));
            let mut rng = StdRng::seed_from_u64(seed + reader);
            reading.spawn(async move {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let id = conversation(histories.zipf.sample(&mut rng));
                    store.history(id, HistoryRange::Newest, Seq(1), histories.page_messages).await?;
                }
                Ok::<_, StoreError>(())
            });
        }
        reading.join_all().await.into_iter().collect::<Result<(), _>>()?;
        Ok(watch.took())
    }
}
