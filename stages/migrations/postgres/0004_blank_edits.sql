-- Finds what is about a message: its edits, its recall, reactions. Other messages have no entry.
CREATE INDEX messages_by_target ON messages (conversation_id, target_seq) WHERE target_seq IS NOT NULL;

-- A recall blanks the text of the edits too; those of earlier recalls are blanked here.
UPDATE messages AS m SET content = '' FROM messages AS target
    WHERE m.kind = 'edit' AND m.content <> '' AND target.conversation_id = m.conversation_id
    AND target.seq_id = m.target_seq AND target.sender_id = m.sender_id AND target.recalled;
