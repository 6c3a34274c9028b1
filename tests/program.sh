# Sourced by the scripts that build and run a program of the tests: run_program NAME ARGUMENTS…
# The script has a function `usage`. Its list of options is checked here; the program judges their values.

run_program() {
  local name=$1 root argument known profile=dev target built
  shift
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  # What the program does not know at all need not be built for.
  known=$(usage | sed -n 's/^  \(--[a-z-]*\) .*/\1/p')
  for argument in "$@"; do
    case $argument in
      -h | --help) usage; exit 0 ;;
      -*)
        grep -qxF -- "${argument%%=*}" <<<"$known" ||
          { echo "error: $name.sh has no option $argument; see --help" >&2; exit 2; }
        ;;
    esac
  done
  command -v cargo >/dev/null || { echo "Rust is missing: install it with rustup (https://rustup.rs)" >&2; exit 1; }
  # The build that people run, where there is one; else the one that tests use.
  target=${CARGO_TARGET_DIR:-$root/target}
  for built in release dist; do [ ! -x "$target/$built/gochat" ] || profile=$built; done
  (cd "$root" && cargo build --workspace --bins --locked --profile "$profile") >&2
  [ "$profile" = dev ] && profile=debug
  exec "$target/$profile/$name" "$@"
}
