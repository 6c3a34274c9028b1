//! Lists as one JSON value, which `JSON_TABLE` turns into rows.

use serde_json::Value;

/// `[[…],[…]]`, a list for each row.
pub(super) fn rows<const COLUMNS: usize>(rows: impl IntoIterator<Item = [Value; COLUMNS]>) -> String {
    Value::from_iter(rows.into_iter().map(Value::from)).to_string()
}
