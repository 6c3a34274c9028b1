#!/usr/bin/env bash
# Asks the services that start-infra.sh started how they are. See --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=/tmp/gochat-infra
. "$here/../infrastructure/process.sh"

usage() {
  cat <<HELP
Prints a line for each service that start-infra.sh started, and fails when one does not answer.

Usage: health-check.sh [--dir DIR]

Examples:
  health-check.sh                    those of /tmp/gochat-infra
  health-check.sh --dir /srv/kafka   those of another directory
HELP
}

while (($#)); do
  case $1 in
    --dir) need "${2-}" --dir; dir=$2; shift ;;
    -h | --help) usage; exit 0 ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done
[ -f "$dir/.gochat-infra" ] || die "nothing was started in $dir: start-infra.sh --dir $dir does that"
dir=$(cd "$dir" && pwd)

ill=0 known=0
for service in "${all_services[@]}"; do
  [ -f "$dir/$service.endpoints" ] || continue
  known=1
  load_service "$service"
  "${service}_health" || ill=1
done
[ "$known" = 1 ] || die "nothing runs in $dir: start-infra.sh --dir $dir starts it"
exit "$ill"
