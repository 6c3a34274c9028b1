#!/usr/bin/env bash
# Breaks an installation under load, and judges what is left. See --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")

command -v cargo >/dev/null || { echo "Rust is missing: install it with rustup (https://rustup.rs)" >&2; exit 1; }
# The release build where there is one, since it is the one that people run; else the one that tests use.
profile=dev target=${CARGO_TARGET_DIR:-$root/target}
[ ! -x "$target/release/gochat" ] || profile=release
(cd "$root" && cargo build --workspace --bins --locked --profile "$profile") >&2
[ "$profile" = dev ] && profile=debug
exec "$target/$profile/faults" "$@"
