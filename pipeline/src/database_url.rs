//! The address of a database, whose password is never shown.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};
use stages::repo::address;

/// `sqlite:PATH`, `mysql://user:password@host:port/database` (MariaDB too) or
/// `postgres://user:password@host:port/database`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

/// What an address leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    Sqlite(PathBuf),
    /// A MariaDB or MySQL.
    MySql,
    Postgres,
}

impl DatabaseUrl {
    /// What it leads to. `None`: nothing that is known.
    pub fn database(&self) -> Option<Database> {
        match self.0.split_once(':')? {
            // What follows is the path to the letter: no `?`, `#` or `%` in it means anything.
            ("sqlite", path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                (!path.is_empty()).then(|| Database::Sqlite(path.into()))
            }
            ("mysql" | "mariadb", rest) if rest.starts_with("//") => Some(Database::MySql),
            ("postgres" | "postgresql", rest) if rest.starts_with("//") => Some(Database::Postgres),
            _ => None,
        }
    }

    /// What it must be, where a special character in its user or password makes it another address.
    pub fn mistake(&self) -> Option<&'static str> {
        match self.database() {
            Some(Database::Sqlite(_)) => None,
            Some(Database::MySql | Database::Postgres) | None => address::mistake(&self.0),
        }
    }

    /// The address of a server, as an argument of a command.
    pub fn of_server(text: &str) -> Result<Self, &'static str> {
        let url = Self(text.to_owned());
        if let Some(must_be) = url.mistake() {
            return Err(must_be);
        }
        match url.database() {
            Some(Database::MySql | Database::Postgres) => Ok(url),
            Some(Database::Sqlite(_)) | None => {
                Err("postgres://user:password@host:port/database or mysql://… of the same form")
            }
        }
    }

    /// All of it with the password: for connecting only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

/// With `***` for the password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&address::masked(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sees_the_password() {
        let check = |url: &str, shown: &str| {
            let url = DatabaseUrl::from(url.to_owned());
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), format!("\"{shown}\"")));
            assert_eq!(serde_json::to_value(&url).unwrap(), shown);
        };
        check("postgres://ann:se:cr@et@db:5432/chat", "postgres://ann:***@db:5432/chat");
        check("mysql://ann:@db/chat?password=secret", "mysql://ann:***@db/chat");
        check("postgres://ann@db/chat", "postgres://ann@db/chat");
        check("postgres://db/chat", "postgres://db/chat");
        check("sqlite:/var/lib/chat/repo.db", "sqlite:/var/lib/chat/repo.db");
        check("postgres://ann:se/cret@db/chat", "postgres://***");
    }

    #[test]
    fn the_scheme_says_which_database_it_is() {
        let of = |url: &str| DatabaseUrl::from(url.to_owned()).database();
        assert_eq!(of("sqlite:data/repo.db"), Some(Database::Sqlite("data/repo.db".into())));
        assert_eq!(of("sqlite:///srv/repo.db"), Some(Database::Sqlite("/srv/repo.db".into())));
        assert_eq!(of("sqlite:file:a?b#c%20d"), Some(Database::Sqlite("file:a?b#c%20d".into())));
        assert_eq!(of("sqlite:"), None);
        assert_eq!(of("mysql://a@b/c"), Some(Database::MySql));
        assert_eq!(of("mariadb://a@b/c"), Some(Database::MySql));
        assert_eq!(of("postgres://a@b/c"), Some(Database::Postgres));
        assert_eq!(of("postgresql://a@b/c"), Some(Database::Postgres));
        assert_eq!(of("oracle://a@b/c"), None);
        assert_eq!(of("repo.db"), None);
    }
}
