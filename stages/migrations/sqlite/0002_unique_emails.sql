-- An email address is one user's, whatever the case of its (ASCII) letters. Where several have given the same one,
-- it stays with the oldest; the others have none from now on.

UPDATE users SET email = '' WHERE user_id IN (
    SELECT user_id FROM (
        SELECT user_id, row_number() OVER (PARTITION BY lower(email) ORDER BY created_at, user_id) AS place
        FROM users WHERE email <> ''
    ) WHERE place > 1
);

CREATE UNIQUE INDEX users_by_email ON users (lower(email)) WHERE email <> '';
