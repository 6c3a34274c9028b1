#!/usr/bin/env bash
# Stops what start-infra.sh started, and removes its data. See --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=/tmp/gochat-infra keep_data=no
. "$here/../infrastructure/process.sh"

usage() {
  cat <<HELP
Stops the services of a directory, by their pid files, and removes the directory. It says which data of GoChat
elsewhere is stale then, and what to do about it.

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
[ ! -e "$dir" ] || [ -d "$dir" ] || die "$dir is not a directory"
[ -d "$dir" ] || { say "nothing to clean up: there is no $dir"; exit 0; }
[ -f "$dir/.gochat-infra" ] || die "$dir was not made by start-infra.sh: it is left alone"
dir=$(cd "$dir" && pwd)
exec 9>"$dir/lock"
flock -w 120 9 || die "another start-infra.sh or cleanup.sh has worked in $dir for two minutes: wait for it, or stop it"

for service in "${all_services[@]}"; do
  load_service "$service"
  "${service}_stop"
done
[ "$keep_data" = no ] || exit 0

had_topics=no had_database=no
[ ! -f "$dir/kafka.shape" ] || had_topics=yes
[ ! -d "$dir/mariadb/data" ] && [ ! -d "$dir/postgres/data" ] || had_database=yes
rm -rf -- "$dir"
say "removed $dir"
if [ "$had_topics" = yes ]; then
  cat <<'STALE'
Kafka's topics are gone. A store that has their messages is stale: a new log would number them from 1 again, which
such a store refuses. Before the next start remove it too: data_dir of the configuration (deployment/config/kafka.toml:
data-kafka) while the store is SQLite, or the database on a server that is kept.
STALE
fi
if [ "$had_database" = yes ]; then
  cat <<'STALE'
The databases are gone. A log that is kept has messages that a new database lacks: a start is refused until
`gochat rebuild store` has written them again. Users and groups are not in the log: they are lost.
STALE
fi
