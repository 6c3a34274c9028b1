# PostgreSQL on loopback, a primary and a standby that streams from it, with a database and a user of
# GoChat's. To be sourced after process.sh. Expects: $dir, and for postgres_start also $port_base.

postgres_port() { say $((port_base + 40)); }
postgres_standby_port() { say $((port_base + 41)); }
postgres_url() { say "postgres://gochat:gochat@127.0.0.1:$1/gochat"; }

postgres_ports() {
  say "postgres $(postgres_port)"
  say "postgres_standby $(postgres_standby_port)"
}

postgres_start() {
  postgres_packages
  postgres_make_home
  postgres_make_data
  postgres_start_server postgres "$(postgres_port)"
  postgres_make_standby
  # The copy remembers the port that it was copied from; this may be another start, with other ports.
  postgres_start_server postgres_standby "$(postgres_standby_port)" \
    -c "primary_conninfo=host=127.0.0.1 port=$(postgres_port) user=gochat password=gochat"
}

# A line for each server; fails when one does not answer.
postgres_health() {
  local name port ill=0
  postgres_bin=$(dirname "$(postgres_find)")
  for name in postgres postgres_standby; do
    [ -f "$dir/$name.endpoints" ] || { say "$name: not started in $dir"; ill=1; continue; }
    port=$(sed 's:.*\:\([0-9]*\)/.*:\1:' "$dir/$name.endpoints")
    if ! is_running "$name"; then
      say "$name: DOWN, its process is gone; see $dir/$name/log, start it again with start-infra.sh"
      ill=1
    elif ! postgres_answers "$port"; then
      say "$name: runs, but does not answer at 127.0.0.1:$port; see $dir/$name/log"
      ill=1
    else
      say "$name: ok at 127.0.0.1:$port"
    fi
  done
  return "$ill"
}

# SIGINT asks it to end its sessions and stop; SIGTERM would wait for every client to leave.
postgres_stop() {
  local name
  for name in postgres_standby postgres; do
    if is_running "$name"; then
      kill -INT "$(cat "$dir/$name/pid")" 2>/dev/null || true
      kill -CONT "$(cat "$dir/$name/pid")" 2>/dev/null || true
    fi
    stop_process "$name"
    rm -f "$dir/$name.endpoints"
  done
}

# postgres_start_server NAME PORT [OPTION…]: starts what is made already.
postgres_start_server() {
  local name=$1 port=$2
  shift 2
  if is_running "$name"; then
    say "$name runs already"
  else
    rm -f "$dir/$name.endpoints"
    postgres_await_orphans "$dir/$name/data"
    start_process "$name" "${postgres_as[@]}" "$postgres_bin/postgres" -D "$dir/$name/data" -p "$port" "$@"
  fi
  await "$name" 60 postgres_answers "$port"
  postgres_url "$port" >"$dir/$name.endpoints"
  say "$name answers at 127.0.0.1:$port"
}

# Whether it takes a statement of GoChat's user.
postgres_answers() {
  PGCONNECT_TIMEOUT=5 "$postgres_bin/psql" -XqAt "$(postgres_url "$1")" -c 'SELECT 1' >/dev/null 2>&1
}

# When a server is killed its sessions end by themselves a moment later; until then its shared memory
# is in use, and a new one would refuse to start. They work in the data directory, so that tells them.
# Its own pid file names a process that may be dead and not yet cleared away by the system; who would
# be working is known better here.
postgres_await_orphans() {
  local deadline=$((SECONDS + 20)) left process
  while ((SECONDS < deadline)); do
    left=no
    for process in /proc/[0-9]*; do
      [ "$(readlink "$process/cwd" 2>/dev/null)" != "$1" ] || left=yes
    done
    [ "$left" = yes ] || { rm -f "$1/postmaster.pid"; return 0; }
    sleep 0.1
  done
  die "processes of an earlier server still work in $1: stop them, then run this again"
}

# Debian's package would make and start a server of its own on port 5432.
postgres_packages() {
  local newest
  if [ -z "$(postgres_find)" ] && [ "$(id -u)" -eq 0 ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.conf
  fi
  [ -n "$(postgres_find)" ] || install_packages initdb postgresql
  newest=$(postgres_find)
  [ -n "$newest" ] || die "PostgreSQL is installed, but no initdb is in /usr/lib/postgresql or on the PATH"
  postgres_bin=$(dirname "$newest")
}

# The newest initdb; Debian keeps it off the PATH.
postgres_find() {
  local found
  found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
  if [ -x "$found" ]; then say "$found"; else command -v initdb || true; fi
}

# PostgreSQL refuses to run as root: then it runs as the user `postgres`, who must be let through to
# its directories. Those above it may be closed to others, as mktemp makes them: passing is allowed there,
# looking around is not.
postgres_make_home() {
  local above=$dir
  postgres_as=()
  mkdir -p "$dir/postgres" "$dir/postgres_standby"
  [ "$(id -u)" -eq 0 ] || return 0
  postgres_as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
  chown postgres: "$dir/postgres" "$dir/postgres_standby"
  while ! "${postgres_as[@]}" test -x "$dir/postgres" && [ "$above" != / ]; do
    chmod o+x "$above"
    above=$(dirname "$above")
  done
}

# Makes the primary's data, and in it GoChat's user and database, once.
postgres_make_data() {
  local home=$dir/postgres
  [ -d "$home/data" ] && return
  rm -rf "$home/data.partial"
  printf 'gochat\n' >"$home/password"
  if ! (cd / && "${postgres_as[@]}" "$postgres_bin/initdb" -D "$home/data.partial" -U gochat --encoding=UTF8 \
    --locale=C --auth=scram-sha-256 "--pwfile=$home/password") >"$home/init.log" 2>&1; then
    tail -n 15 "$home/init.log" >&2
    die "the data of postgres could not be made: the reason is above, all of it in $home/init.log"
  fi
  rm -f "$home/password"
  postgres_settings >>"$home/data.partial/postgresql.conf"
  (cd / && printf 'CREATE DATABASE gochat;\n' | "${postgres_as[@]}" "$postgres_bin/postgres" --single \
    -D "$home/data.partial" postgres) >>"$home/init.log" 2>&1 ||
    { tail -n 15 "$home/init.log" >&2; die "gochat's database could not be made: the reason is above"; }
  mv "$home/data.partial" "$home/data"
}

# Copies the primary, once; the copy follows it from then on.
postgres_make_standby() {
  local home=$dir/postgres_standby
  [ -d "$home/data" ] && return
  rm -rf "$home/data.partial"
  if ! (cd / && "${postgres_as[@]}" "$postgres_bin/pg_basebackup" -d "$(postgres_url "$(postgres_port)")" \
    -D "$home/data.partial" --write-recovery-conf --wal-method=stream --checkpoint=fast) >"$home/backup.log" 2>&1; then
    tail -n 15 "$home/backup.log" >&2
    die "the standby of postgres could not be made: the reason is above"
  fi
  mv "$home/data.partial" "$home/data"
}

postgres_settings() {
  cat <<SETTINGS

listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200

# A commit is on disk when it returns.
fsync = on
synchronous_commit = on
full_page_writes = on

# A standby follows, also after it was away for a while.
wal_level = replica
max_wal_senders = 4
wal_keep_size = 256MB
hot_standby = on

# Of little memory.
shared_buffers = 96MB
max_wal_size = 512MB
SETTINGS
}
