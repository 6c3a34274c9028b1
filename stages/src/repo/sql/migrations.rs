//! The tables of each dialect, from the folder `migrations/`: the binary carries them.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The [`Migrator`] of a dialect, by the name of its folder.
macro_rules! migrator {
    ($dialect:literal) => {
        $crate::repo::sql::migrations::migrator_of([
            (1, "repo", migrator!($dialect, "0001_repo.sql")),
            (2, "unique emails", migrator!($dialect, "0002_unique_emails.sql")),
            (3, "log identity", migrator!($dialect, "0003_log_identity.sql")),
            (4, "blank edits", migrator!($dialect, "0004_blank_edits.sql")),
            (5, "retention", migrator!($dialect, "0005_retention.sql")),
        ])
    };
    ($dialect:literal, $file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $dialect, "/", $file))
    };
}
pub(crate) use migrator;

/// What `sqlx::migrate!` makes. That macro would build every database driver, SQLite among them, a second time.
pub(crate) fn migrator_of(files: [(i64, &'static str, &'static str); 5]) -> Migrator {
    let migration = |(version, about, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, about.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(files.into_iter().map(migration).collect())
}
