//! The log on the local disk.
