//! The error of a command, and the line that it prints.

use schemas::causes::causes;

/// What went wrong, with its causes.
pub type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// An error and its causes on one line, each once, as every command prints it.
pub fn explained(error: &CommandError) -> String {
    format!("gochat: {}", causes(&**error))
}
