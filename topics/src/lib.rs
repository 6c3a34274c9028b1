//! The topics of the chain and the log that holds them.
//!
//! [`catalogue`] declares every topic once, as a typed constant. [`log`] is the seam behind which
//! records are kept: [`embedded`] on the local disk, or Apache Kafka (feature `kafka`). [`codec`]
//! turns typed records into what a log takes. [`tools`] is what people look at topics with; [`backlog`]
//! stands in front of a chain that is behind, and [`queue_metrics`] tells metrics of every queue.

pub mod backlog;
pub mod catalogue;
pub mod clock;
pub mod codec;
pub mod dead_letter;
pub mod embedded;
pub mod error;
pub mod headers;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod log;
pub mod partition;
pub mod queue_metrics;
pub mod scan;
pub mod tools;
