//! Lists as one JSON value, which `JSON_TABLE` turns into rows.

use schemas::ids::UserId;
use serde_json::Value;

/// `[1,2,3]`, for `JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$'))`.
pub(super) fn ids(ids: impl IntoIterator<Item = i64>) -> String {
    Value::from_iter(ids).to_string()
}

/// The same of users.
pub(super) fn user_ids(users: &[UserId]) -> String {
    ids(users.iter().map(|user| user.0))
}

/// `[[…],[…]]`, a list for each row.
pub(super) fn rows<const COLUMNS: usize>(rows: impl IntoIterator<Item = [Value; COLUMNS]>) -> String {
    Value::from_iter(rows.into_iter().map(Value::from)).to_string()
}

/// The rows of [`ids`], as table `given (id)`.
macro_rules! given_ids {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS given"
    };
}
pub(super) use given_ids;

/// Rows of a conversation and a seq, as table `given (conversation_id, seq_id)`.
macro_rules! given_places {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS ( \
         conversation_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]', \
         seq_id BIGINT PATH '$[1]')) AS given"
    };
}
pub(super) use given_places;

/// Rows of a user, a conversation and a seq, as table `given (user_id, conversation_id, seq_id)`.
macro_rules! given_user_seqs {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (user_id BIGINT PATH '$[0]', \
         conversation_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]', \
         seq_id BIGINT PATH '$[2]')) AS given"
    };
}
pub(super) use given_user_seqs;
