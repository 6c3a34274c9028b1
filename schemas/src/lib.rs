//! The data that GoChat's parts exchange: ids, records, event kinds, error codes; and the rules for admitting a
//! message. Plain data and pure functions: no runtime, no Kafka, no SQL.
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
mod text;
pub mod time;
pub mod token;
