-- An email address is one user's, whatever the case of its letters. Where several have given the same one, it stays
-- with the oldest; the others have none from now on.

CREATE TABLE IF NOT EXISTS user_emails (
    -- In small letters, as bytes: text is compared without the blanks at its end.
    email_key VARBINARY(1024) NOT NULL PRIMARY KEY,
    user_id   BIGINT          NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT IGNORE INTO user_emails (email_key, user_id)
    SELECT CAST(lower(email) AS BINARY), user_id FROM users WHERE email <> '' ORDER BY created_at, user_id;

UPDATE users u JOIN user_emails e ON e.email_key = CAST(lower(u.email) AS BINARY) AND e.user_id <> u.user_id
    SET u.email = '';
