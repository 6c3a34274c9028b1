//! What GoChat's parts say to each other: ids, records, event kinds, error codes and the rules by
//! which a message is admitted. Plain data and pure functions; no runtime, no Kafka, no SQL.
//!
//! Records travel on topics as Avro single objects (see [`avro`]); the repo's gRPC messages are in
//! [`pb`]. Every version of every Avro schema stays in `schemas/avro/`.

pub mod admission;
pub mod avro;
pub mod causes;
pub mod error;
pub mod ids;
pub mod json;
pub mod kind;
pub mod names;
pub mod pb;
pub mod records;
pub mod setting;
pub mod snowflake;
pub mod time;
pub mod token;
