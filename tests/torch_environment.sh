#!/bin/sh
# The tests of torch.export archives and of the demo's training, in an environment of their own: PyTorch is as large as
# everything else together, so the other tests do without it.
# Usage: tests/torch_environment.sh PYTHON
# Which torch: TORCH (a requirement, as torch==2.13.0) where it is set, else the newest build for processors alone that pip
# is offered, else what pyproject.toml's [torch] extra takes: it alone is not locked (requirements/), since which builds there
# are depends on the machine. In CI (CI=true) what cannot be installed is a failure, elsewhere it is said.
set -u
cd "$(dirname "$0")/.." || exit 1
python=$1
folder=.venv-torch
minimum=2.6 # of the [torch] extra

leave() { # what could not be done; a failure in CI
    echo "tests of torch export and training are left out: $1"
    [ "${CI:-}" = true ] && exit 1
    exit 0
}
version() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null; }
newest_processor_build() { # torch==X+cpu, or nothing
    $folder/bin/python -m pip index versions torch 2>/dev/null | sed -n 's/^Available versions: *//p' | tr -d ' ' |
        tr ',' '\n' | grep '+cpu$' | head -n 1 | while read -r build; do
        lower=$(printf '%s\n%s\n' "$minimum" "${build%+cpu}" | sort -V | head -n 1)
        [ "$lower" = "$minimum" ] && echo "torch==$build"
    done
}

# The environment is made anew with another Python, and filled anew when pyproject.toml, the lock or TORCH changes.
[ "$(version $folder/bin/python)" = "$(version "$python")" ] || rm -rf $folder
[ -d $folder ] || "$python" -m venv $folder || leave "$python -m venv failed"
stamp=$folder/.torch
if [ ! -e $stamp ] || [ -n "$(find pyproject.toml requirements -newer $stamp)" ] ||
    { [ -n "${TORCH:-}" ] && [ "$TORCH" != "$(cat $stamp)" ]; }; then
    torch=${TORCH:-$(newest_processor_build)}
    # shellcheck disable=SC2086  # nothing where there is no such build
    sh requirements/install.sh $folder/bin/python demo test torch &&
        $folder/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[torch]' $torch ||
        leave "pip failed, see above"
    echo "$torch" >$stamp
fi

$folder/bin/python -c 'import onnxscript, torch; print(f"torch {torch.__version__}, onnxscript {onnxscript.__version__}")' ||
    leave "torch is installed and cannot be imported"
# Nothing may be left out here: that is what the environment is for.
EDGESPLIT_SKIPS=$(mktemp)
export EDGESPLIT_SKIPS
trap 'rm -f "$EDGESPLIT_SKIPS"' EXIT
$folder/bin/python -m pytest -q tests/cli/test_torch_export.py tests/demo/test_train.py \
    tests/claims/test_examples.py::test_the_example_of_torch_export_runs &&
    { [ ! -s "$EDGESPLIT_SKIPS" ] || { echo "left out:" && cat "$EDGESPLIT_SKIPS" && exit 1; }; }
