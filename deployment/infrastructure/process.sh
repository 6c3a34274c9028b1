# Processes of an infrastructure directory: started once, awaited with a bound, stopped by pid file.
# To be sourced. Expects: $dir, the directory that holds everything.

infrastructure=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Every service there is; each is a folder with a file of functions: NAME_start, NAME_health and NAME_stop.
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
      tail -n 15 "$dir/$name/log" >&2
      die "$name stopped while it started; its last lines are above, all of them in $dir/$name/log"
    fi
    ((SECONDS < deadline)) ||
      die "$name does not answer after $seconds s: see $dir/$name/log, then run cleanup.sh --dir $dir and try again"
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

# port_is_open PORT: whether anything listens on it on loopback.
port_is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

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
  "${sudo[@]}" apt-get update -qq >/dev/null &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    die "could not install $*: run 'apt-get update && apt-get install $*' by hand to see why"
}

# load_service NAME: its functions.
load_service() {
  . "$infrastructure/$1/$1.sh"
}
