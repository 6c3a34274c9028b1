//! The messages of the repo's gRPC services (`proto/gochat/repo/v1/repo.proto`), package
//! `gochat.repo.v1`. Server and client stubs are generated where they are used.
#![allow(clippy::all, clippy::too_many_lines, reason = "generated; the .proto file carries the documentation")]

include!(concat!(env!("OUT_DIR"), "/gochat.repo.v1.rs"));

/// The compiled `.proto` files, for gRPC reflection and for tools.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
