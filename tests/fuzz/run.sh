#!/bin/sh
# All fuzz targets one after another, by hand: tests/fuzz/run.sh [seconds each, 600] [build tree, build-asan]. Prints a line
# each: executions, executions per second, findings. What they find stays in TREE/tests/found. Exits 1 if there is any.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-600}
tree=${2:-build-asan}
status=0
for source in tests/fuzz/fuzz_*.c; do
  name=$(basename "$source" .c)
  format=${name#fuzz_}
  found=$tree/tests/found
  log=$found/$format.log
  mkdir -p "$found/$format"
  options=
  [ ! -e "tests/fuzz/$format.dict" ] || options=-dict=tests/fuzz/$format.dict
  [ "$format" != json ] || options="$options -detect_leaks=0" # Lua's collector frees later than within a run
  code=0
  # shellcheck disable=SC2086 # no option is no argument
  "$tree/tests/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 $options \
    -artifact_prefix="$found/" "$found/$format" "tests/fuzz/corpus/$format" >"$log" 2>&1 || code=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
  if [ "$code" -eq 0 ]; then
    findings=none
  else
    findings=$(grep -o "$found/[a-z]*-[0-9a-f]*" "$log" | tail -1)
    findings=${findings:-"exit code $code, see $log"}
    status=1
  fi
  printf '%-12s %10s executions  %7s/s  findings: %s\n' "$format" "${runs:-?}" "${rate:-?}" "$findings"
done
exit $status
