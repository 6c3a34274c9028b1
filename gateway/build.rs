//! Makes the gRPC client stubs (and, for the tests, server stubs) without protoc, and a table of the
//! files of the web page, so that the binary carries them.

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
    write_web_table(&PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets it")?), &out)
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

fn write_web_table(manifest: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let root = manifest.join("web");
    // Without the folder, look again whenever anything in the crate changes.
    println!("cargo:rerun-if-changed={}", if root.is_dir() { "web" } else { "." });
    let mut files = Vec::new();
    if root.is_dir() {
        walk(&root, &mut files)?;
    }
    files.sort();
    let mut table = String::from("pub(super) static FILES: &[File] = &[\n");
    for file in files {
        let name = file.strip_prefix(&root)?.to_str().ok_or("names of web files are UTF-8")?.replace('\\', "/");
        let mut hasher = DefaultHasher::new();
        fs::read(&file)?.hash(&mut hasher);
        writeln!(
            table,
            "    File {{ name: {name:?}, content_type: {:?}, etag: \"\\\"{:016x}\\\"\", bytes: include_bytes!({:?}) }},",
            content_type(&name),
            hasher.finish(),
            file
        )?;
    }
    table.push_str("];\n");
    fs::write(out.join("web.rs"), table)?;
    Ok(())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || name == "tests" || name == "package.json" {
            continue;
        }
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}
