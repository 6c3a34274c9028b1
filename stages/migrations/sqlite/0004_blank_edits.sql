-- Finds what is about a message: its edits, its recall, reactions. Other messages have no entry.
CREATE INDEX messages_by_target ON messages (conversation_id, target_seq) WHERE target_seq IS NOT NULL;

-- A recall blanks the text of the edits too; those of earlier recalls are blanked here.
UPDATE messages SET content = '' FROM messages AS target
    WHERE messages.kind = 'edit' AND messages.content <> '' AND target.conversation_id = messages.conversation_id
    AND target.seq_id = messages.target_seq AND target.sender_id = messages.sender_id AND target.recalled;
