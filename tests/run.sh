#!/usr/bin/env bash
# The whole check of weir, from a clean clone on a bare Debian 12: installs what is missing (root or sudo), builds with both
# compilers, warnings as errors, and runs every test.
#
# usage: tests/run.sh            exit status 0: everything passed; the last line is ctest's summary over all steps
#   asan     clang with ASan and UBSan, the production code sixteen files at a time (WEIR_UNITY): unit, scenario, swarm, cut, golden, lint and deploy tests
#   fuzz     of the same build, each fuzzer runs the kept corpora and then 60 seconds more, as many at once as there are CPUs; WEIR_FUZZ_SECONDS changes it
#   tsan     g++ with TSan: what threads share, hammered by four
#   release  g++, as shipped (-O2): the end-to-end tests with real sockets, servers and clients
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

# One program of Catch2 tests, counted as one test.
run_program() {  # preset, program, arguments...
  say "test $1: $2"
  "build/$1/tests/$2" "${@:3}"
  count "$1-$2" $?
}

# One fuzzer from its kept corpora for a short time, with a seed that stays, so that a push is judged by what it changes; long runs look farther.
# What it finds of interest goes to build/fuzz/corpus, what breaks to build/fuzz.
fuzz_one() {  # name, seconds
  local corpora=("build/fuzz/corpus/$1")
  mkdir -p "${corpora[0]}"
  mapfile -t -O 1 corpora <"build/asan/tests/$1.corpora"
  "build/asan/tests/$1" -seed=1 -max_total_time="$2" -timeout=25 -rss_limit_mb=2048 -malloc_limit_mb=512 -verbosity=1 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$1-" "${corpora[@]}" >"build/fuzz/$1.log" 2>&1
  echo "$?" >"build/fuzz/$1.status"
}

fuzz_briefly() {
  local program name names=() seconds=${WEIR_FUZZ_SECONDS:-60}
  for program in build/asan/tests/*.corpora; do
    names+=("$(basename "$program" .corpora)")
    rm -f "build/fuzz/${names[-1]}.status"
  done
  say "fuzz ${names[*]}, ${seconds}s each"
  export -f fuzz_one
  printf '%s\n' "${names[@]}" | xargs -I '{}' -P "$jobs" bash -c 'fuzz_one "$1" "$2"' _ '{}' "$seconds"
  for name in "${names[@]}"; do
    local status
    status=$(cat "build/fuzz/$name.status" 2>/dev/null || echo 1)
    printf '%s: %s inputs\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$name.log")"
    [ "$status" = 0 ] || tail -n 40 "build/fuzz/$name.log"
    count "$name" "$status"
  done
}

tidy() {
  say "tidy"
  find proxy filters config -name '*.cc' -print0 | sort -z |
    xargs -0 -n 4 -P "$jobs" clang-tidy -p build/asan --quiet >build/tidy.log 2>build/tidy-errors.log
  local status=$?
  if [ "$status" != 0 ]; then grep -E 'warning:|error:' build/tidy.log | sort -u | head -n 60; fi
  count tidy "$status"
}

say "packages"
bash deploy/deps.sh test || { echo "tests/run.sh: the packages could not be installed"; exit 1; }

build asan -DWEIR_UNITY=ON && run_tests asan --label-exclude e2e && fuzz_briefly
build tsan:test_exact && run_program tsan test_exact "*four threads*"
build release && run_tests release --label-regex e2e
[ -z "${WEIR_TIDY:-}" ] || tidy

say "done"
if [ "$failures" != 0 ]; then
  echo "failed:$failed_steps"
fi
percent=$((total == 0 ? 0 : (total - failures) * 100 / total))
echo "$percent% tests passed, $failures tests failed out of $total"
[ "$failures" = 0 ] && [ "$total" != 0 ]
