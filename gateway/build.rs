//! Generates the gRPC client stubs (and server stubs for the tests) without protoc, and a table of the files of the web
//! page, which are part of the binary.

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    println!("cargo:rerun-if-changed=build.rs");
    compile_stubs(&out)?;
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?);
    write_web_table(&manifest.join("web"), &out)
}

fn compile_stubs(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../schemas/proto");
    let descriptors = protox::compile(["gochat/repo/v1/repo.proto"], ["../schemas/proto"])?;
    for (folder, server) in [("client", false), ("server", true)] {
        let folder = out.join(folder);
        fs::create_dir_all(&folder)?;
        tonic_prost_build::configure()
            .build_client(!server)
            .build_server(server)
            .generate_default_stubs(server)
            .extern_path(".gochat.repo.v1", "::schemas::pb")
            .out_dir(folder)
            .compile_fds(descriptors.clone())?;
    }
    Ok(())
}

fn write_web_table(folder: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=web");
    let mut table = String::from("&[\n");
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("names of web files are UTF-8")?;
        if path.is_dir() || name == "package.json" || name.starts_with('.') {
            continue;
        }
        let mut hasher = DefaultHasher::new();
        fs::read(&path)?.hash(&mut hasher);
        let etag = format!("\"{:016x}\"", hasher.finish());
        writeln!(table, "    File {{ name: {name:?}, etag: {etag:?}, bytes: include_bytes!({path:?}) }},")?;
    }
    table.push(']');
    fs::write(out.join("web.rs"), table)?;
    Ok(())
}
