#!/usr/bin/env bash
# Breaks an installation under load, and judges what is left. See --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")

usage() {
  cat <<'TEXT'
Breaks a GoChat installation under load, in every way there is, and judges what is left. Everything is started on
loopback, with its data in a temporary directory that is kept only when something broke.

Usage: tests/faults.sh [OPTIONS]

  --minutes N          how long; without it, until every kind of fault has come once
  --seed N             decides everything random; without it another one each time, which is printed
  --log LOG            embedded, or kafka on three brokers   [embedded]
  --store STORE        sqlite, or mariadb or postgres: a server is started, and installed when missing   [sqlite]
  --fused              persist and fan-out share a task; their processes run both
  --only KINDS         only faults of these kinds, separated by commas; a wrong one is answered with all there are
  --stopped-stage N    instead of faults, persist stands still for N seconds under load, 10 to 3600
  --rate N             messages a second   [1000]
  --users N            connected users, 6 to 400   [40]
  --dir DIR            where data and logs go   [the system's directory for temporary files]

Examples:
  tests/faults.sh                                       every kind of fault once, embedded log
  tests/faults.sh --minutes 30 --seed 7 --log kafka     half an hour of them on three brokers
  tests/faults.sh --log kafka --minutes 10 --only brokers-killed,broker-lost
  tests/faults.sh --store postgres                      on a real PostgreSQL, which stands still and dies
  tests/faults.sh --stopped-stage 300                   nobody stores anything for five minutes

Exit code: 0 everything held, 1 an invariant broke or the harness could not go on, 2 wrong arguments.
TEXT
}

# The program judges the values; what it does not know at all need not be built for.
known=$(usage | sed -n 's/^  \(--[a-z-]*\) .*/\1/p')
for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    -*)
      grep -qxF -- "${argument%%=*}" <<<"$known" ||
        { echo "error: faults.sh has no option $argument; see --help" >&2; exit 2; }
      ;;
  esac
done

command -v cargo >/dev/null || { echo "Rust is missing: install it with rustup (https://rustup.rs)" >&2; exit 1; }
# The build that people run, where there is one; else the one that tests use.
profile=dev target=${CARGO_TARGET_DIR:-$root/target}
for built in release dist; do [ ! -x "$target/$built/gochat" ] || profile=$built; done
(cd "$root" && cargo build --workspace --bins --locked --profile "$profile") >&2
[ "$profile" = dev ] && profile=debug
exec "$target/$profile/faults" "$@"
