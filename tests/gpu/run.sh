#!/bin/sh
# Checks that need a graphics processor: sessions really on CUDA, transfers in the profile, plans that place units there,
# split = whole, TensorRT where it loads. Leaves gpu-output/results.json. At most 8 minutes; needs no network where an
# environment with onnxruntime-gpu and edgesplit's dependencies is there already.
# Usage: tests/gpu/run.sh PYTHON
# Which environment: EDGESPLIT_GPU_PYTHON where it is set; else the first of .venv-gpu, .venv and PYTHON whose onnxruntime is
# built for CUDA; else .venv-gpu is made with edgesplit[agent-gpu,controller-gpu], where packages can be had. onnxruntime and
# onnxruntime-gpu share a folder and are never installed together.
# Where there is no such processor or environment, that is said in one sentence, and nothing failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
python=$1
folder=.venv-gpu
PYTHONPATH=$PWD/agent:$PWD/controller:$PWD/shared:$PWD${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH

leave() {
    echo "checks of graphics processors are left out: $1"
    exit 0
}
ready() { # whether this interpreter has all that is needed; says what it lacks
    command -v "$1" >/dev/null 2>&1 && "$1" -m tests.gpu.ready
}

command -v nvidia-smi >/dev/null 2>&1 || [ -e /dev/nvidiactl ] || [ -e /dev/nvhost-ctrl ] || [ -e /dev/dxg ] ||
    leave "this machine has no NVIDIA driver (neither nvidia-smi nor /dev/nvidiactl)"

chosen=""
for candidate in ${EDGESPLIT_GPU_PYTHON:-$folder/bin/python .venv/bin/python "$python"}; do
    if ready "$candidate"; then
        chosen=$candidate
        break
    fi
done
if [ -z "$chosen" ] && [ -z "${EDGESPLIT_GPU_PYTHON:-}" ]; then
    echo "making $folder with edgesplit[agent-gpu,controller-gpu]"
    install="$folder/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 10"
    { [ -d $folder ] || "$python" -m venv $folder; } &&
        timeout 240 $install -e '.[agent-gpu,controller-gpu]' 'amqtt>=0.11,<0.13' || leave "packages cannot be had, see above"
    # CUDA's and cuDNN's libraries as Python packages, where the machine may not have them.
    timeout 240 $install 'onnxruntime-gpu[cuda,cudnn]' || echo "CUDA's libraries are not to be had as packages: the machine's own are used"
    ready $folder/bin/python && chosen=$folder/bin/python
fi
[ -n "$chosen" ] || leave "no Python here has onnxruntime-gpu and edgesplit's dependencies (set EDGESPLIT_GPU_PYTHON)"
echo "with $chosen"
exec "$chosen" -m tests.gpu.checks --out gpu-output
