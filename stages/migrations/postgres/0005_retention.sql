-- Up to where the messages of a conversation were removed, being too old or too many. No row: none was.
CREATE TABLE retired (
    conversation_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seq_id          BIGINT NOT NULL,
    -- That of the message with this seq: what is unread is counted from here at most.
    ordinal         BIGINT NOT NULL
);

-- Which process removes them, and until when no other one does, in ms since 1970 UTC; one row.
CREATE TABLE retention_lease (
    singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    holder    BIGINT NOT NULL,
    until_ms  BIGINT NOT NULL
);

INSERT INTO retention_lease (singleton, holder, until_ms) VALUES (1, -1, 0);
