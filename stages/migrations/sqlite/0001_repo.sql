-- Times are ms since 1970 UTC. Ids are positive. Text is UTF-8 without NUL.

CREATE TABLE users (
    user_id       INTEGER PRIMARY KEY,
    -- Whoever is "ann" is "Ann" too.
    username      TEXT    NOT NULL COLLATE NOCASE UNIQUE,
    display_name  TEXT    NOT NULL,
    avatar_url    TEXT    NOT NULL,
    email         TEXT    NOT NULL,
    status        TEXT    NOT NULL CHECK (status IN ('active', 'inactive', 'banned')),
    -- PHC string; NULL: cannot sign in.
    password_hash TEXT,
    created_at    INTEGER NOT NULL
) STRICT;

-- One row a refresh token, used ones too: a second use is what shows that a token was stolen.
CREATE TABLE refresh_tokens (
    token_hash BLOB    NOT NULL PRIMARY KEY,
    -- The sign-in that it descends from.
    family     INTEGER NOT NULL,
    user_id    INTEGER NOT NULL REFERENCES users (user_id),
    used       INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Revoking a family and dropping a user's expired tokens.
CREATE INDEX refresh_tokens_of_user ON refresh_tokens (user_id, family);

CREATE TABLE groups (
    group_id     INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    owner_id     INTEGER NOT NULL REFERENCES users (user_id),
    member_count INTEGER NOT NULL,
    max_members  INTEGER NOT NULL,
    -- Raised by one with each change of the group or its members.
    version      INTEGER NOT NULL,
    -- Has, or once had, more members than are served one by one.
    large        INTEGER NOT NULL,
    dissolved    INTEGER NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE group_members (
    group_id  INTEGER NOT NULL REFERENCES groups (group_id),
    user_id   INTEGER NOT NULL REFERENCES users (user_id),
    role      TEXT    NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    joined_at INTEGER NOT NULL,
    PRIMARY KEY (group_id, user_id)
) STRICT, WITHOUT ROWID;

-- Only ever moves forward.
CREATE TABLE conversations (
    conversation_id TEXT    NOT NULL PRIMARY KEY,
    last_seq        INTEGER NOT NULL,
    last_ordinal    INTEGER NOT NULL,
    -- The newest seq that stands for itself: not an edit, recall or reaction.
    newest_seq      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The conversations a user has, since when, and up to where they spoke themselves.
CREATE TABLE user_conversations (
    user_id         INTEGER NOT NULL,
    conversation_id TEXT    NOT NULL,
    joined_seq      INTEGER NOT NULL,
    own_seq         INTEGER NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE read_marks (
    user_id         INTEGER NOT NULL,
    conversation_id TEXT    NOT NULL,
    seq_id          INTEGER NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
) STRICT, WITHOUT ROWID;

-- The rows lie in the order of message_id, which is the order in time: an insert appends. The other
-- key is a narrow index on the side.
CREATE TABLE messages (
    message_id      INTEGER PRIMARY KEY,
    conversation_id TEXT    NOT NULL,
    seq_id          INTEGER NOT NULL,
    sender_id       INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    content         TEXT    NOT NULL,
    client_msg_id   TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    ordinal         INTEGER NOT NULL,
    target_seq      INTEGER,
    remove          INTEGER NOT NULL,
    -- Seq of the newest edit or recall that changed this row, so that an older one changes nothing.
    changed_seq     INTEGER NOT NULL DEFAULT 0,
    edited_at       INTEGER,
    recalled        INTEGER NOT NULL DEFAULT 0,
    UNIQUE (conversation_id, seq_id)
) STRICT;

-- Group events on their way to the chain. A row that is gone was published.
CREATE TABLE outbox (
    -- AUTOINCREMENT: no id is used twice.
    outbox_id       INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id TEXT    NOT NULL,
    actor_id        INTEGER NOT NULL,
    client_msg_id   TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    content         TEXT    NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT;
