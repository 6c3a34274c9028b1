//! The text of an error with its causes: for logs, dead letters and the command line.

use std::error::Error;

/// An error and its causes on one line, outermost first. A cause whose text is already there (because a remedy follows
/// it) is not repeated.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        next = cause.source();
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The causes of an error without its own message, or that message where it has no cause.
pub fn cause(error: &(dyn Error + 'static)) -> String {
    causes(error.source().unwrap_or(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("error returned from database: {0}")]
    struct Driver(#[source] Server);

    #[derive(Debug, thiserror::Error)]
    #[error("password authentication failed")]
    struct Server;

    #[derive(Debug, thiserror::Error)]
    #[error("the store could not be opened: {}. Check its address", causes(.source))]
    struct Advised {
        source: Driver,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the process could not be started")]
    struct Start(#[source] Advised);

    #[test]
    fn each_cause_is_told_once_wherever_it_stands() {
        assert_eq!(causes(&Server), "password authentication failed");
        assert_eq!(causes(&Driver(Server)), "error returned from database: password authentication failed");
        assert_eq!(
            causes(&Start(Advised { source: Driver(Server) })),
            "the process could not be started: the store could not be opened: error returned from database: password \
             authentication failed. Check its address"
        );
    }
}
