-- For MariaDB and MySQL. Times are ms since 1970 UTC. Ids are positive. Text is compared byte by byte
-- (utf8mb4_bin). Each statement commits by itself here, so each may be run again after a start that was cut short.

CREATE TABLE IF NOT EXISTS users (
    user_id       BIGINT       NOT NULL PRIMARY KEY,
    username      VARCHAR(64)  NOT NULL,
    -- The name in small letters: whoever is "ann" is "Ann" too. As bytes, since text is compared without
    -- the blanks at its end.
    username_key  VARBINARY(256) NOT NULL UNIQUE,
    display_name  TEXT         NOT NULL,
    avatar_url    TEXT         NOT NULL,
    email         TEXT         NOT NULL,
    status        VARCHAR(16)  NOT NULL CHECK (status IN ('active', 'inactive', 'banned')),
    -- PHC string; NULL: cannot sign in.
    password_hash TEXT,
    created_at    BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- One row a refresh token, used ones too: a second use is what shows that a token was stolen.
CREATE TABLE IF NOT EXISTS refresh_tokens (
    token_hash BINARY(32) NOT NULL PRIMARY KEY,
    -- The sign-in that it descends from.
    family     BIGINT     NOT NULL,
    user_id    BIGINT     NOT NULL,
    used       BOOLEAN    NOT NULL,
    expires_at BIGINT     NOT NULL,
    -- Revoking a family and dropping a user's expired tokens.
    KEY refresh_tokens_of_user (user_id, family),
    FOREIGN KEY (user_id) REFERENCES users (user_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS `groups` (
    group_id     BIGINT  NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    owner_id     BIGINT  NOT NULL,
    member_count INT     NOT NULL,
    max_members  INT     NOT NULL,
    -- Raised by one with each change of the group or its members.
    version      BIGINT  NOT NULL,
    -- Has, or once had, more members than are served one by one.
    large        BOOLEAN NOT NULL,
    dissolved    BOOLEAN NOT NULL,
    created_at   BIGINT  NOT NULL,
    FOREIGN KEY (owner_id) REFERENCES users (user_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS group_members (
    group_id  BIGINT      NOT NULL,
    user_id   BIGINT      NOT NULL,
    role      VARCHAR(16) NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    joined_at BIGINT      NOT NULL,
    PRIMARY KEY (group_id, user_id),
    FOREIGN KEY (group_id) REFERENCES `groups` (group_id),
    FOREIGN KEY (user_id) REFERENCES users (user_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Only ever moves forward.
CREATE TABLE IF NOT EXISTS conversations (
    conversation_id VARCHAR(64) NOT NULL PRIMARY KEY,
    last_seq        BIGINT      NOT NULL,
    last_ordinal    BIGINT      NOT NULL,
    -- The newest seq that stands for itself: not an edit, recall or reaction.
    newest_seq      BIGINT      NOT NULL,
    updated_at      BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The conversations a user has, since when, and up to where they spoke themselves.
CREATE TABLE IF NOT EXISTS user_conversations (
    user_id         BIGINT      NOT NULL,
    conversation_id VARCHAR(64) NOT NULL,
    joined_seq      BIGINT      NOT NULL,
    own_seq         BIGINT      NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS read_marks (
    user_id         BIGINT      NOT NULL,
    conversation_id VARCHAR(64) NOT NULL,
    seq_id          BIGINT      NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Two keys and no further index: each would be written with every message.
CREATE TABLE IF NOT EXISTS messages (
    conversation_id VARCHAR(64)  NOT NULL,
    seq_id          BIGINT       NOT NULL,
    message_id      BIGINT       NOT NULL,
    sender_id       BIGINT       NOT NULL,
    kind            VARCHAR(64)  NOT NULL,
    content         MEDIUMTEXT   NOT NULL,
    client_msg_id   VARCHAR(256) NOT NULL,
    created_at      BIGINT       NOT NULL,
    ordinal         BIGINT       NOT NULL,
    target_seq      BIGINT,
    remove          BOOLEAN      NOT NULL,
    -- Seq of the newest edit or recall that changed this row, so that an older one changes nothing.
    changed_seq     BIGINT       NOT NULL DEFAULT 0,
    edited_at       BIGINT,
    recalled        BOOLEAN      NOT NULL DEFAULT FALSE,
    PRIMARY KEY (conversation_id, seq_id),
    UNIQUE KEY (message_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Group events on their way to the chain. A row that is gone was published.
CREATE TABLE IF NOT EXISTS outbox (
    outbox_id       BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    conversation_id VARCHAR(64)  NOT NULL,
    actor_id        BIGINT       NOT NULL,
    client_msg_id   VARCHAR(256) NOT NULL,
    kind            VARCHAR(64)  NOT NULL,
    content         MEDIUMTEXT   NOT NULL,
    created_at      BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
