//! Writing a batch of messages: a handful of statements, whatever the number of messages.
//!
//! Its conversations are held first, in the order of their ids, and all else that it touches belongs to
//! them. So two writers of the same conversations wait for each other, but never in a circle.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemas::ids::{MessageId, Seq, UserId};
use schemas::kind::EventClass;
use schemas::records::Sequenced;

use super::fault::Fault;
use super::rows::raised_mark_of;
use super::session::{Session, values};
use super::statement::Statement;
use super::tables::UserSeq;
use crate::repo::digest::{Digest, Row};
use crate::repo::model::RaisedMark;
use crate::repo::store::StoreError;

impl Session<'_> {
    /// Writes a batch in an open transaction, and answers with the read marks that it raised.
    pub(super) async fn write_batch(&mut self, batch: &[&Sequenced]) -> Result<Vec<RaisedMark>, Fault> {
        let digest = Digest::of(batch)?;
        self.batches().advance_conversations(&digest).await?;
        self.insert_messages(&digest).await?;
        for change in &digest.changes {
            self.apply_change(change, &digest).await?;
        }
        let tables = self.batches();
        tables.add_participants(&in_order(&digest.participants, &digest)).await?;
        tables.raise_speakers(&in_order(&digest.group_speakers, &digest)).await?;
        let raised = tables.raise_read_marks(&in_order(&digest.read_marks, &digest)).await?;
        raised.into_iter().map(raised_mark_of).collect()
    }

    /// By place, which is how the rows lie: neighbours are written together. What was removed stays so: a repeat does
    /// not bring it back, and what comes to be about it is blank.
    async fn insert_messages(&mut self, digest: &Digest<'_>) -> Result<(), Fault> {
        let text = |row: &Row<'_>| &*digest.conversations[row.conversation].text;
        let retired = self.retired(digest).await?;
        let is_retired = |row: &Row<'_>, seq: Seq| retired.get(text(row)).is_some_and(|&to| seq.0 <= to);
        let mut rows = digest.rows.clone();
        rows.retain(|row| !is_retired(row, row.message.seq_id));
        rows.sort_unstable_by(|a, b| text(a).cmp(text(b)).then(a.message.seq_id.cmp(&b.message.seq_id)));
        if let Some(refused) = self.batches().insert_messages(digest, &rows).await? {
            return Err(self.identity_taken(digest, refused).await?);
        }
        let about = rows.iter().filter_map(|row| Some((row, row.message.target_seq?)));
        let late = about.filter(|&(row, target)| is_retired(row, target));
        let late: BTreeSet<_> = late.map(|(row, target)| (text(row), target.0)).collect();
        if !late.is_empty() {
            let (texts, seqs): (Vec<_>, Vec<_>) = late.into_iter().unzip();
            self.removals().blank_what_is_about(&texts, &seqs).await?;
        }
        Ok(())
    }

    /// Up to where messages were removed, in the conversations where the batch reaches back so far.
    async fn retired(&mut self, digest: &Digest<'_>) -> Result<HashMap<String, i64>, Fault> {
        let back = digest.conversations.iter().filter_map(|c| Some((&*c.text, c.tip?.reaches_back.0)));
        let (texts, seqs): (Vec<_>, Vec<_>) = back.unzip();
        if texts.is_empty() {
            return Ok(HashMap::new());
        }
        Ok(self.removals().retired_from(&texts, &seqs).await?.into_iter().collect())
    }

    async fn identity_taken(&mut self, digest: &Digest<'_>, id: MessageId) -> Result<Fault, Fault> {
        let Some(row) = digest.rows.iter().find(|row| row.message.message_id == id) else {
            return Ok(Fault::Unreadable(format!("message {id} where none was asked for")));
        };
        let held = self.holders(id, &digest.conversations[row.conversation].text, row.message.seq_id).await?;
        let held: Vec<_> = held.iter().map(|(id, text, seq)| format!("message {id} ({text} seq {seq})")).collect();
        Ok(Fault::Store(StoreError::IdentityTaken {
            conversation: row.message.conversation_id,
            seq: row.message.seq_id,
            given: id,
            stored: held.join(" and "),
        }))
    }

    /// The messages that hold this id or this place: id, conversation, seq.
    pub async fn holders(
        &mut self,
        id: MessageId,
        conversation: &str,
        seq: Seq,
    ) -> Result<Vec<(i64, String, i64)>, Fault> {
        static SELECT: Statement = Statement::new(
            "SELECT message_id, conversation_id, seq_id FROM messages WHERE message_id = $1 \
             UNION SELECT message_id, conversation_id, seq_id FROM messages WHERE conversation_id = $2 AND seq_id = $3",
        );
        Ok(self.rows(&SELECT, values![id.0, conversation, seq.0]).await?)
    }

    /// Changes the target of an edit or recall: an earlier message of the same sender, forward only.
    async fn apply_change(&mut self, change: &Row<'_>, digest: &Digest<'_>) -> Result<(), Fault> {
        // A newer edit or a recall may have come before.
        static EDIT: Statement = Statement::new(
            "UPDATE messages SET content = $1, edited_at = $2, changed_seq = $3 WHERE conversation_id = $4 \
             AND seq_id = $5 AND sender_id = $6 AND kind IN ('text', 'image', 'file') \
             AND NOT recalled AND changed_seq < $3",
        );
        // For good.
        static RECALL: Statement = Statement::new(
            "UPDATE messages SET content = '', recalled = TRUE, changed_seq = $1 WHERE conversation_id = $2 \
             AND seq_id = $3 AND sender_id = $4 AND kind IN ('text', 'image', 'file') AND NOT recalled",
        );
        let m = change.message;
        let Some(target) = m.target_seq.filter(|&target| target < m.seq_id) else { return Ok(()) };
        let conversation = &*digest.conversations[change.conversation].text;
        match m.kind.class() {
            EventClass::Edit => {
                let seq = m.seq_id.0;
                let edit = values![&*m.content, m.created_at, seq, conversation, target.0, m.sender_id];
                if self.run(&EDIT, edit).await? == 0 {
                    self.blank_edits(conversation, target, m.sender_id).await?;
                }
            }
            EventClass::Recall => {
                self.run(&RECALL, values![m.seq_id.0, conversation, target.0, m.sender_id]).await?;
                self.blank_edits(conversation, target, m.sender_id).await?;
            }
            EventClass::Message | EventClass::Reaction | EventClass::System => {}
        }
        Ok(())
    }

    /// Blanks the edits of a message that is recalled, whether they came before the recall or after it.
    async fn blank_edits(&mut self, conversation: &str, target: Seq, sender: UserId) -> Result<(), Fault> {
        static IS_RECALLED: Statement = Statement::new(
            "SELECT recalled FROM messages WHERE conversation_id = $1 AND seq_id = $2 AND sender_id = $3",
        );
        static BLANK: Statement = Statement::new(
            "UPDATE messages SET content = '' WHERE conversation_id = $1 AND target_seq = $2 AND sender_id = $3 \
             AND kind = 'edit' AND content <> ''",
        )
        .mysql(
            "UPDATE message_targets t STRAIGHT_JOIN messages m ON m.conversation_id = t.conversation_id \
             AND m.seq_id = t.seq_id SET m.content = '' WHERE t.conversation_id = $1 AND t.target_seq = $2 \
             AND m.sender_id = $3 AND m.kind = 'edit' AND m.content <> ''",
        );
        let of_target = values![conversation, target.0, sender];
        if let Some((true,)) = self.row::<(bool,)>(&IS_RECALLED, of_target).await? {
            self.run(&BLANK, of_target).await?;
        }
        Ok(())
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
