#!/bin/sh
# The whole suite on as many processes as there are cores (two at least), file by file. First the tests that only compute,
# the planner's brute force among them; then those with processes, sockets and deadlines, which mostly wait.
# Ends with which tests were left out, and why.
# Usage: tests/all.sh PYTHON [pytest options]
set -u
python=$1
shift
computing="tests/planner tests/graph tests/quantization tests/zoo tests/shared tests/demo"
EDGESPLIT_SKIPS=$(mktemp)
export EDGESPLIT_SKIPS
trap 'rm -f "$EDGESPLIT_SKIPS"' EXIT
# More than four beside each other would wait for each other's daemons.
jobs=$("$python" -c "import os; print(min(4, max(2, len(os.sched_getaffinity(0)))))")

slow="--durations=20 --durations-min=10"

"$python" -m pytest -n "$jobs" --dist loadfile $slow $computing "$@"
computing_status=$?

rest=""
for folder in $computing; do rest="$rest --ignore=$folder"; done
"$python" -m pytest -n "$jobs" --dist loadfile $slow $rest "$@"
rest_status=$?
"$python" -m tests.skips "$EDGESPLIT_SKIPS"
[ $computing_status -eq 0 ] && [ $rest_status -eq 0 ]
