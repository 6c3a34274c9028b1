# Redis on loopback, as a cache: bounded memory, what is used least goes first, nothing on disk.
# To be sourced after process.sh. Expects: $dir, and for redis_start also $port_base.

redis_memory_mb=256

# Port: 20 above the base.
redis_port() { say $((port_base + 20)); }

redis_ports() { say "redis $(redis_port)"; }

redis_start() {
  local port
  install_packages redis-server redis-server
  port=$(redis_port)
  if is_running redis; then
    say "redis runs already"
  else
    rm -f "$dir/redis.endpoints"
    mkdir -p "$dir/redis"
    redis_settings "$port" >"$dir/redis/redis.conf"
    start_process redis redis-server "$dir/redis/redis.conf"
  fi
  await redis 30 redis_answers "$port"
  say "redis://127.0.0.1:$port" >"$dir/redis.endpoints"
  say "redis answers at $(cat "$dir/redis.endpoints")"
}

# A line; fails when it does not answer.
redis_health() {
  local endpoint
  [ -f "$dir/redis.endpoints" ] || { say "redis: not started in $dir"; return 1; }
  endpoint=$(cat "$dir/redis.endpoints")
  if ! is_running redis; then
    say "redis: DOWN, its process is gone; see $dir/redis/log, start it again with start-infra.sh"
    return 1
  elif ! redis_answers "${endpoint##*:}"; then
    say "redis: runs, but does not answer at $endpoint; see $dir/redis/log"
    return 1
  fi
  say "redis: ok at $endpoint"
}

redis_stop() {
  [ -f "$dir/redis/pid" ] && stop_process redis
  rm -f "$dir/redis.endpoints"
}

redis_answers() {
  local answer
  answer=$(
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf 'PING\r\n' >&3
    timeout 5 head -c 5 <&3
  )
  [ "$answer" = +PONG ]
}

# Redis writes its own title over its command line; the directory in it is how is_running knows the process.
redis_settings() {
  cat <<SETTINGS
bind 127.0.0.1
port $1
daemonize no
dir $dir/redis
set-proc-title yes
proc-title-template "{title} $dir/redis/ {listen-addr}"
maxmemory ${redis_memory_mb}mb
maxmemory-policy allkeys-lfu
# The messages of a conversation side by side, not in a skip list: a third less memory.
zset-max-listpack-entries 300
zset-max-listpack-value 1024
# A cache: what is lost is read from the store again.
save ""
appendonly no
SETTINGS
}
