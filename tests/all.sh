#!/bin/sh
# The whole suite on as many processes as there are cores (two at least), file by file. First the tests that only compute,
# the planner's brute force among them; then those with processes, sockets and deadlines, which mostly wait, so that one more
# keeps the cores busy. Of these a few may fail because others took the processors from them: their files are run once more,
# alone, which tells that from a fault.
# Ends with what passed only then, and with which tests were left out, and why.
# Usage: tests/all.sh PYTHON [pytest options]
set -u
python=$1
shift
computing="tests/planner tests/graph tests/quantization tests/zoo tests/shared tests/demo"
few=3 # files that are run once more; more of them have a fault in common
EDGESPLIT_SKIPS=$(mktemp)
EDGESPLIT_FAILED=$(mktemp)
export EDGESPLIT_SKIPS EDGESPLIT_FAILED
trap 'rm -f "$EDGESPLIT_SKIPS" "$EDGESPLIT_FAILED"' EXIT
# More than four beside each other would wait for each other's daemons.
jobs=$("$python" -c "import os; print(min(4, max(2, len(os.sched_getaffinity(0)))))")

slow="--durations=20 --durations-min=10"

"$python" -m pytest -n "$jobs" --dist loadfile $slow $computing "$@"
computing_status=$?

rest=""
for folder in $computing; do rest="$rest --ignore=$folder"; done
: >"$EDGESPLIT_FAILED"
"$python" -m pytest -n $((jobs + 1)) --dist loadfile $slow $rest "$@"
rest_status=$?
again=$(sort -u "$EDGESPLIT_FAILED")
if [ $rest_status -eq 1 ] && [ -n "$again" ] && [ "$(echo "$again" | wc -l)" -le $few ]; then
    echo "failed beside others, and run once more alone:" $again
    "$python" -m pytest $again "$@"
    rest_status=$?
    [ $rest_status -eq 0 ] && echo "FAILED BESIDE OTHERS, PASSED ALONE:" $again
fi
"$python" -m tests.skips "$EDGESPLIT_SKIPS"
skips_status=$?
[ $skips_status -eq 0 ] && [ $computing_status -eq 0 ] && [ $rest_status -eq 0 ]
