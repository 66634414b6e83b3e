#!/usr/bin/env bash
# The whole check of weir, from a clean clone on a bare Debian 12: installs what is missing (root or sudo), builds with both
# compilers, warnings as errors, and runs every test.
#
# usage: tests/run.sh            exit status 0: everything passed; the last line is ctest's summary over all steps
#   asan     g++ with ASan and UBSan: unit, scenario, swarm, golden, lint and deploy tests
#   clang    clang builds everything, fuzzers included, and each fuzzer runs its seeds and a few seconds more
#   release  as shipped (-O2): the end-to-end tests with real sockets, servers and clients
#   tidy     clang-tidy over the production code; only with WEIR_TIDY=1, for it takes as long as the rest
set -u
cd "$(dirname "$0")/.." || exit 1
exec </dev/null
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_init_order=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
jobs=${WEIR_JOBS:-$(nproc)}
failed_steps=""
total=0
failures=0

say() { printf '== %s (%ss)\n' "$*" "$SECONDS"; }

# A test that a step adds beside ctest's, so that the summary counts it.
count() {  # name, status
  total=$((total + 1))
  [ "$2" = 0 ] || { failures=$((failures + 1)); failed_steps="$failed_steps $1"; }
}

build() {  # preset[:target], cmake arguments...
  local preset=${1%%:*} target log
  target=$([ "${1#*:}" = "$1" ] && echo all || echo "${1#*:}")
  shift
  log=build/$preset.log
  mkdir -p build
  say "build $preset"
  if ! { cmake --preset "$preset" -DWEIR_WERROR=ON "$@" && cmake --build "build/$preset" --parallel "$jobs" --target "$target"; } >"$log" 2>&1; then
    grep -nE 'error|Error|FAILED' "$log" | head -n 40
    tail -n 30 "$log"
    count "build-$preset" 1
    return 1
  fi
  count "build-$preset" 0
}

run_tests() {  # preset, ctest arguments...
  local preset=$1 log ran lost
  shift
  log=build/$preset-tests.log
  say "test $preset"
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --parallel "$jobs" "$@" 2>&1 | tee "$log"
  local status=${PIPESTATUS[0]}
  ran=$(sed -n 's/.*tests failed out of \([0-9]*\).*/\1/p' "$log" | tail -n 1)
  lost=$(sed -n 's/.*, \([0-9]*\) tests failed out of .*/\1/p' "$log" | tail -n 1)
  total=$((total + ${ran:-0}))
  failures=$((failures + ${lost:-0}))
  if [ "$status" != 0 ]; then
    failed_steps="$failed_steps test-$preset"
    [ "${lost:-0}" != 0 ] || { total=$((total + 1)); failures=$((failures + 1)); }
  fi
}

fuzz_briefly() {
  local program name corpora
  for program in build/fuzz/tests/*_fuzz; do
    [ -x "$program" ] || continue
    name=$(basename "$program")
    corpora=("build/fuzz/corpus/$name")  # what is found goes into the first
    mkdir -p "${corpora[0]}"
    [ ! -d "tests/fuzz/seeds/${name%_fuzz}" ] || corpora+=("tests/fuzz/seeds/${name%_fuzz}")
    say "fuzz $name"
    "$program" -max_total_time=5 -timeout=5 -rss_limit_mb=2048 -verbosity=0 -artifact_prefix="build/fuzz/" \
      "${corpora[@]}" >"build/fuzz/$name.log" 2>&1
    local status=$?
    [ "$status" = 0 ] || tail -n 40 "build/fuzz/$name.log"
    count "$name" "$status"
  done
}

tidy() {
  say "tidy"
  find proxy filters config -name '*.cc' -print0 | sort -z |
    xargs -0 -n 4 -P "$jobs" clang-tidy -p build/clang --quiet >build/tidy.log 2>build/tidy-errors.log
  local status=$?
  if [ "$status" != 0 ]; then grep -E 'warning:|error:' build/tidy.log | sort -u | head -n 60; fi
  count tidy "$status"
}

say "packages"
bash deploy/deps.sh test || { echo "tests/run.sh: the packages could not be installed"; exit 1; }

build asan && run_tests asan --label-exclude e2e
build clang -DCMAKE_CXX_FLAGS_DEBUG=-O0
build fuzz:fuzzers && fuzz_briefly
build release && run_tests release --label-regex e2e
[ -z "${WEIR_TIDY:-}" ] || tidy

say "done"
if [ "$failures" != 0 ]; then
  echo "failed:$failed_steps"
fi
percent=$((total == 0 ? 0 : (total - failures) * 100 / total))
echo "$percent% tests passed, $failures tests failed out of $total"
[ "$failures" = 0 ] && [ "$total" != 0 ]
