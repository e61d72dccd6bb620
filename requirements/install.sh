#!/bin/sh
# Installs this checkout, editable, with locked releases into an environment. Nothing is resolved, and nothing is taken whose
# hash the lock does not have: the package itself is built with the locked build tools.
# Usage: requirements/install.sh PYTHON SET...   (demo, demo test, demo test dev, ...: see lock.sh)
set -eu
cd "$(dirname "$0")/.."
python=$1
shift
echo "installing the locked releases: $*"
for name in "$@"; do
    set -- "$@" --requirement "requirements/$name.txt"
    shift
done
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes "$@"
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
