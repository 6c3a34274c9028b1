# Processes of an infrastructure directory: started once, awaited with a bound, stopped by pid file.
# To be sourced. Expects: $dir, the directory that holds everything.

infrastructure=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Every service there is; each is a folder with a file of functions: NAME_ports, NAME_start, NAME_health and
# NAME_stop. NAME_ports prints a line for each process: its name, then its ports.
all_services=(kafka redis mariadb postgres)

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need VALUE OPTION: an option's value must be there.
need() { [ -n "$1" ] || die "$2 needs a value; see --help"; }

# is_running NAME: whether the process of $dir/NAME/pid lives, and is still the one that was started:
# its command line names the directory, so a pid that the system gave to another program is not taken for it.
is_running() {
  local pid deadline=$((SECONDS + 30))
  pid=$(cat "$dir/$1/pid" 2>/dev/null) || return 1
  while [ -n "$pid" ] && is_dying "$pid" && ((SECONDS < deadline)); do sleep 0.05; done
  [ -n "$pid" ] && grep -qaF -- "$dir/$1/" "/proc/$pid/cmdline" 2>/dev/null
}

# is_dying PID: whether it was killed and is not gone yet. It has no command line any more, but still its ports,
# until the last of its threads has ended; then it is a zombie of one thread, or nothing.
is_dying() {
  local status
  status=$(cat "/proc/$1/status" 2>/dev/null) && [ -n "$status" ] || return 1
  [ -z "$(tr -d '\0' <"/proc/$1/cmdline" 2>/dev/null)" ] || return 1
  ! [[ $status =~ State:[[:space:]]*Z && $status =~ Threads:[[:space:]]*1($'\n'|$) ]]
}

# start_process NAME COMMAND…: starts it in the background, apart from this terminal, with its output in
# $dir/NAME/log. One of the arguments must be a path under $dir/NAME/.
start_process() {
  local name=$1
  shift
  # The lock on $dir stays with the script.
  setsid "$@" >>"$dir/$name/log" 2>&1 </dev/null 9>&- &
  printf '%s\n' "$!" >"$dir/$name/pid"
}

# await NAME SECONDS PROBE…: waits until the probe succeeds; ends with the log's last lines when the
# process dies first, or the time is over.
await() {
  local name=$1 seconds=$2 deadline=$((SECONDS + $2))
  shift 2
  until "$@"; do
    # By its pid alone: its command line is not its own before it is executed, nor while it writes its title.
    if ! kill -0 "$(cat "$dir/$name/pid")" 2>/dev/null; then
      rm -f "$dir/$name/pid"
      tail -n 15 "$dir/$name/log" >&2
      die "$name stopped while it started; its last lines are above, all of them in $dir/$name/log"
    fi
    if ((SECONDS >= deadline)); then
      stop_process "$name"
      die "$name did not answer within $seconds s and was stopped: see $dir/$name/log, then try again"
    fi
    sleep 0.2
  done
}

# stop_process NAME: asks it to stop; after 30 s it is killed.
stop_process() {
  local name=$1 pid deadline=$((SECONDS + 30))
  if is_running "$name"; then
    pid=$(cat "$dir/$name/pid")
    kill -TERM "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true # one that is suspended could not stop
    while is_running "$name" && ((SECONDS < deadline)); do sleep 0.1; done
    if is_running "$name"; then
      say "$name did not stop within 30 s and is killed"
      kill -KILL "$pid" 2>/dev/null || true
      while is_running "$name"; do sleep 0.1; done
    else
      say "$name stopped"
    fi
  fi
  rm -f "$dir/$name/pid"
}

# port_is_open PORT [HOST]: whether anything listens on it, on loopback unless told otherwise.
port_is_open() { timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "${2-127.0.0.1}" "$1" 2>/dev/null; }

# port_owner PORT: who listens on it, as far as this user may see: " by pid 17 (java)", or nothing.
port_owner() {
  local hex inode descriptor pid
  hex=$(printf '%04X' "$1")
  inode=$(awk -v port=":$hex" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null)
  [ -n "$inode" ] || return 0
  descriptor=$(find /proc/[0-9]*/fd -lname "socket:\\[$inode\\]" -print -quit 2>/dev/null || true)
  pid=${descriptor#/proc/} pid=${pid%%/*}
  [ -z "$pid" ] || printf ' by pid %s (%s)' "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null)"
}

# port_is_ephemeral PORT: whether the system gives it to outgoing connections; it would then be taken at times.
port_is_ephemeral() {
  local first last reserved
  read -r first last 2>/dev/null </proc/sys/net/ipv4/ip_local_port_range || return 1
  (($1 >= first && $1 <= last)) || return 1
  for reserved in $(tr ',' ' ' 2>/dev/null </proc/sys/net/ipv4/ip_local_reserved_ports); do
    (($1 < ${reserved%-*} || $1 > ${reserved#*-})) || return 1
  done
}

# check_ports SERVICE…: whether each can have its ports, before anything is installed or written.
check_ports() {
  local service name ports port endpoints
  for service in "$@"; do
    while read -r name ports; do
      if is_running "$name"; then
        endpoints=$(cat "$dir/${name%-[0-9]}.endpoints" 2>/dev/null || true)
        [ -z "$endpoints" ] || [[ $endpoints =~ :${ports%% *}(/|,|$) ]] ||
          die "$name runs already, at $endpoints: leave --port-base as it was, or run cleanup.sh --dir $dir first"
        continue
      fi
      for port in $ports; do
        ! port_is_ephemeral "$port" || die "port $port is one that this machine gives to outgoing connections" \
          "($(tr '\t' '-' </proc/sys/net/ipv4/ip_local_port_range)): choose a lower --port-base"
        ! port_is_open "$port" ||
          die "port $port, for $name, is in use$(port_owner "$port"): stop that, or choose other ports with --port-base"
      done
    done < <("${service}_ports")
  done
}

# install_packages COMMAND PACKAGE…: Debian packages, when the command is missing.
install_packages() {
  local command=$1 sudo=()
  shift
  command -v "$command" >/dev/null && return
  command -v apt-get >/dev/null || die "$command is missing: install it, then run this again"
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || die "$command is missing: run 'sudo apt-get install $*', then this again"
    sudo=(sudo)
  fi
  say "installing $*"
  # What a package starts must not keep the lock on $dir.
  "${sudo[@]}" apt-get update -qq >/dev/null 9>&- &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 9>&- ||
    die "could not install $*: run 'apt-get update && apt-get install $*' by hand to see why"
}

# load_service NAME: its functions.
load_service() {
  . "$infrastructure/$1/$1.sh"
}
