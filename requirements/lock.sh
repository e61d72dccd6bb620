#!/bin/sh
# Writes the lock files beside this script: the exact releases, with hashes, that `make` and CI install, one set for every
# Python and processor that edgesplit runs on. Each file holds what it adds to those it builds on:
#   demo.txt   what edgesplit and `make demo` need, and what builds the package
#   test.txt   demo.txt + the tests       dev.txt   test.txt + the checks       fuzz.txt   dev.txt + atheris
#   torch.txt  test.txt + what the tests with PyTorch need beside PyTorch itself, whose build depends on the machine
# Who installs edgesplit by `pip install '.[agent]'` takes the ranges of pyproject.toml, and no lock.
# Usage: requirements/lock.sh UV [--upgrade]   (make lock, make lock UPGRADE=--upgrade)
# What is locked stays as far as pyproject.toml allows, unless --upgrade asks for the newest releases.
set -eu
cd "$(dirname "$0")/.."
uv=$1
upgrade=${2:-}
all=$(mktemp)
trap 'rm -f "$all"' EXIT

compile() { # wheels alone: nobody needs a compiler
    "$uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --only-binary :all: \
        --generate-hashes --no-header --no-annotate pyproject.toml "$@"
}
names() { sed -n 's/^\([a-z0-9][a-z0-9._-]*\)==.*/\1/p' "$@"; }
layer() { # NAME "FILES IT BUILDS ON" OPTIONS
    name=$1 below=$2
    shift 2
    for package in $(names $below) $(names "$all" | grep -E '^(torch|triton|nvidia-.*|cuda-.*)$'); do
        set -- "$@" --no-emit-package "$package"
    done
    {
        echo "# Written by \`make lock\`; see lock.sh."
        compile "$@" --constraint "$all" | sed '/^$/d; /^#/d'
    } >requirements/"$name".txt
}

# All at once first, so that the files agree.
cat requirements/*.txt >"$all" 2>/dev/null || true
# shellcheck disable=SC2086  # nothing or an option
compile --group build --extra fuzz --extra torch --output-file "$all" $upgrade >/dev/null
layer demo /dev/null --group build --extra demo
layer test requirements/demo.txt --extra test
layer dev "requirements/demo.txt requirements/test.txt" --extra dev
layer torch "requirements/demo.txt requirements/test.txt" --extra test --extra torch
layer fuzz "requirements/demo.txt requirements/test.txt requirements/dev.txt" --extra fuzz
