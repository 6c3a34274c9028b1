#!/usr/bin/env bash
# Attacks a server as one client can, and compares what the others notice. See --help.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh"

usage() {
  cat <<'TEXT'
Attacks a GoChat server on loopback as one client can, and compares what the others notice with the time before.

Usage: tests/hostile.sh [OPTIONS] [ATTACK…]

  ATTACK         only these: connections, followers, presence, sync, ids, registrations, flood, burst, pings, pages, logins
  --bounded      as large as a test has time for, not as large as it once took to bring the service down
  --log LOG      embedded, or kafka on the brokers that GOCHAT_TEST_KAFKA names   [embedded]

Examples:
  tests/hostile.sh                        every attack
  tests/hostile.sh --bounded sync flood   these two, smaller
  tests/hostile.sh --log kafka            on Kafka

Exit code: 0 all bounds held, 1 one did not, 2 wrong arguments.
TEXT
}

run_program hostile "$@"
