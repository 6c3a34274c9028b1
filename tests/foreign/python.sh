#!/usr/bin/env bash
# Prints the path of a Python with the modules of requirements.txt. See --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
Prints the path of a Python that has what requirements.txt names, in a virtual environment that is made once and
kept in ${XDG_CACHE_HOME:-~/.cache}/gochat.

Usage: tests/foreign/python.sh

Example:
  "$(tests/foreign/python.sh)" tests/foreign/read_topics.py
TEXT
}

for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    *) echo "error: python.sh takes no argument $argument; see --help" >&2; exit 2 ;;
  esac
done
cd "$(dirname "${BASH_SOURCE[0]}")"

requirements=$PWD/requirements.txt
environments=${XDG_CACHE_HOME:-$HOME/.cache}/gochat
made=$environments/python-$(sha256sum "$requirements" | cut -c1-12)

mkdir -p "$environments"
exec 9>"$environments/python.lock"
flock -w 300 9 || { echo "error: another run has made $made for five minutes: stop it, then try again" >&2; exit 1; }
if [ ! -f "$made/complete" ]; then
  rm -rf -- "$made"
  python3 -m venv "$made" >&2 ||
    { echo "error: no virtual environment could be made: is python3-venv installed? tests/run.sh does that" >&2; exit 1; }
  "$made/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" >&2 ||
    { echo "error: $requirements did not come: is PyPI reachable, or a mirror set in pip.conf?" >&2; exit 1; }
  touch "$made/complete"
fi
printf '%s\n' "$made/bin/python"
