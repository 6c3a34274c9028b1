#!/usr/bin/env bash
# Prints the path of axe-core's script at the version that package-lock.json names, which is fetched once and
# kept in the cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/gochat
made=$cache/axe-$(sha256sum package-lock.json | cut -c1-12)

mkdir -p "$cache"
exec 9>"$cache/axe.lock"
flock -w 120 9 || { echo "error: another run has fetched axe-core for two minutes: stop it, then try again" >&2; exit 1; }
if [ ! -f "$made/complete" ]; then
  rm -rf -- "$made"
  mkdir "$made"
  cp package.json package-lock.json "$made"
  npm ci --prefix "$made" --ignore-scripts --no-audit --no-fund >&2 ||
    { echo "error: npm did not fetch axe-core: is the registry reachable, or a mirror set in .npmrc?" >&2; exit 1; }
  touch "$made/complete"
fi
printf '%s\n' "$made/node_modules/axe-core/axe.min.js"
