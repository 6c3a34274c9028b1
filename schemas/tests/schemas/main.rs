//! The records and their bytes: what is written stays readable, by every version.

mod golden;
mod malformed;
mod samples;
mod second_version;
mod versions;
