#!/usr/bin/env bash
# Breaks an installation under load, and judges what is left. See --help.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh"

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

run_program faults "$@"
