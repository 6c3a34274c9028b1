#!/usr/bin/env bash
# Runs one of Kafka's own command-line tools. See --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../infrastructure/process.sh"

usage() {
  cat <<HELP
Runs one of Kafka's own command-line tools, from the jars that start-infra.sh starts brokers with.

Usage: kafka-tool.sh TOOL ARGUMENTS…

  topics             names, partitions, replicas and settings of topics
  configs            settings of topics and brokers
  consumer-groups    positions and lag of groups; sets and deletes positions
  console-consumer   prints records

A tool's arguments are Kafka's; TOOL --help lists them. Each needs --bootstrap-server HOST:PORT.

Examples:
  kafka-tool.sh topics --bootstrap-server 127.0.0.1:19092 --describe --topic upstream-messages
  kafka-tool.sh consumer-groups --bootstrap-server 127.0.0.1:19092 --describe --group persist
  kafka-tool.sh consumer-groups --bootstrap-server 127.0.0.1:19092 --group dedupe \\
    --topic upstream-messages --reset-offsets --to-latest --execute
HELP
}

case ${1-} in
  topics) class=org.apache.kafka.tools.TopicCommand ;;
  configs) class=kafka.admin.ConfigCommand ;;
  consumer-groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
  console-consumer) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
  -h | --help) usage; exit 0 ;;
  "") usage >&2; exit 2 ;;
  -*) die "unknown option $1; a tool comes first, see --help" ;;
  *) die "there is no tool $1: choose among topics, configs, consumer-groups and console-consumer" ;;
esac
tool=$1
shift

# The tools themselves would try for a minute, and say so on every line.
servers="" help=no previous=""
for argument in "$@"; do
  case $argument in
    --bootstrap-server=* | --bootstrap-controller=*) servers=${argument#*=} ;;
    --help | --version) help=yes ;;
    *) [[ $previous != --bootstrap-@(server|controller) ]] || servers=$argument ;;
  esac
  previous=$argument
done
if [ "$help" = no ]; then
  [ -n "$servers" ] || die "$tool needs --bootstrap-server HOST:PORT, such as 127.0.0.1:19092"
  answers=no
  for server in ${servers//,/ }; do
    [[ $server =~ ^(.+):([0-9]+)$ ]] || die "--bootstrap-server is HOST:PORT, not $server"
    ! port_is_open "${BASH_REMATCH[2]}" "${BASH_REMATCH[1]}" || answers=yes
  done
  [ "$answers" = yes ] || die "nothing listens at $servers: is Kafka running there? start-infra.sh --services kafka starts one"
fi

dir=$(mktemp -d) # for what Maven says, should the jars have to come first
trap 'rm -rf -- "$dir"' EXIT
load_service kafka
{ kafka_java && kafka_fetch_jars; } >&2
kafka_tool "$class" "$@"
