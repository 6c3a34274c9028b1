//! The records and their bytes: what is written stays readable, by every version.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod golden;
mod malformed;
mod samples;
mod second_version;
mod shown;
mod versions;
