#!/usr/bin/env bash
# Attacks a server as one client can, and compares what the others notice. See --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")

usage() {
  cat <<'TEXT'
Attacks a GoChat server on loopback as one client can, and compares what the others notice with the time before.

Usage: tests/hostile.sh [OPTIONS] [ATTACK…]

  ATTACK         only these: connections, followers, presence, sync, ids, registrations, flood, pings, pages, logins
  --bounded      as large as a test has time for, not as large as it once took to bring the service down
  --log LOG      embedded, or kafka on the brokers that GOCHAT_TEST_KAFKA names   [embedded]

Examples:
  tests/hostile.sh                        every attack
  tests/hostile.sh --bounded sync flood   these two, smaller
  tests/hostile.sh --log kafka            on Kafka

Exit code: 0 all bounds held, 1 one did not, 2 wrong arguments.
TEXT
}

known=$(usage | sed -n 's/^  \(--[a-z-]*\) .*/\1/p')
for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    -*)
      grep -qxF -- "${argument%%=*}" <<<"$known" ||
        { echo "error: hostile.sh has no option $argument; see --help" >&2; exit 2; }
      ;;
  esac
done

command -v cargo >/dev/null || { echo "Rust is missing: install it with rustup (https://rustup.rs)" >&2; exit 1; }
# The build that people run, where there is one; else the one that tests use.
profile=dev target=${CARGO_TARGET_DIR:-$root/target}
for built in release dist; do [ ! -x "$target/$built/gochat" ] || profile=$built; done
(cd "$root" && cargo build --workspace --bins --locked --profile "$profile") >&2
[ "$profile" = dev ] && profile=debug
exec "$target/$profile/hostile" "$@"
