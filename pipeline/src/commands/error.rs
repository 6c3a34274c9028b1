//! Why a command fails, and how that is told.

use schemas::causes::causes;

/// What went wrong, with its causes.
pub type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// An error and its causes on one line, each once, as the user is told: by every command, and by a start that fails.
pub fn explained(error: &CommandError) -> String {
    format!("gochat: {}", causes(&**error))
}
