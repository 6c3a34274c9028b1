-- The log that this store was filled from; a row at most.
CREATE TABLE log_identity (
    singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    log_id    TEXT    NOT NULL
);
