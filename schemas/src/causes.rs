//! An error with its causes, as people are told: in logs, in dead letters, on the command line.

use std::error::Error;

/// An error and its causes on one line, outermost first, each told once: what a message has told of its cause
/// already, since a remedy stands behind it, is not told again.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        next = cause.source();
    }
    told
}

/// Why something failed, without what it was: the causes of an error, or the error where it knows none.
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
