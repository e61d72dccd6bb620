#!/bin/sh
# What goes over sockets, and the demo, on the distribution's own python3, which is what the README's commands take on a
# machine of a user's. Debian 12's asyncio is that of 3.11.2; whoever develops usually has another.
# Usage: tests/distribution_python.sh PYTHON-OF-THE-OTHER-TESTS
# DISTRIBUTION_PYTHON names another interpreter. In CI (CI=true) what cannot be installed is a failure, elsewhere it is said.
set -u
cd "$(dirname "$0")/.." || exit 1
tested=$1
own=${DISTRIBUTION_PYTHON:-/usr/bin/python3}
folder=.venv-distribution

leave() { # what could not be done; a failure in CI
    echo "tests on the distribution's python3 are left out: $1"
    [ "${CI:-}" = true ] && exit 1
    exit 0
}
version() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null; }

if [ ! -x "$own" ]; then
    echo "there is no $own: the distribution has no Python of its own to test"
    exit 0
fi
number=$(version "$own")
if [ "$number" = "$(version "$tested")" ]; then
    echo "$own is Python $number, which make test has used already"
    exit 0
fi
if ! "$own" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "$own is Python $number, older than edgesplit takes (3.11)"
    exit 0
fi

if ! "$own" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing python3-venv from the distribution's packages"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; } \
            >/dev/null 2>&1
    fi
    "$own" -c 'import ensurepip, venv' 2>/dev/null || leave "$own cannot make environments (apt-get install python3-venv)"
fi

# The environment is made anew with another Python, and filled anew when pyproject.toml changes.
[ "$(version $folder/bin/python)" = "$number" ] || rm -rf $folder
[ -d $folder ] || "$own" -m venv $folder || leave "$own -m venv failed"
if [ ! -e $folder/.test ] || [ pyproject.toml -nt $folder/.test ]; then
    $folder/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' || leave "pip failed, see above"
    touch $folder/.test
fi

echo "Python $number ($own): data plane, client, agents, HTTP, brokers"
$folder/bin/python -m pytest -q tests/dataplane tests/openinference tests/fuzz tests/shared/test_bus.py \
    tests/agent/test_live_agents.py tests/agent/test_live_artifacts.py tests/agent/test_artifacts.py \
    tests/agent/test_artifact_peers.py tests/agent/test_lending_loop.py tests/agent/test_worker.py \
    tests/controller/test_artifacts.py tests/controller/test_embedded_broker.py tests/integration/test_main_job.py
tests_status=$?
echo "Python $number ($own): the demo"
output=$(mktemp -d)
report=$output/report.txt
# It waits for figures that are measured on a machine that may have other work: a second try tells chance from a fault.
for _ in 1 2; do
    $folder/bin/python -m demo --output "$output/demo" >"$report" 2>&1
    demo_status=$?
    [ $demo_status -eq 0 ] && break
    tail -n 60 "$report"
done
[ $demo_status -eq 0 ] && tail -n 1 "$report"
rm -rf "$output"
[ $tests_status -eq 0 ] && [ $demo_status -eq 0 ]
