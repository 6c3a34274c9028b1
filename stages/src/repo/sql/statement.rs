//! A statement, written once in PostgreSQL's words and translated for the other dialects.

use std::sync::OnceLock;

/// A statement for every dialect. It is written for PostgreSQL, its parameters as `$1` to `$9`; a dialect
/// that needs other words than [`WORDS`] replaces has a text of its own. Texts are `'static`: no value that
/// came from outside can become part of one.
#[derive(Debug)]
pub struct Statement {
    postgres: &'static str,
    sqlite: Text,
    mysql: Text,
}

/// The text of a dialect, made at the first use.
#[derive(Debug)]
struct Text {
    from: &'static str,
    made: OnceLock<(String, Vec<usize>)>,
}

/// PostgreSQL's words, SQLite's and MySQL's. `{n}` is the number of a parameter.
const WORDS: [[&str; 3]; 7] = [
    // SQLite has one writer at a time: there a row need not be held.
    [" FOR NO KEY UPDATE", "", " FOR UPDATE"],
    // Case is looked at in ASCII letters only.
    [" COLLATE \"C\"", "", ""],
    ["greatest(", "max(", "greatest("],
    // A reserved word of MySQL.
    ["groups", "groups", "`groups`"],
    // MySQL reports the row that is there as an error, and `Session::insert` says so too.
    [" ON CONFLICT DO NOTHING", " ON CONFLICT DO NOTHING", ""],
    // A list of ids is an array in PostgreSQL, elsewhere a JSON text.
    ["= ANY(${n})", "IN (SELECT value FROM json_each(${n}))", "= ANY(${n})"],
    [
        "UNNEST(${n}::bigint[]) AS given (id)",
        "(SELECT value AS id FROM json_each(${n})) AS given",
        "JSON_TABLE(${n}, '$[*]' COLUMNS (id BIGINT PATH '$')) AS given",
    ],
];

impl Statement {
    pub const fn new(postgres: &'static str) -> Self {
        Self { postgres, sqlite: Text::of(postgres), mysql: Text::of(postgres) }
    }

    /// SQLite has it in these words.
    pub const fn sqlite(mut self, text: &'static str) -> Self {
        self.sqlite.from = text;
        self
    }

    /// MySQL has it in these words.
    pub const fn mysql(mut self, text: &'static str) -> Self {
        self.mysql.from = text;
        self
    }

    pub fn in_postgres(&'static self) -> &'static str {
        self.postgres
    }

    pub fn in_sqlite(&'static self) -> &'static str {
        &self.sqlite.made.get_or_init(|| (translated(self.sqlite.from, 1), Vec::new())).0
    }

    /// The text, and the index of the value that each `?` stands for.
    pub fn in_mysql(&'static self) -> (&'static str, &'static [usize]) {
        let (text, order) = self.mysql.made.get_or_init(|| unnumbered(&translated(self.mysql.from, 2)));
        (text, order)
    }
}

impl Text {
    const fn of(from: &'static str) -> Self {
        Self { from, made: OnceLock::new() }
    }
}

fn translated(text: &str, dialect: usize) -> String {
    WORDS.iter().fold(text.to_owned(), |text, words| {
        if !words[0].contains("{n}") {
            return text.replace(words[0], words[dialect]);
        }
        (1..=9)
            .map(|n| n.to_string())
            .fold(text, |text, n| text.replace(&words[0].replace("{n}", &n), &words[dialect].replace("{n}", &n)))
    })
}

/// `?` for each `$1`, and which values they stand for, in order.
fn unnumbered(text: &str) -> (String, Vec<usize>) {
    let mut parts = text.split('$');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    let mut order = Vec::new();
    for part in parts {
        match part.chars().next().and_then(|digit| digit.to_digit(10)) {
            Some(number) => {
                order.push(number as usize - 1);
                plain.push('?');
                plain.push_str(&part[1..]);
            }
            None => {
                plain.push('$');
                plain.push_str(part);
            }
        }
    }
    (plain, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_its_words_and_mysql_its_parameters_in_order() {
        static STATEMENT: Statement =
            Statement::new("SELECT greatest($2, $1) FROM groups WHERE group_id = ANY($3) AND $1 > 0 FOR NO KEY UPDATE");
        assert_eq!(
            STATEMENT.in_sqlite(),
            "SELECT max($2, $1) FROM groups WHERE group_id IN (SELECT value FROM json_each($3)) AND $1 > 0"
        );
        assert_eq!(
            STATEMENT.in_mysql(),
            ("SELECT greatest(?, ?) FROM `groups` WHERE group_id = ANY(?) AND ? > 0 FOR UPDATE", &[1, 0, 2, 0][..])
        );
    }

    #[test]
    fn a_text_of_its_own_is_translated_too() {
        static STATEMENT: Statement = Statement::new("DELETE FROM outbox WHERE outbox_id = ANY($1)")
            .mysql("DELETE o FROM UNNEST($1::bigint[]) AS given (id) STRAIGHT_JOIN outbox o");
        let mysql = "DELETE o FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS given STRAIGHT_JOIN outbox o";
        assert_eq!(STATEMENT.in_mysql(), (mysql, &[0][..]));
    }
}
