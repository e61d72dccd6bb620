#!/bin/sh
# The whole suite, in the time that two cores need for it: the planner's brute force takes minutes of one core, and the
# tests that only compute use the other meanwhile. Tests with processes, sockets and deadlines then have both.
# Ends with which tests were left out, and why.
# Usage: tests/all.sh PYTHON [pytest options]
set -u
python=$1
shift
computing="tests/graph tests/quantization tests/zoo tests/shared tests/demo"
report=$(mktemp)
EDGESPLIT_SKIPS=$(mktemp)
export EDGESPLIT_SKIPS
planner=""
trap 'kill $planner 2>/dev/null; rm -f "$report" "$EDGESPLIT_SKIPS"; exit 130' INT TERM

"$python" -m pytest tests/planner "$@" >"$report" 2>&1 &
planner=$!
"$python" -m pytest $computing "$@"
computing_status=$?
wait $planner
planner_status=$?
cat "$report"
rm -f "$report"
trap - INT TERM

rest=""
for folder in tests/planner $computing; do rest="$rest --ignore=$folder"; done
"$python" -m pytest $rest "$@"
rest_status=$?
"$python" -m tests.skips "$EDGESPLIT_SKIPS"
rm -f "$EDGESPLIT_SKIPS"
[ $computing_status -eq 0 ] && [ $planner_status -eq 0 ] && [ $rest_status -eq 0 ]
