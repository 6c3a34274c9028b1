//! Compiles the gRPC service stubs with protox: no protoc on the machine. The messages themselves are
//! those of `schemas::pb`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../schemas/proto");
    let descriptors = protox::compile(["gochat/repo/v1/repo.proto"], ["../schemas/proto"])?;
    tonic_prost_build::configure()
        .build_server(true)
        .build_client(true)
        .extern_path(".gochat.repo.v1", "::schemas::pb")
        .compile_fds(descriptors)?;
    Ok(())
}
