//! What librdkafka says went wrong, as errors of the log.

use std::fmt;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::log::{Class, LogError, MemberSpec};

/// An error of librdkafka, with what it says to do about a transaction.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub code: Code,
    pub class: Class,
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
        let class = match &error {
            KafkaError::Transaction(e) if e.is_fatal() => Class::Rebuild,
            KafkaError::Transaction(e) if e.txn_requires_abort() => Class::Abort,
            KafkaError::Transaction(e) if e.is_retriable() => Class::Retry,
            KafkaError::Transaction(_) | KafkaError::MessageConsumptionFatal(_) => Class::Rebuild,
            _ if code == Code::Fatal => Class::Rebuild,
            KafkaError::MessageProduction(_) => Class::Abort,
            _ => Class::Retry,
        };
        Self { code, class, message: error.to_string() }
    }
}

impl Failure {
    /// Records that could not be delivered.
    pub fn undelivered(code: Code) -> Self {
        Self { code, class: Class::Abort, message: format!("a record was not taken: {code}") }
    }

    /// Puts the error that ended a client in the place of one that only says that it is ended.
    pub fn rooted<C: ClientContext>(self, client: &Client<C>) -> Self {
        match client.fatal_error() {
            Some((code, message)) if self.code == Code::Fatal => Self { code, message, ..self },
            _ => self,
        }
    }

    /// Whether the broker knows a newer owner of this name, or of the partitions.
    pub fn is_fenced(&self) -> bool {
        matches!(
            self.code,
            Code::Fenced
                | Code::ProducerFenced
                | Code::InvalidProducerEpoch
                | Code::FencedInstanceId
                | Code::UnknownMemberId
                | Code::InvalidProducerIdMapping
        )
    }
}

/// What was asked of which brokers, for error messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaker<'a> {
    pub brokers: &'a str,
    pub doing: &'static str,
}

impl Speaker<'_> {
    /// The error of a call that is not part of a transaction.
    pub fn error(self, failure: impl Into<Failure>) -> LogError {
        let (failure, brokers, doing) = (failure.into(), self.brokers.to_owned(), self.doing);
        if is_refusal(failure.code) {
            return LogError::Refused { brokers, doing, source: Box::new(failure) };
        }
        match failure.class {
            Class::Rebuild | Class::Fatal => LogError::Broken { doing, source: Box::new(failure) },
            Class::Retry | Class::Abort => LogError::Unavailable { brokers, doing, source: Box::new(failure) },
        }
    }

    /// The error of a member's call: like [`error`](Self::error), or that it was fenced.
    pub fn member_error(self, spec: &MemberSpec, failure: impl Into<Failure>) -> LogError {
        let failure = failure.into();
        if failure.is_fenced() { fenced(spec) } else { self.error(failure) }
    }
}

/// The error of a member that another has taken over from.
pub(super) fn fenced(spec: &MemberSpec) -> LogError {
    LogError::Fenced { group: spec.group.clone(), instance: spec.instance.clone() }
}

/// Codes that no retry changes: rights, settings, an old broker.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::SSL
            | Code::UnsupportedSASLMechanism
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidConfig
            | Code::InvalidReplicationFactor
            | Code::InvalidSessionTimeout
            | Code::InvalidTransactionTimeout
            | Code::PolicyViolation
            | Code::InvalidTopic
    )
}

impl Speaker<'_> {
    /// The error of a client that could not even be made.
    pub fn settings_error(self, error: rdkafka::error::KafkaError) -> LogError {
        LogError::Refused { brokers: self.brokers.to_owned(), doing: self.doing, source: Box::new(error) }
    }
}
