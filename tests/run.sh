#!/usr/bin/env bash
# Installs what the tests need and is missing, builds everything once, and runs every test. See --help.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
Installs what the tests need and is missing, builds everything once, and runs every test on real services.

Usage: tests/run.sh [FILTER…]

  FILTER   only the tests whose names contain it, and no attacks and faults

Examples:
  tests/run.sh                    everything
  tests/run.sh dead_letters       the tests of dead letters
TEXT
}

for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    -*) echo "error: run.sh has no option $argument; see --help" >&2; exit 2 ;;
  esac
done

say() { printf '\n== %s (after %d min %02d s)\n' "$*" $((SECONDS / 60)) $((SECONDS % 60)); }

# Debian package by the command it brings.
declare -A package_of=(
  [gcc]=gcc [g++]=g++ [make]=make [node]=nodejs [npm]=npm [chromium]=chromium [chromedriver]=chromium-driver
  [java]=default-jre-headless [mvn]=maven [kcat]=kcat [python3]=python3 [redis-server]=redis-server [openssl]=openssl
  [curl]=curl [jq]=jq
)
missing=()
for command in "${!package_of[@]}"; do
  command -v "$command" >/dev/null || missing+=("${package_of[$command]}")
done
# A part of Python that Debian packs apart.
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if ((${#missing[@]})); then
  say "installing ${missing[*]}"
  sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { echo "install these packages first: ${missing[*]}" >&2; exit 1; }
  fi
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
command -v cargo >/dev/null || { echo "Rust is missing: install it with rustup (https://rustup.rs)" >&2; exit 1; }

if ! cargo deny --version >/dev/null 2>&1; then
  say "building cargo-deny, which checks licences"
  # It runs for a second: not worth optimising.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=0 cargo install --quiet --locked cargo-deny
fi

say "building"
cargo build --workspace --locked
# Plain `cargo test` leaves out what wants a service, the targets `services`; the pattern takes them in.
all=(--workspace --locked --lib --bins --test '*')
cargo test "${all[@]}" --no-run

say "the page's own modules"
node --test gateway/web/tests/

say "programs of others"
tests/foreign/python.sh
tests/axe/axe.sh

say "the real services"
# Each says where it is: tests find Kafka by GOCHAT_TEST_KAFKA, and so on.
infra=$(mktemp -d)
trap 'deployment/scripts/cleanup.sh --dir "$infra"' EXIT
deployment/scripts/start-infra.sh --native --dir "$infra" --port-base 29092
for endpoints in "$infra"/*.endpoints; do
  service=$(basename "$endpoints" .endpoints)
  export "GOCHAT_TEST_${service^^}=$(cat "$endpoints")"
done

say "tests"
# Most of a test is waiting: for brokers, timers, sockets.
export RUST_TEST_THREADS=$((2 * $(nproc)))
# As many schedules of the simulated chain as a release asks for.
export GOCHAT_SIMULATE_SCHEDULES=10000
cargo test "${all[@]}" --no-fail-fast -- "$@"

# The stage that CONTRIBUTING.md explains.
cargo run --locked --quiet --example word_count

# All attacks, all kinds of faults and a stopped stage, on both logs. They take minutes: a run with a filter leaves them out.
if (($# == 0)); then
  programs=${CARGO_TARGET_DIR:-target}/debug
  say "hostile clients on both logs"
  "$programs/hostile" --bounded
  "$programs/hostile" --bounded --log kafka
  # Persist and fan-out have tasks of their own on Kafka, as is the default, and share one on the embedded log.
  faults=$programs/faults
  say "faults on the embedded log"
  "$faults" --log embedded --fused
  say "faults on the kafka log"
  "$faults" --log kafka
  say "persist stops for 20 s under load, on both logs at once"
  "$faults" --log embedded --stopped-stage 20 &
  embedded=$!
  "$faults" --log kafka --stopped-stage 20
  wait "$embedded"
fi
