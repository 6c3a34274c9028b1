//! Writing a batch of messages: a handful of statements, whatever the number of messages.
//!
//! Its conversations are held first, in the order of their ids, and all else that it touches belongs to
//! them. So two writers of the same conversations wait for each other, but never in a circle.

use std::collections::BTreeMap;

use schemas::ids::{MessageId, Seq, UserId};
use schemas::kind::EventClass;
use schemas::records::Sequenced;

use super::Fault;
use super::rows::raised_mark_of;
use super::tables::{Tables, UserSeq};
use crate::repo::digest::{Digest, Row};
use crate::repo::model::RaisedMark;
use crate::repo::store::StoreError;

/// Writes a batch on a connection with an open transaction, and answers with the read marks that it raised.
pub(super) async fn write(tables: &mut dyn Tables, batch: &[&Sequenced]) -> Result<Vec<RaisedMark>, Fault> {
    let digest = Digest::of(batch)?;
    tables.advance_conversations(&digest).await?;
    insert_messages(tables, &digest).await?;
    for change in &digest.changes {
        apply_change(tables, change, &digest).await?;
    }
    tables.add_participants(&in_order(&digest.participants, &digest)).await?;
    tables.raise_speakers(&in_order(&digest.group_speakers, &digest)).await?;
    let raised = tables.raise_read_marks(&in_order(&digest.read_marks, &digest)).await?;
    raised.into_iter().map(raised_mark_of).collect()
}

/// By place, which is how the rows lie: neighbours are written together.
async fn insert_messages(tables: &mut dyn Tables, digest: &Digest<'_>) -> Result<(), Fault> {
    let mut rows = digest.rows.clone();
    rows.sort_unstable_by(|a, b| {
        let text = |row: &Row<'_>| &digest.conversations[row.conversation].text;
        text(a).cmp(text(b)).then(a.message.seq_id.cmp(&b.message.seq_id))
    });
    match tables.insert_messages(digest, &rows).await? {
        None => Ok(()),
        Some(refused) => Err(identity_taken(tables, digest, refused).await),
    }
}

async fn identity_taken(tables: &mut dyn Tables, digest: &Digest<'_>, id: MessageId) -> Fault {
    let Some(row) = digest.rows.iter().find(|row| row.message.message_id == id) else {
        return Fault::Unreadable(format!("message {id} where none was asked for"));
    };
    let text = &digest.conversations[row.conversation].text;
    let held = match tables.holders(id, text, row.message.seq_id).await {
        Ok(held) => held,
        Err(fault) => return fault,
    };
    let held: Vec<_> = held.iter().map(|(id, text, seq)| format!("message {id} ({text} seq {seq})")).collect();
    Fault::Store(StoreError::IdentityTaken {
        conversation: row.message.conversation_id,
        seq: row.message.seq_id,
        given: id,
        stored: held.join(" and "),
    })
}

/// Changes the target of an edit or recall: an earlier message of the same sender, forward only.
async fn apply_change(tables: &mut dyn Tables, change: &Row<'_>, digest: &Digest<'_>) -> Result<(), Fault> {
    let Some(target) = change.message.target_seq.filter(|&target| target < change.message.seq_id) else {
        return Ok(());
    };
    let conversation = &*digest.conversations[change.conversation].text;
    match change.message.kind.class() {
        EventClass::Edit => tables.edit(change, conversation, target).await,
        EventClass::Recall => tables.recall(change, conversation, target).await,
        EventClass::Message | EventClass::Reaction | EventClass::System => Ok(()),
    }
}

/// By user, then by the bytes of the conversation's id, whatever its number in this batch.
fn in_order<'d>(seqs: &BTreeMap<(UserId, usize), Seq>, digest: &'d Digest<'_>) -> Vec<UserSeq<'d>> {
    let row = |(&(user, conversation), seq): (&(UserId, usize), &Seq)| UserSeq {
        user: user.0,
        conversation: &digest.conversations[conversation].text,
        seq: seq.0,
    };
    let mut rows: Vec<_> = seqs.iter().map(row).collect();
    rows.sort_unstable_by_key(|row| (row.user, row.conversation));
    rows
}
