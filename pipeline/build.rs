//! What `gochat --version` says: the version, the commit where the sources are a git checkout, and the features.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_COMMIT");
    let set = |name: &str| env::var_os(name)?.into_string().ok().filter(|text| !text.is_empty());
    let version = set("CARGO_PKG_VERSION").unwrap_or_default();
    // Whoever packs the sources without their history may say where they come from.
    let commit = set("SOURCE_COMMIT").or_else(checked_out_commit);
    let commit = commit.map(|commit| format!("commit {commit}, "));
    let features = ["kafka", "kafka-tls"].map(|name| (name, name.to_uppercase().replace('-', "_")));
    let on = features.iter().filter(|(_, variable)| env::var_os(format!("CARGO_FEATURE_{variable}")).is_some());
    let on: Vec<_> = on.map(|(name, _)| *name).collect();
    let features = if on.is_empty() { "no features".to_owned() } else { format!("features {}", on.join(", ")) };
    // Cargo sets it for what it runs, too, and a variable that begins with GOCHAT would be taken for a setting.
    println!("cargo:rustc-env=BUILD_VERSION={version} ({}{features})", commit.unwrap_or_default());
}

/// The commit that these sources are checked out from. Without git, or in a folder that only lies inside of
/// another project's checkout: none.
fn checked_out_commit() -> Option<String> {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).parent()?.canonicalize().ok()?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&root).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != root {
        return None;
    }
    // Each commit and each checkout adds a line to it.
    let log = root.join(git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    if log.exists() {
        println!("cargo:rerun-if-changed={}", log.display());
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}
