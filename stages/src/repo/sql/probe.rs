//! Health probe of a database: over a connection of the pool, within a short time.
//!
//! A pool without a free connection only reports a timeout. The probe then opens a connection of its own: its
//! error is the true cause, and its success means that the pool is merely busy.

use std::time::Duration;

use sqlx::{ConnectOptions, Connection};

use super::dialect::{Dialect, settle, within};
use super::fault::Fault;
use super::pools::Connections;

/// The longest that a probe waits for a connection of the pool, and then for the answer.
const STEP_TIME_MAX: Duration = Duration::from_millis(1_500);

#[derive(Debug, Clone, Copy)]
pub enum Question {
    Ping,
    /// Whether it would take a change.
    TakesChanges,
    /// Whether it commits one.
    Commits,
}

impl<DB: Dialect> Connections<DB> {
    pub async fn probe(&self, question: Question) -> Result<(), Fault> {
        if let Ok((mut connection, in_use)) = within(STEP_TIME_MAX, async { Ok(self.acquire().await?) }).await {
            let outcome = within(STEP_TIME_MAX, ask::<DB>(&mut connection, question)).await;
            settle(connection, in_use, &outcome);
            return outcome;
        }
        let own = async {
            let mut connection = self.options().connect().await?;
            ask::<DB>(&mut connection, question).await?;
            Ok(connection.close().await?)
        };
        within(STEP_TIME_MAX, own).await
    }
}

async fn ask<DB: Dialect>(connection: &mut DB::Connection, question: Question) -> Result<(), Fault> {
    let singleton = match question {
        Question::Ping => return Ok(connection.ping().await?),
        Question::TakesChanges => 0,
        Question::Commits => 1,
    };
    let mut transaction = connection.begin_with(DB::BEGIN).await?;
    DB::session(&mut transaction).touch_log_id(singleton).await?;
    Ok(transaction.commit().await?)
}
