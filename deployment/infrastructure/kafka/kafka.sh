# Apache Kafka in KRaft mode on loopback: each node is broker and controller at once.
# To be sourced after process.sh. Expects: $dir, and for kafka_start also $nodes and $port_base.

kafka_home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kafka_version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$kafka_home/pom.xml")
kafka_jars=${XDG_CACHE_HOME:-$HOME/.cache}/gochat/kafka-$kafka_version
kafka_heap_mb=512

# Ports: brokers from the base on, their controllers 10 above.
kafka_port() { say $((port_base + $1 - 1)); }
kafka_controller_port() { say $((port_base + 10 + $1 - 1)); }

kafka_ports() {
  local node
  for ((node = 1; node <= nodes; node++)); do
    say "kafka-$node $(kafka_port "$node") $(kafka_controller_port "$node")"
  done
}

kafka_start() {
  local node
  kafka_java
  kafka_fetch_jars
  kafka_check_directory
  for ((node = 1; node <= nodes; node++)); do
    if is_running "kafka-$node"; then
      say "kafka-$node runs already"
      continue
    fi
    rm -f "$dir/kafka.endpoints"
    kafka_format "$node"
    start_process "kafka-$node" java "-Xms${kafka_heap_mb}m" "-Xmx${kafka_heap_mb}m" -XX:+UseG1GC \
      -XX:MaxGCPauseMillis=20 -XX:+ExitOnOutOfMemoryError "-Dlog4j2.configurationFile=$kafka_home/log4j2.properties" \
      -cp "$kafka_jars/*" kafka.Kafka "$dir/kafka-$node/server.properties"
  done
  for ((node = 1; node <= nodes; node++)); do
    await "kafka-$node" 90 kafka_answers "$(kafka_port "$node")"
  done
  kafka_shape >"$dir/kafka.shape"
  kafka_endpoints >"$dir/kafka.endpoints"
  say "kafka $kafka_version answers at $(cat "$dir/kafka.endpoints")"
}

# The brokers' addresses, as clients take them.
kafka_endpoints() {
  local node list=""
  for ((node = 1; node <= nodes; node++)); do list+="${list:+,}127.0.0.1:$(kafka_port "$node")"; done
  say "$list"
}

# A line for each node; fails when one does not answer.
kafka_health() {
  local endpoint node=0 ill=0
  [ -f "$dir/kafka.endpoints" ] || { say "kafka: not started in $dir"; return 1; }
  for endpoint in $(tr ',' ' ' <"$dir/kafka.endpoints"); do
    node=$((node + 1))
    if ! is_running "kafka-$node"; then
      say "kafka-$node: DOWN, its process is gone; see $dir/kafka-$node/log, start it again with start-infra.sh"
      ill=1
    elif ! kafka_answers "${endpoint##*:}"; then
      say "kafka-$node: runs, but does not answer at $endpoint; see $dir/kafka-$node/log"
      ill=1
    else
      say "kafka-$node: ok at $endpoint"
    fi
  done
  return "$ill"
}

# A node that stops hands its partitions over, and needs its fellows for that: all are told first.
kafka_stop() {
  local pid_file
  for pid_file in "$dir"/kafka-*/pid; do
    [ -f "$pid_file" ] && is_running "$(basename "$(dirname "$pid_file")")" && kill -TERM "$(cat "$pid_file")" 2>/dev/null
  done
  for pid_file in "$dir"/kafka-*/pid; do
    [ -f "$pid_file" ] && stop_process "$(basename "$(dirname "$pid_file")")"
  done
  rm -f "$dir/kafka.endpoints"
}

# Runs one of Kafka's own tools by class, for example org.apache.kafka.tools.TopicCommand.
kafka_tool() {
  java -Xmx256m "-Dlog4j2.configurationFile=$kafka_home/tools-log4j2.properties" -cp "$kafka_jars/*" "$@"
}

# Whether a broker answers an ApiVersions request (key 18, version 0, correlation id 1, no client id):
# it does once it has registered with the controllers and opened its port.
kafka_answers() {
  local answer
  answer=$(
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf '\0\0\0\012\0\022\0\0\0\0\0\001\377\377' >&3
    timeout 5 head -c 8 <&3 | od -An -tx1 -j4 | tr -d ' \n'
  )
  [ "$answer" = 00000001 ]
}

