#!/usr/bin/env bash
# From a clean clone on a bare Debian 12 to a running weir: installs what is missing, builds, and runs `weir demo`.
#
# usage: deploy/quickstart.sh [arguments of `weir demo`, for instance --for 20s]
# Needs root or sudo only if a package is missing. Builds into build/release, where the program stays: build/release/weir.
set -eu
cd "$(dirname "$0")/.."

bash deploy/deps.sh build

log=build/quickstart.log
mkdir -p build
step() {
  echo "quickstart: $1 ..." >&2
  shift
  "$@" >"$log" 2>&1 || { tail -n 40 "$log" >&2; echo "quickstart: failed; the whole output is in $log" >&2; exit 1; }
}
step "configuring" cmake --preset release
step "building (a few minutes the first time)" cmake --build build/release --target weir
echo "quickstart: built build/release/weir" >&2

exec build/release/weir demo "$@"
