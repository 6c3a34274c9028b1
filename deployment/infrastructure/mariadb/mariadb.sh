# MariaDB on loopback, with a database and a user of GoChat's.
# To be sourced after process.sh. Expects: $dir, and for mariadb_start also $port_base.

mariadb_port() { say $((port_base + 30)); }
mariadb_url() { say "mysql://gochat:gochat@127.0.0.1:$1/gochat"; }

mariadb_ports() { say "mariadb $(mariadb_port)"; }

mariadb_start() {
  local port
  port=$(mariadb_port)
  mariadb_packages
  if is_running mariadb; then
    say "mariadb runs already"
  else
    rm -f "$dir/mariadb.endpoints"
    mkdir -p "$dir/mariadb"
    mariadb_settings "$port" >"$dir/mariadb/my.cnf"
    mariadb_make_data
    start_process mariadb "$(mariadb_server)" "--defaults-file=$dir/mariadb/my.cnf" ${mariadb_as_root[@]+"${mariadb_as_root[@]}"}
  fi
  await mariadb 60 mariadb_answers "$port"
  mariadb_url "$port" >"$dir/mariadb.endpoints"
  say "mariadb answers at 127.0.0.1:$port"
}

# A line; fails when it does not answer.
mariadb_health() {
  local port
  [ -f "$dir/mariadb.endpoints" ] || { say "mariadb: not started in $dir"; return 1; }
  port=$(sed 's:.*\:\([0-9]*\)/.*:\1:' "$dir/mariadb.endpoints")
  if ! is_running mariadb; then
    say "mariadb: DOWN, its process is gone; see $dir/mariadb/log, start it again with start-infra.sh"
    return 1
  elif ! mariadb_answers "$port"; then
    say "mariadb: runs, but does not answer at 127.0.0.1:$port; see $dir/mariadb/log"
    return 1
  fi
  say "mariadb: ok at 127.0.0.1:$port"
}

mariadb_stop() {
  stop_process mariadb
  rm -f "$dir/mariadb.endpoints"
}

# Whether it takes a statement of GoChat's user. (mariadb-admin ping would be content with a refusal.)
mariadb_answers() {
  timeout 5 mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -P "$1" -u gochat -pgochat gochat -e 'SELECT 1' \
    >/dev/null 2>&1
}

mariadb_server() { command -v mariadbd || say /usr/sbin/mariadbd; }

# It refuses to run as root unless told so.
mariadb_as_root=()
[ "$(id -u)" -ne 0 ] || mariadb_as_root=(--user=root)

# The package starts a server of its own on port 3306 where there is an init system; it is not touched.
mariadb_packages() {
  PATH=$PATH:/usr/sbin install_packages mariadbd mariadb-server
  install_packages mariadb mariadb-client
}

# Makes the system tables, GoChat's database and its user, once; a try that was cut short leaves nothing.
mariadb_make_data() {
  local partial=$dir/mariadb/data.partial
  [ -d "$dir/mariadb/data" ] && return
  rm -rf "$partial"
  if ! mariadb-install-db --no-defaults "--datadir=$partial" --auth-root-authentication-method=normal \
    --skip-test-db ${mariadb_as_root[@]+"${mariadb_as_root[@]}"} >"$dir/mariadb/install.log" 2>&1; then
    tail -n 15 "$dir/mariadb/install.log" >&2
    die "the data of mariadb could not be made: the reason is above, all of it in $dir/mariadb/install.log"
  fi
  "$(mariadb_server)" --no-defaults "--datadir=$partial" --bootstrap --skip-log-error \
    ${mariadb_as_root[@]+"${mariadb_as_root[@]}"} >"$dir/mariadb/bootstrap.log" 2>&1 <<'SQL' ||
FLUSH PRIVILEGES;
CREATE DATABASE gochat CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE USER gochat@'127.0.0.1' IDENTIFIED BY 'gochat';
GRANT ALL PRIVILEGES ON *.* TO gochat@'127.0.0.1';
SQL
    { tail -n 15 "$dir/mariadb/bootstrap.log" >&2; die "gochat's database could not be made: the reason is above"; }
  mv "$partial" "$dir/mariadb/data"
}

mariadb_settings() {
  cat <<SETTINGS
[mariadbd]
datadir=$dir/mariadb/data
socket=$dir/mariadb/sock
pid-file=$dir/mariadb/server.pid
bind-address=127.0.0.1
port=$1
skip-name-resolve
character-set-server=utf8mb4
collation-server=utf8mb4_bin

# A commit is on disk when it returns.
innodb_flush_log_at_trx_commit=1
innodb_doublewrite=1
binlog_format=ROW

# Of little memory.
innodb_buffer_pool_size=96M
innodb_log_file_size=64M
innodb_log_buffer_size=8M
key_buffer_size=1M
aria_pagecache_buffer_size=1M
performance_schema=OFF
max_connections=200
max_allowed_packet=64M
SETTINGS
}
