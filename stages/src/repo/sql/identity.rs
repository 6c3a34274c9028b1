//! The id of the log that a store was filled from.

use super::fault::Fault;
use super::session::{Session, values};
use super::statement::Statement;

impl Session<'_> {
    pub(super) async fn log_id(&mut self) -> Result<Option<String>, Fault> {
        static SELECT: Statement = Statement::new("SELECT log_id FROM log_identity");
        let row: Option<(String,)> = self.row(&SELECT, values![]).await?;
        Ok(row.map(|(id,)| id))
    }

    /// Does nothing when an id is recorded already.
    pub(super) async fn set_log_id(&mut self, id: &str) -> Result<(), Fault> {
        static INSERT: Statement =
            Statement::new("INSERT INTO log_identity (singleton, log_id) VALUES (1, $1) ON CONFLICT DO NOTHING");
        self.insert(&INSERT, values![id]).await?;
        Ok(())
    }

    /// Writes the row again whose number this is: with 1, if there is one; with 0, none, which a database that
    /// takes no changes refuses all the same.
    pub(super) async fn touch_log_id(&mut self, singleton: i32) -> Result<(), Fault> {
        static UPDATE: Statement = Statement::new("UPDATE log_identity SET singleton = singleton WHERE singleton = $1");
        self.run(&UPDATE, values![singleton]).await?;
        Ok(())
    }
}
