#!/bin/sh
# Everything, from a fresh Debian 12: installs what is missing, builds into build/ (gcc) and build-asan/ (clang,
# with address and undefined-behaviour sanitizers and the fuzz targets), warnings being errors, and runs all
# tests in both; then those of the kernels in build-plain/, without oneDNN, and those of the core under qemu in
# build-aarch64/, for 64-bit ARM. The last line counts single tests: N passed, N failed, N skipped. Exits 0 only if
# none failed and every skip is listed in tests/skips.txt. An argument, a regular expression, picks cases of the first
# two: ./tests/run.sh lua.test_stats
set -eu
cd "$(dirname "$0")/.."
. examples/setup.sh

picked=${1:-.}
# shellcheck disable=SC2086 # the lists are meant to split
need_packages $build_packages $test_packages

# From ctest's log: "passed failed" counts, and a line for each skip. A case that prints no counts of its own
# (an example, a fuzz target, a crash) is one test.
count() {
  awk '
    function ends() { if (name != "") { passed += p; failed += f } name = "" }
    /^[0-9]+\/[0-9]+ Testing: / { ends(); name = $3; p = f = s = 0; next }
    # cmocka
    /^\[  PASSED  \] [0-9]+ test/ { p += $4 }
    /^\[  FAILED  \] [0-9]+ test/ { f += $4 }
    /^\[  SKIPPED \] [^0-9]/ {
      s++
      sub(/^\[  SKIPPED \] /, "")
      if (!seen[name, $0]++) print "skip " name ": " $0 # cmocka says it twice
    }
    # tests/lua/harness.lua
    /^[0-9]+ passed, [0-9]+ failed/ { p += $1; f += $3 }
    /^SKIPPED: / { s++; sub(/^SKIPPED: /, ""); print "skip " name ": " $0 }
    # ctest
    /^Test Passed\./ { if (p + f + s == 0) p = 1; ends() }
    /^Test Failed\.|^Test Timed Out|^Test timed out|^Exception|^Unable to find/ { if (f == 0) f = 1; ends() }
    /^Test Skipped/ { if (s == 0) print "skip " name ": all of it"; ends() }
    END { ends(); print "count " passed + 0, failed + 0 }
  ' "$1/Testing/Temporary/LastTest.log"
}

passed=0
failed=0
skipped=0
unlisted=0
# run_tests TREE [CTEST OPTION...]: the cases of a tree; adds to the counts.
run_tests() {
  echo "== tests in $1"
  status=0
  tree=$1
  shift
  ctest --test-dir "$tree" --output-on-failure --no-tests=error --tests-regex "$picked" "$@" || status=$?
  counted=$(count "$tree")
  # shellcheck disable=SC2046 # two numbers
  set -- $(echo "$counted" | sed -n 's/^count //p')
  passed=$((passed + $1))
  failed=$((failed + $2))
  if [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; then failed=$((failed + 1)); fi
  skips=$(echo "$counted" | sed -n 's/^skip //p')
  [ -n "$skips" ] || return 0
  while read -r skip; do
    skipped=$((skipped + 1))
    if grep -qxF "$skip" tests/skips.txt; then
      echo "skipped, as listed: $skip"
    else
      echo "skipped, and not in tests/skips.txt: $skip"
      unlisted=$((unlisted + 1))
    fi
  done <<END
$skips
END
}

set -- -DWATTLE_TESTS=ON -DCMAKE_COMPILE_WARNING_AS_ERROR=ON
build_tree build "$@"
run_tests build
build_tree build-asan "$@" -DCMAKE_C_COMPILER=clang -DWATTLE_SANITIZE=address,undefined
run_tests build-asan
if [ "$picked" = . ]; then
  build_tree build-plain "$@" -DWATTLE_ONEDNN=OFF
  run_tests build-plain --label-regex kernels
  tests/aarch64.sh build
  run_tests build-aarch64 --label-regex emulated --parallel "$(nproc)"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$unlisted" -eq 0 ]
