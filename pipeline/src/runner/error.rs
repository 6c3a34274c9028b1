//! Why a task of a stage ended.

use stages::stage::StageError;
use topics::log::LogError;

/// Why a task ended without being stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("stage {stage} stops: the log failed")]
    Log {
        stage: &'static str,
        #[source]
        source: LogError,
    },
    #[error(
        "another process ({by}) runs as instance {instance}, so this one stops: give each process an --instance of its own"
    )]
    InstanceTaken { instance: u16, by: String },
    #[error("stage {stage} stops")]
    Stage {
        stage: &'static str,
        #[source]
        source: StageError,
    },
    #[error("stage {stage} stops: it made a record that can't be written")]
    Encode {
        stage: &'static str,
        #[source]
        source: schemas::avro::AvroError,
    },
    #[error(
        "stage {stage} stops: group {group} has no position in {topic} partition {partition}, but its changelog is not \
         empty. Starting over would give old messages new identities: set the group's position by hand (on Kafka with \
         deployment/scripts/kafka-tool.sh consumer-groups --reset-offsets); or, where the \
         stages were fused until now, keep them fused"
    )]
    PositionLost { stage: &'static str, group: &'static str, topic: &'static str, partition: u32 },
    #[error("stage {stage} stops: {topic} partition {partition} offset {offset} is no record of its changelog")]
    Changelog {
        stage: &'static str,
        topic: &'static str,
        partition: u32,
        offset: u64,
        #[source]
        source: schemas::avro::AvroError,
    },
}
