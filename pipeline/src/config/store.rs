//! Which store is configured.

use std::time::Duration;

use schemas::setting::{InvalidSetting, Section};
use serde::{Deserialize, Serialize};
use stages::repo::ServerConfig;
use stages::repo::retention::Kept;

use crate::database_url::{Database, DatabaseUrl};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// `sqlite:PATH`, `mysql://user:password@host:port/database` (MariaDB too) or
    /// `postgres://user:password@host:port/database`. Without: SQLite in `data_dir`.
    pub url: Option<DatabaseUrl>,
    /// Copies of a server's database that follow it, and may be read instead.
    pub replicas: Vec<DatabaseUrl>,
    /// How long a start waits for a database that is away, in seconds.
    pub wait_seconds: u64,
    /// Messages that are older, in days, are removed; 0: they are kept for ever.
    pub retention_days: u32,
    /// Of each conversation so many messages are kept, the newest: edits, recalls, reactions and notices count too. 0: all.
    pub retention_messages_a_conversation: u64,
    /// Connections to servers, and their time limits.
    pub server: ServerConfig,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            url: None,
            replicas: Vec::new(),
            wait_seconds: 60,
            retention_days: 0,
            retention_messages_a_conversation: 0,
            server: ServerConfig::default(),
        }
    }
}

impl StoreSection {
    /// How long a start waits for a database that is away.
    pub fn wait(&self) -> Duration {
        Duration::from_secs(self.wait_seconds)
    }

    /// What is kept of the messages.
    pub fn kept(&self) -> Kept {
        Kept { days: self.retention_days, messages_a_conversation: self.retention_messages_a_conversation }
    }

    /// Checks the values; `section` is their place in the configuration.
    pub fn check(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        const FORM: &str = "sqlite:PATH, mysql://user:password@host:port/database or postgres://… of the same form";
        let addresses =
            self.url.iter().map(|url| ("url", url)).chain(self.replicas.iter().map(|url| ("replicas", url)));
        for (key, url) in addresses {
            if let Some(must_be) = url.mistake() {
                return Err(section.invalid(key, url, must_be));
            }
        }
        let database = match &self.url {
            None => None,
            Some(url) => match url.database() {
                None => return Err(section.invalid("url", url, FORM)),
                known => known,
            },
        };
        let replica_form = match database {
            None | Some(Database::Sqlite(_)) => "absent: a file has no replicas",
            Some(Database::MySql) => "of the form mysql://user:password@host:port/database, as the primary",
            Some(Database::Postgres) => "of the form postgres://user:password@host:port/database, as the primary",
        };
        let fits = |replica: &DatabaseUrl| match replica.database() {
            None | Some(Database::Sqlite(_)) => false,
            known => known == database,
        };
        if let Some(replica) = self.replicas.iter().find(|replica| !fits(replica)) {
            return Err(section.invalid("replicas", replica, replica_form));
        }
        section.within("wait_seconds", self.wait_seconds, 0..=3_600)?;
        section.within("retention_days", self.retention_days, 0..=36_500)?;
        section.within(
            "retention_messages_a_conversation",
            self.retention_messages_a_conversation,
            0..=1_000_000_000_000,
        )?;
        self.server.check(Section(&section.key("server")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, replicas: &[&str]) -> Result<(), String> {
        let replicas = replicas.iter().map(|&url| url.to_owned().into()).collect();
        let section = StoreSection { url: Some(url.to_owned().into()), replicas, ..StoreSection::default() };
        section.check(Section("repo.store")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_that_leads_nowhere_is_refused_without_its_password() {
        let refusal = check("oracle://ann:secret@db/chat", &[]).unwrap_err();
        assert!(refusal.starts_with("repo.store.url is oracle://ann:***@db/chat"), "{refusal}");
        assert!(check("/var/lib/repo.db", &[]).is_err());
    }

    #[test]
    fn replicas_are_of_the_primary_s_kind() {
        assert_eq!(check("postgres://a@b/c", &["postgres://a@d/c", "postgresql://a@e/c"]), Ok(()));
        assert_eq!(check("mysql://a@b/c", &["mariadb://a@d/c"]), Ok(()));
        let refusal = check("postgres://a@b/c", &["mysql://a:secret@d/c"]).unwrap_err();
        assert!(refusal.starts_with("repo.store.replicas is mysql://a:***@d/c"), "{refusal}");
        assert!(check("sqlite:repo.db", &["sqlite:other.db"]).is_err());
    }
}
