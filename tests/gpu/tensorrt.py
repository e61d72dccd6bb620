"""TensorRT, where onnxruntime lists and loads it: an engine is built, kept, found again, and its outputs are near."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from bench.differences import relative_difference
from edgesplit_agent.compute.providers import CPU, TENSORRT
from edgesplit_agent.compute.runtime import RuntimeOptions, open_session, providers_of
from tests.gpu.checks import TOPOLOGY
from tests.gpu.sessions import median_s

NEAR = 1e-2
"""TensorRT multiplies in TF32, which has ten bits of mantissa; onnxruntime has no option against it."""


def check(folder: Path) -> dict[str, Any]:
    """All of it; where TensorRT does not load, that is what is found."""
    if TENSORRT not in onnxruntime.get_available_providers():
        return {"ok": True, "said": "this onnxruntime does not list TensorRT: nothing to check"}
    path = folder / f"{TOPOLOGY}.onnx"
    described = onnx.load(path, load_external_data=False).graph.input[0]
    shape = [dim.dim_value for dim in described.type.tensor_type.shape.dim]
    inputs = {described.name: np.random.default_rng(3).random(shape, dtype=np.float32)}
    started = time.monotonic()
    session = open_session(path, RuntimeOptions(provider=TENSORRT))
    providers = providers_of(session)
    if providers[0] != TENSORRT:
        return {
            "ok": True,
            "said": f"TensorRT is listed and does not load here: sessions run on {', '.join(providers)}",
        }
    session.run(None, inputs)
    built_s = time.monotonic() - started
    started = time.monotonic()
    again = open_session(path, RuntimeOptions(provider=TENSORRT))
    again.run(None, inputs)
    again_s = time.monotonic() - started
    processor = open_session(path, RuntimeOptions(provider=CPU))
    names = [value.name for value in processor.get_outputs()]
    wanted = dict(zip(names, processor.run(names, inputs), strict=True))
    difference = relative_difference(wanted, dict(zip(names, again.run(names, inputs), strict=True)))
    host_s = median_s(lambda: again.run(None, inputs), 50)
    return {
        "ok": difference <= NEAR,
        "said": f"built in {built_s:.0f} s, found again in {again_s:.1f} s, {1e3 * host_s:.2f} ms a run, outputs within "
        f"{difference:.1e}",
        "providers": list(providers),
        "built_s": built_s,
        "opened_again_s": again_s,
        "host_to_host_s": host_s,
        "difference": difference,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(check(Path(sys.argv[1]))) + "\n")
