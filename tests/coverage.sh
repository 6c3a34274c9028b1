#!/usr/bin/env bash
# Runs every test with coverage measured and prints the lines covered, in percent, for each crate. See --help.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
Runs every test with coverage measured, prints the lines covered, in percent, for each crate, and fails when
they are too few.

Usage: tests/coverage.sh [FILTER…]

  FILTER   only the tests whose names contain it, and no runs of faults

Only the project's own crates are measured; what is built of others is shared with ordinary builds. Processes
that a test kills leave no figures, those that it stops do.

Examples:
  tests/coverage.sh               everything
  tests/coverage.sh dead_letters  what the tests of dead letters reach
TEXT
}

for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    -*) echo "error: coverage.sh has no option $argument; see --help" >&2; exit 2 ;;
  esac
done

minimum_percent=80
dir=$PWD/target/coverage
profiles=$dir/profiles

# The tools have to be of the compiler's own LLVM: they read its formats only.
major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
of_rustup=$(rustc --print target-libdir)/../bin
tool() {
  local found
  for found in "$of_rustup/$1" "$(command -v "$1-$major" || true)"; do
    if [ -x "$found" ]; then printf '%s\n' "$found"; return; fi
  done
  return 1
}
if ! tool llvm-cov >/dev/null || ! tool llvm-profdata >/dev/null; then
  echo "installing llvm-$major" >&2
  sudo=""
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "llvm-$major" >/dev/null ||
    { echo "error: Debian has no llvm-$major: rustup component add llvm-tools" >&2; exit 1; }
fi

rm -rf -- "$profiles"
mkdir -p "$profiles"
# A wrapper for workspace members alone leaves the builds of all dependencies as they are.
printf '#!/bin/sh\nexec "$@" -C instrument-coverage\n' >"$dir/rustc.new"
chmod +x "$dir/rustc.new"
# The same file as before keeps what was built before.
if ! cmp -s "$dir/rustc.new" "$dir/rustc"; then mv "$dir/rustc.new" "$dir/rustc"; fi
export RUSTC_WORKSPACE_WRAPPER=$dir/rustc
# Processes of one binary add up in up to four files.
export LLVM_PROFILE_FILE=$profiles/%4m.profraw

failed=0
tests/run.sh "$@" || failed=$?

"$(tool llvm-profdata)" merge --sparse --failure-mode=all -o "$dir/all.profdata" "$profiles"/*.profraw
cargo test --workspace --locked --lib --bins --test '*' --no-run --message-format=json 2>/dev/null |
  python3 -c '
import json, sys
for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable"):
        print("--object=" + built["executable"])
' >"$dir/objects"
mapfile -t objects <"$dir/objects"
"$(tool llvm-cov)" export --summary-only --instr-profile="$dir/all.profdata" \
  --ignore-filename-regex='/(target|registry|rustc|tests|benches)/' "${objects[@]}" >"$dir/summary.json"
python3 - "$dir/summary.json" "$PWD" "$minimum_percent" <<'END' || failed=$?
import collections, json, os, sys

summary, root, minimum = sys.argv[1], sys.argv[2], float(sys.argv[3])
crates = collections.defaultdict(lambda: [0, 0])
for file in json.load(open(summary))["data"][0]["files"]:
    crate = os.path.relpath(file["filename"], root).split(os.sep)[0]
    for name in (crate, "all"):
        crates[name][0] += file["summary"]["lines"]["covered"]
        crates[name][1] += file["summary"]["lines"]["count"]
print(f"\n{'crate':12}{'lines':>8}{'covered':>9}{'%':>7}")
for name, (covered, count) in sorted(crates.items(), key=lambda crate: (crate[0] == "all", crate[0])):
    print(f"{name:12}{count:8}{covered:9}{100 * covered / count:7.1f}")
covered, count = crates["all"]
if 100 * covered / count <= minimum:
    sys.exit(f"error: not more than {minimum:g} % of the lines are covered")
END
exit "$failed"
