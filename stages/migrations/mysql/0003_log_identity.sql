-- The log that this store was filled from; a row at most.
CREATE TABLE IF NOT EXISTS log_identity (
    singleton INTEGER     NOT NULL PRIMARY KEY CHECK (singleton = 1),
    log_id    VARCHAR(64) NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
