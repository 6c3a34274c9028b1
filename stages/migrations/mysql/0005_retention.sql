-- Up to where the messages of a conversation were removed, being too old or too many. No row: none was.
CREATE TABLE IF NOT EXISTS retired (
    conversation_id VARCHAR(64) NOT NULL PRIMARY KEY,
    seq_id          BIGINT NOT NULL,
    -- That of the message with this seq: what is unread is counted from here at most.
    ordinal         BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Which process removes them, and until when no other one does, in ms since 1970 UTC; one row.
CREATE TABLE IF NOT EXISTS retention_lease (
    singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    holder    BIGINT NOT NULL,
    until_ms  BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT IGNORE INTO retention_lease (singleton, holder, until_ms) VALUES (1, -1, 0);
