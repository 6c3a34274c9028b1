-- Times are ms since 1970 UTC. Ids are positive. Text is UTF-8 without NUL; ids and names are compared
-- byte by byte ("C").

CREATE TABLE users (
    user_id       BIGINT  PRIMARY KEY,
    username      TEXT    COLLATE "C" NOT NULL,
    display_name  TEXT    NOT NULL,
    avatar_url    TEXT    NOT NULL,
    email         TEXT    NOT NULL,
    status        TEXT    NOT NULL CHECK (status IN ('active', 'inactive', 'banned')),
    -- PHC string; NULL: cannot sign in.
    password_hash TEXT,
    created_at    BIGINT  NOT NULL
);

-- Whoever is "ann" is "Ann" too. In "C" only ASCII letters have a case, and names have no others.
CREATE UNIQUE INDEX users_by_name ON users (lower(username));

-- One row a refresh token, used ones too: a second use is what shows that a token was stolen.
CREATE TABLE refresh_tokens (
    token_hash BYTEA   PRIMARY KEY,
    -- The sign-in that it descends from.
    family     BIGINT  NOT NULL,
    user_id    BIGINT  NOT NULL REFERENCES users (user_id),
    used       BOOLEAN NOT NULL,
    expires_at BIGINT  NOT NULL
);

-- Revoking a family and dropping a user's expired tokens.
CREATE INDEX refresh_tokens_of_user ON refresh_tokens (user_id, family);

CREATE TABLE groups (
    group_id     BIGINT  PRIMARY KEY,
    name         TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    owner_id     BIGINT  NOT NULL REFERENCES users (user_id),
    member_count INTEGER NOT NULL,
    max_members  INTEGER NOT NULL,
    -- Raised by one with each change of the group or its members.
    version      BIGINT  NOT NULL,
    -- Has, or once had, more members than are served one by one.
    large        BOOLEAN NOT NULL,
    dissolved    BOOLEAN NOT NULL,
    created_at   BIGINT  NOT NULL
);

CREATE TABLE group_members (
    group_id  BIGINT NOT NULL REFERENCES groups (group_id),
    user_id   BIGINT NOT NULL REFERENCES users (user_id),
    role      TEXT   NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    joined_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, user_id)
);

-- Only ever moves forward.
CREATE TABLE conversations (
    conversation_id TEXT   COLLATE "C" PRIMARY KEY,
    last_seq        BIGINT NOT NULL,
    last_ordinal    BIGINT NOT NULL,
    -- The newest seq that stands for itself: not an edit, recall or reaction.
    newest_seq      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);

-- The conversations a user has, since when, and up to where they spoke themselves.
CREATE TABLE user_conversations (
    user_id         BIGINT NOT NULL,
    conversation_id TEXT   COLLATE "C" NOT NULL,
    joined_seq      BIGINT NOT NULL,
    own_seq         BIGINT NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
);

CREATE TABLE read_marks (
    user_id         BIGINT NOT NULL,
    conversation_id TEXT   COLLATE "C" NOT NULL,
    seq_id          BIGINT NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
);

-- Two keys and no further index: each would be written with every message.
CREATE TABLE messages (
    conversation_id TEXT    COLLATE "C" NOT NULL,
    seq_id          BIGINT  NOT NULL,
    message_id      BIGINT  NOT NULL,
    sender_id       BIGINT  NOT NULL,
    kind            TEXT    NOT NULL,
    content         TEXT    NOT NULL,
    client_msg_id   TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    ordinal         BIGINT  NOT NULL,
    target_seq      BIGINT,
    remove          BOOLEAN NOT NULL,
    -- Seq of the newest edit or recall that changed this row, so that an older one changes nothing.
    changed_seq     BIGINT  NOT NULL DEFAULT 0,
    edited_at       BIGINT,
    recalled        BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (conversation_id, seq_id),
    UNIQUE (message_id)
);

-- Group events on their way to the chain. A row that is gone was published.
CREATE TABLE outbox (
    outbox_id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id TEXT   COLLATE "C" NOT NULL,
    actor_id        BIGINT NOT NULL,
    client_msg_id   TEXT   NOT NULL,
    kind            TEXT   NOT NULL,
    content         TEXT   NOT NULL,
    created_at      BIGINT NOT NULL
);
