#!/usr/bin/env bash
# The tree is as clang-format leaves it: layout is never a matter of review.
cd "${WEIR_SOURCE_DIR:-$(dirname "$0")/../..}" || exit 1
command -v clang-format >/dev/null || { echo "clang-format is not installed"; exit 77; }
find proxy filters config tests perf -name '*.cc' -o -name '*.h' | sort | xargs clang-format --dry-run --Werror
