#!/usr/bin/env bash
# Plays schedules of the simulated chain: the real runner and stages over a simulated log and store,
# with faults, takeovers and resends drawn from a seed, judged by the named invariants.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
Usage: tests/simulate.sh [--schedules N] [--seed S] [--trace]

  --schedules N   how many schedules to play (default 10000; 1 with --trace)
  --seed S        the seed of the first; the next ones follow (default 1)
  --trace         print all that happens, and what the judge says

Examples:
  tests/simulate.sh                            ten thousand schedules
  tests/simulate.sh --schedules 100000 --seed 1000000
  tests/simulate.sh --seed 42 --trace          one schedule again, event by event

Exit code: 0 when every schedule keeps every invariant.
TEXT
}

schedules="" seed=1 trace=0
while (($#)); do
  case "$1" in
    --schedules | --seed)
      [ -n "${2-}" ] || { echo "error: $1 needs a number; see --help" >&2; exit 2; }
      if [ "$1" = --seed ]; then seed=$2; else schedules=$2; fi
      shift 2
      ;;
    --trace) trace=1; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "error: simulate.sh has no option $1; see --help" >&2; exit 2 ;;
  esac
done
for number in "$seed" "${schedules:-1}"; do
  [[ $number =~ ^[0-9]+$ ]] || { echo "error: \"$number\" is not a whole number; see --help" >&2; exit 2; }
done
if [ -z "$schedules" ]; then
  if ((trace)); then schedules=1; else schedules=10000; fi
fi

export GOCHAT_SIMULATE_SCHEDULES=$schedules GOCHAT_SIMULATE_SEED=$seed GOCHAT_SIMULATE_TRACE=$trace
exec cargo test --workspace --locked --quiet --test pipeline -- --nocapture --exact \
  simulation::whatever_strikes_every_schedule_keeps_every_invariant
