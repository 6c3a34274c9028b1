#!/usr/bin/env bash
# Stops what start-infra.sh started, and removes its data. See --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=/tmp/gochat-infra keep_data=no
. "$here/../infrastructure/process.sh"

usage() {
  cat <<HELP
Stops the services of a directory, by their pid files, and removes the directory.

Usage: cleanup.sh [--dir DIR] [--keep-data]

  --dir DIR      the directory given to start-infra.sh   [/tmp/gochat-infra]
  --keep-data    only stop; start-infra.sh goes on with the same data

Examples:
  cleanup.sh                    stop and remove everything in /tmp/gochat-infra
  cleanup.sh --keep-data        stop for now
HELP
}

while (($#)); do
  case $1 in
    --dir) need "${2-}" --dir; dir=$2; shift ;;
    --keep-data) keep_data=yes ;;
    -h | --help) usage; exit 0 ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done
[ -d "$dir" ] || { say "nothing to clean up: there is no $dir"; exit 0; }
[ -f "$dir/.gochat-infra" ] || die "$dir was not made by start-infra.sh: it is left alone"
dir=$(cd "$dir" && pwd)
exec 9>"$dir/lock"
flock -w 120 9 || die "another start-infra.sh or cleanup.sh has worked in $dir for two minutes: wait for it, or stop it"

for service in "${all_services[@]}"; do
  load_service "$service"
  "${service}_stop"
done
if [ "$keep_data" = no ]; then
  rm -rf -- "$dir"
  say "removed $dir"
fi
