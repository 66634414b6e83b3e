#!/usr/bin/env bash
# Installs the Debian 12 packages that weir needs. Does nothing, and needs no root, when all are there.
#
# usage: deploy/deps.sh [build|test|perf]      build (the default): to compile and run; test: and to run tests/run.sh;
#                                              perf: to compile and to compare with peers
# Root, or sudo where it is not root. No service is started: weir's tests start what they need themselves.
set -eu

build="g++ make cmake ninja-build pkg-config ccache libevent-dev libnghttp2-dev libssl-dev libyaml-cpp-dev prometheus-cpp-dev
  libcurl4-openssl-dev zlib1g-dev libc-ares-dev libsystemd-dev libcli11-dev nlohmann-json3-dev curl"
test="catch2 clang clang-format clang-tidy libclang-rt-14-dev node-llhttp python3 python3-yaml python3-jsonschema nginx-light wrk strace
  dnsmasq-base procps iproute2 openssl systemd nghttp2-client nghttp2-server python3-h2 python3-grpcio valgrind"
perf="haproxy nginx-light nghttp2-proxy nghttp2-client nghttp2-server openssl wrk strace valgrind python3 procps util-linux"

case "${1:-build}" in
  build) wanted=$build ;;
  test) wanted="$build $test" ;;
  perf) wanted="$build $perf" ;;
  *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

missing() {  # of the packages given, those that are not installed
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
  done
}

command -v dpkg-query >/dev/null || { echo "deps.sh: this is no Debian; needed are: $wanted" >&2; exit 1; }
# shellcheck disable=SC2086  # the lists are lists of words
needed=$(missing $wanted)
[ -n "$needed" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root() { "$@"; }
elif command -v sudo >/dev/null; then
  as_root() { sudo "$@"; }
else
  echo "deps.sh: run as root, or install: $needed" >&2
  exit 1
fi

# Packages start their services when they are installed, unless this file forbids it.
policy=/usr/sbin/policy-rc.d
made_policy=
cleanup() { if [ -n "$made_policy" ]; then as_root rm -f "$policy"; fi; }
trap cleanup EXIT
if [ ! -e "$policy" ]; then
  made_policy=1
  as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"
fi

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null
}

echo "deps.sh: installing $needed" >&2
log=$(mktemp)
run_quietly() { if ! "$@" >"$log" 2>&1; then cat "$log" >&2; rm -f "$log"; exit 1; fi; }
run_quietly apt_get update -q
# shellcheck disable=SC2086
run_quietly apt_get install -yq --no-install-recommends $needed
rm -f "$log"

# shellcheck disable=SC2086
still=$(missing $wanted)
[ -z "$still" ] || { echo "deps.sh: still missing: $still" >&2; exit 1; }
