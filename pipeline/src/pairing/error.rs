//! What is wrong with a pair of log and store, and what can be done about it.

use schemas::avro::AvroError;
use schemas::ids::{ConversationId, MessageId, Seq};
use stages::repo::store::StoreError;
use topics::log::LogError;

use crate::config::{Config, LogKind};

/// Why a process must not begin with this log and this store.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    #[error("whether the store belongs to it can't be read from {log}")]
    Log {
        log: String,
        #[source]
        source: LogError,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the log's id can't be written")]
    Encode(#[from] AvroError),
    #[error(
        "{store} belongs to another log: it was filled from log {filled_from}, and {log} is log {is}, a new one or of \
         another installation. {remedy}"
    )]
    Foreign { store: String, filled_from: String, log: String, is: String, remedy: String },
    #[error(
        "{store} is ahead of {log}: it has message {message} ({conversation} seq {seq}), and the log {knows}. The log was \
         removed, restored from an older copy, or is of another installation; going on would give that place to another \
         message. {remedy}"
    )]
    Ahead {
        store: String,
        log: String,
        message: MessageId,
        conversation: ConversationId,
        seq: Seq,
        /// What the log has of the conversation.
        knows: String,
        remedy: String,
    },
    #[error(
        "{store} does not have message {message} ({conversation} seq {seq}), which was stored before: it was removed, cut \
         short or restored from an older copy, or is another store. Users and groups are in a backup only; `gochat \
         rebuild store` writes messages again from the log. Then start again"
    )]
    Lacks { store: String, message: MessageId, conversation: ConversationId, seq: Seq },
}

/// What can be done about a store of another log.
pub(super) fn remedy(config: &Config) -> String {
    let log = match config.log.kind {
        LogKind::Embedded => "restore its directory from a backup, or choose another with --data DIR",
        LogKind::Kafka => "restore its topics, or find them with log.kafka.brokers and log.kafka.topic_prefix",
    };
    let no_log = match config.log.kind {
        LogKind::Embedded => format!("move {} away", crate::log::name(config)),
        LogKind::Kafka => {
            "remove the topics (deployment/scripts/cleanup.sh does so with the brokers of start-infra.sh; \
             otherwise deployment/scripts/kafka-tool.sh topics --delete)"
                .to_owned()
        }
    };
    let no_store = match crate::store::file(config) {
        Some(file) => format!("move {}* away", file.display()),
        None => "name an empty database in repo.store.url".to_owned(),
    };
    format!(
        "To keep the store, use the log that it belongs to: {log}. To keep the log, name the store that belongs to it in \
         repo.store.url, or an empty one, and write the messages into it with `gochat rebuild store`. To start over, \
         empty both: {no_log}, and {no_store}"
    )
}