kafka_java() {
  local version
  install_packages java default-jre-headless
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
  [ "${version:-0}" -ge 17 ] || die "Kafka $kafka_version needs Java 17 or later; 'java -version' says ${version:-nothing}"
}

# Copies the jars out of Maven Central, once; a download that was cut short leaves nothing behind.
kafka_fetch_jars() {
  local partial=$kafka_jars.partial.$$
  [ -d "$kafka_jars" ] && return
  install_packages mvn maven
  say "fetching Kafka $kafka_version from Maven Central into $kafka_jars"
  mkdir -p "$partial"
  if ! mvn -B -ntp -q -f "$kafka_home/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    "-DoutputDirectory=$partial" >"$dir/kafka-fetch.log" 2>&1; then
    rm -rf "$partial"
    grep -m 3 ERROR "$dir/kafka-fetch.log" >&2
    die "Kafka's jars did not come: is Maven Central reachable? A proxy or mirror is set in ~/.m2/settings.xml." \
      "All that mvn says is in $dir/kafka-fetch.log"
  fi
  # Another run may have been first: its jars are the same.
  mv -T "$partial" "$kafka_jars" 2>/dev/null || rm -rf "$partial"
}

kafka_shape() { say "nodes=$nodes port_base=$port_base"; }

# A directory keeps the shape it was made with: topics, their replicas and the voters depend on it. The shape is
# written once all brokers have answered; what a start left that never got so far is of no use to anybody.
kafka_check_directory() {
  local made
  if made=$(cat "$dir/kafka.shape" 2>/dev/null); then
    [ "$made" = "$(kafka_shape)" ] ||
      die "$dir holds a Kafka with $made, not $(kafka_shape): run cleanup.sh --dir $dir, or choose another --dir"
  else
    kafka_stop
    rm -rf -- "$dir"/kafka-[0-9]* "$dir/kafka.cluster"
  fi
  [ -s "$dir/kafka.cluster" ] || head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=' >"$dir/kafka.cluster"
}

# Writes a node's settings, and its storage when it has none yet.
kafka_format() {
  local node=$1 home=$dir/kafka-$1
  mkdir -p "$home"
  kafka_settings "$node" >"$home/server.properties"
  [ -f "$home/data/meta.properties" ] && return
  kafka_tool kafka.tools.StorageTool format --ignore-formatted "--cluster-id=$(cat "$dir/kafka.cluster")" \
    --config "$home/server.properties" >"$home/format.log" 2>&1 ||
    { cat "$home/format.log" >&2; die "the storage of kafka-$node could not be formatted: the reason is above"; }
}

kafka_settings() {
  local node=$1 replicas=$((nodes < 3 ? 1 : 3)) voters="" other
  local in_sync=$((replicas < 3 ? 1 : 2))
  for ((other = 1; other <= nodes; other++)); do
    voters+="${voters:+,}$other@127.0.0.1:$(kafka_controller_port "$other")"
  done
  cat <<SETTINGS
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=BROKER://127.0.0.1:$(kafka_port "$node"),CONTROLLER://127.0.0.1:$(kafka_controller_port "$node")
advertised.listeners=BROKER://127.0.0.1:$(kafka_port "$node")
inter.broker.listener.name=BROKER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/kafka-$node/data

# Topics are made from the catalogue: a misspelt name must not make one.
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$in_sync
# The default of 50 each is meant for clusters with thousands of groups.
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=8
share.coordinator.state.topic.num.partitions=1

# A group's positions are truth: a chain that stood still for months goes on where it was.
offsets.retention.minutes=525600
# What a stage that died left open is ended a second after its timeout, not ten.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# A node gets its partitions with a heartbeat: sooner after a start, then.
broker.heartbeat.interval.ms=500
# Members are static and few: nothing is gained by waiting for more of them.
group.initial.rebalance.delay.ms=50

# Of the small heap.
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
SETTINGS
}
