#!/usr/bin/env bash
# Starts what GoChat needs around it. See --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=/tmp/gochat-infra nodes=1 port_base=19092 services=""
. "$here/../infrastructure/process.sh"

usage() {
  cat <<HELP
Starts the services that GoChat runs on, on this machine's loopback: ${all_services[*]}.

Usage: start-infra.sh [--native] [--services LIST] [--nodes 1|3] [--dir DIR] [--port-base PORT]

  --native          as plain processes, without containers (the only way so far, so it may be left out)
  --services LIST   only these, separated by commas                           [all of them]
  --nodes N         1 Kafka broker, or 3 with every record on all of them and acknowledged by 2   [1]
  --dir DIR         data, logs and pid files                                 [/tmp/gochat-infra]
  --port-base PORT  Kafka's brokers listen from PORT on, their controllers from PORT+10 on, Redis at PORT+20,
                    MariaDB at PORT+30, PostgreSQL at PORT+40 and its standby at PORT+41   [19092]

Ports that are in use, or that this machine gives to outgoing connections, are refused before anything is done.
Where each answers is written to DIR/NAME.endpoints. Kafka's jars come from Maven Central once, into
\${XDG_CACHE_HOME:-~/.cache}/gochat; databases are Debian's packages, installed when missing. Running it again starts
what is down and leaves the rest alone, also after a start that failed; data is kept until cleanup.sh.

Examples:
  start-infra.sh --native                                  one of each, Kafka at 127.0.0.1:19092
  start-infra.sh --native --services postgres              only PostgreSQL and its standby
  start-infra.sh --native --nodes 3 --dir /srv/kafka       three, at 19092, 19093 and 19094
  start-infra.sh --dir /tmp/other --port-base 29092        another one beside the first
  start-infra.sh --services redis                          only Redis, at 127.0.0.1:19112
  kcat -L -b "\$(cat /tmp/gochat-infra/kafka.endpoints)"    look at it
HELP
}

while (($#)); do
  case $1 in
    --native) ;;
    --services) need "${2-}" --services; services=$2; shift ;;
    --nodes) need "${2-}" --nodes; nodes=$2; shift ;;
    --dir) need "${2-}" --dir; dir=$2; shift ;;
    --port-base) need "${2-}" --port-base; port_base=$2; shift ;;
    -h | --help) usage; exit 0 ;;
    *) die "unknown option $1; see --help" ;;
  esac
  shift
done
[[ $nodes =~ ^(1|3)$ ]] || die "--nodes is 1 or 3, not $nodes"
[[ $port_base =~ ^[0-9]{4,5}$ ]] && ((port_base >= 1024 && port_base <= 65000)) ||
  die "--port-base is a port from 1024 to 65000, not $port_base"

[ -n "$services" ] || services=$(IFS=,; echo "${all_services[*]}")
IFS=, read -ra services <<<"$services"
for service in "${services[@]}"; do
  [[ " ${all_services[*]} " == *" $service "* ]] || die "there is no service $service: choose among ${all_services[*]}"
  load_service "$service"
done
[ ! -e "$dir" ] || [ -d "$dir" ] || die "$dir is not a directory: choose another --dir"
dir=$(realpath -m -- "$dir")
# Before anything is made, installed or formatted.
check_ports "${services[@]}"

mkdir -p "$dir" || die "$dir cannot be made: choose another --dir"
: >"$dir/.gochat-infra" || die "$dir cannot be written to: choose another --dir"
exec 9>"$dir/lock"
flock -w 120 9 || die "another start-infra.sh or cleanup.sh has worked in $dir for two minutes: wait for it, or stop it"

for service in "${services[@]}"; do
  "${service}_start"
done
