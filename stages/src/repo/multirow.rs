//! Statements over many rows, in a few fixed sizes, so that each is parsed once a connection.

use std::sync::Arc;

/// Rows a statement. A thousand rows take 13 statements; with the 11 columns of a message the largest
/// binds 5,632 values of the 32,766 that SQLite takes, and the 65,535 of MySQL.
const SIZES: [usize; 4] = [512, 64, 8, 1];

/// One statement for each of the sizes.
#[derive(Debug)]
pub struct MultiRow {
    statements: [Arc<str>; SIZES.len()],
    columns: usize,
}

impl MultiRow {
    /// A statement with `{rows}` where the list of rows belongs, each of so many columns.
    pub fn new(sql: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        let statement = |rows| Arc::from(sql.replace("{rows}", &vec![row.as_str(); rows].join(",")));
        Self { statements: SIZES.map(statement), columns }
    }

    /// How many values each row binds.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The statements for all of these rows, each with its share of them.
    pub fn statements<'s, 'r, T>(
        &'s self,
        mut rows: &'r [T],
    ) -> impl Iterator<Item = (Arc<str>, &'r [T])> + use<'s, 'r, T> {
        std::iter::from_fn(move || {
            let at = SIZES.iter().position(|&size| size <= rows.len())?;
            let (now, later) = rows.split_at(SIZES[at]);
            rows = later;
            Some((Arc::clone(&self.statements[at]), now))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_statement_of_its_size() {
        let insert = MultiRow::new("INSERT INTO t VALUES {rows}", 2);
        let rows: Vec<_> = (0..1_777).collect();
        let statements: Vec<_> = insert.statements(&rows).collect();
        assert!(statements.iter().all(|(sql, rows)| sql.matches("(?,?)").count() == rows.len()));
        assert_eq!(statements.iter().flat_map(|(_, rows)| rows.iter().copied()).collect::<Vec<_>>(), rows);
        assert_eq!(statements.len(), 3 + 3 + 6 + 1);
        assert_eq!(insert.statements::<i32>(&[]).count(), 0);
    }
}
