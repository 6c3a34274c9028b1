//! The address of a database, whose password is shown to nobody.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

/// `sqlite:PATH`, `mysql://user:password@host:port/database` (MariaDB too) or
/// `postgres://user:password@host:port/database`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

/// What an address leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A MariaDB or MySQL.
    MySql,
    /// A PostgreSQL.
    Postgres,
}

impl DatabaseUrl {
    /// What it leads to. `None`: nothing that is known.
    pub fn database(&self) -> Option<Database> {
        match self.0.split_once(':')? {
            ("sqlite", path) => Some(Database::Sqlite(path.trim_start_matches("//").into())),
            ("mysql" | "mariadb", rest) if rest.starts_with("//") => Some(Database::MySql),
            ("postgres" | "postgresql", rest) if rest.starts_with("//") => Some(Database::Postgres),
            _ => None,
        }
    }

    /// The address of a server, as an argument of a command.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_server(text: &str) -> Result<Self, &'static str> {
        let url = Self(text.to_owned());
        match url.database() {
            Some(Database::MySql | Database::Postgres) => Ok(url),
            Some(Database::Sqlite(_)) | None => {
                Err("not of the form postgres://user:password@host:port/database or mysql://…")
            }
        }
    }

    /// All of it, the password too: for connecting only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

/// With `***` for the password, and without what follows `?`, where one may stand too.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0.split('?').next().unwrap_or_default();
        let Some((scheme, rest)) = url.split_once("://") else { return f.write_str(url) };
        let Some((user, place)) = rest.rsplit_once('@') else { return f.write_str(url) };
        match user.split_once(':') {
            Some((user, _)) => write!(f, "{scheme}://{user}:***@{place}"),
            None => write!(f, "{scheme}://{user}@{place}"),
        }
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
    }

    #[test]
    fn the_scheme_says_which_database_it_is() {
        let of = |url: &str| DatabaseUrl::from(url.to_owned()).database();
        assert_eq!(of("sqlite:data/repo.db"), Some(Database::Sqlite("data/repo.db".into())));
        assert_eq!(of("sqlite:///srv/repo.db"), Some(Database::Sqlite("/srv/repo.db".into())));
        assert_eq!(of("mysql://a@b/c"), Some(Database::MySql));
        assert_eq!(of("mariadb://a@b/c"), Some(Database::MySql));
        assert_eq!(of("postgres://a@b/c"), Some(Database::Postgres));
        assert_eq!(of("postgresql://a@b/c"), Some(Database::Postgres));
        assert_eq!(of("oracle://a@b/c"), None);
        assert_eq!(of("repo.db"), None);
    }
}
