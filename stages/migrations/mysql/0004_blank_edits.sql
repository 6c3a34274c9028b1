-- Finds what is about a message: its edits, its recall, reactions. MySQL has no index of a part of the rows, and so a
-- table: an index would be written with every message.
CREATE TABLE IF NOT EXISTS message_targets (
    conversation_id VARCHAR(64) NOT NULL,
    target_seq      BIGINT      NOT NULL,
    seq_id          BIGINT      NOT NULL,
    PRIMARY KEY (conversation_id, target_seq, seq_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT IGNORE INTO message_targets (conversation_id, target_seq, seq_id)
    SELECT conversation_id, target_seq, seq_id FROM messages WHERE target_seq IS NOT NULL;

-- A recall blanks the text of the edits too; those of earlier recalls are blanked here.
UPDATE message_targets t
    JOIN messages m ON m.conversation_id = t.conversation_id AND m.seq_id = t.seq_id
    JOIN messages target ON target.conversation_id = t.conversation_id AND target.seq_id = t.target_seq
    SET m.content = ''
    WHERE m.kind = 'edit' AND m.content <> '' AND target.sender_id = m.sender_id AND target.recalled;
