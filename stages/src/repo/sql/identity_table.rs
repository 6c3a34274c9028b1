//! The id of the log that a store was filled from: the statements are the same in every dialect, but for how
//! a parameter is written and a row is left out that is there.

/// [`LogIdentity`](super::tables::LogIdentity) for the connection of a dialect, with the start and end of its
/// `INSERT` that leaves a row alone which is there, and its first parameter.
macro_rules! identity_table {
    ($session:ty, $insert:literal, $unless_there:literal, $p1:literal) => {
        #[async_trait::async_trait]
        impl $crate::repo::sql::tables::LogIdentity for $session {
            async fn log_id(&mut self) -> Result<Option<String>, Fault> {
                let row: Option<(String,)> =
                    sqlx::query_as("SELECT log_id FROM log_identity").fetch_optional(self).await?;
                Ok(row.map(|(id,)| id))
            }

            async fn insert_log_id(&mut self, id: &str) -> Result<(), Fault> {
                let sql =
                    concat!($insert, " INTO log_identity (singleton, log_id) VALUES (1, ", $p1, ")", $unless_there);
                sqlx::query(sql).bind(id).execute(self).await?;
                Ok(())
            }

            async fn touch_log_id(&mut self, singleton: i32) -> Result<(), Fault> {
                let sql = concat!("UPDATE log_identity SET singleton = singleton WHERE singleton = ", $p1);
                sqlx::query(sql).bind(singleton).execute(self).await?;
                Ok(())
            }
        }
    };
}

pub(in crate::repo) use identity_table;
