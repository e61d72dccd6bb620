"""All checks of a graphics processor in turn, each a process of its own within a time of its own; figures into one file.

Owns: their order, their time, and what is kept. Its rule: a check that crashes, hangs or fails keeps none of the others from
being made, and all of them together end within eight minutes. Not here: the checks.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import onnx
import onnxruntime

from bench import zoo
from edgesplit_agent.compute.providers import CPU, CUDA
from edgesplit_agent.compute.runtime import usable_providers

__all__ = ["CHECKS", "IN_ALL_S", "TOPOLOGY", "made", "main"]

TOPOLOGY = "resnet50"
IN_ALL_S = 465.0
CHECKS = (("sessions", 100.0), ("fleet", 220.0), ("tensorrt", 180.0))
"""Each a module of this folder, and the most it may take. [s]"""


def say(text: str) -> None:
    """Tell whoever watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def described() -> dict[str, Any]:
    """The machine and the runtime."""
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        cards = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        cards = f"nvidia-smi does not tell ({error})"
    return {
        "cards": cards,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "cuda": getattr(onnxruntime, "cuda_version", ""),
        "listed": onnxruntime.get_available_providers(),
    }


def made(module: str, folder: Path, limit_s: float) -> dict[str, Any]:
    """One check's findings: `ok`, `said` (a sentence) and its figures."""
    started = time.monotonic()
    with (folder / f"{module}.log").open("wb") as log:
        try:
            done = subprocess.run(
                [sys.executable, "-m", f"tests.gpu.{module}", str(folder)],
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"ok": False, "said": f"took more than {limit_s:.0f} s: see {log.name}"}
    last = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
    try:
        found: dict[str, Any] = json.loads(last[0])
    except (IndexError, json.JSONDecodeError):
        ended = (folder / f"{module}.log").read_text(errors="replace").strip().splitlines()[-1:]
        return {"ok": False, "said": f"ended with {done.returncode} ({' '.join(ended)[:300]}): see {module}.log"}
    return found | {"seconds": round(time.monotonic() - started, 1)}


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("gpu-output"))
def main(out: Path) -> None:
    """Check sessions, profiles, plans and splits on a graphics processor; figures into OUT/results.json."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": described()}
    say(json.dumps(results["machine"]))
    usable = usable_providers(CUDA, 1) if CUDA in results["machine"]["listed"] else (CPU,)
    if CUDA not in usable:
        results["left_out"] = f"onnxruntime {onnxruntime.__version__} cannot load {CUDA} here"
        (out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        onnxruntime.set_default_logger_severity(2)  # its own words say which library is missing
        options = onnxruntime.SessionOptions()
        model = onnx.helper.make_model(
            onnx.helper.make_graph(
                [onnx.helper.make_node("Identity", ["x"], ["y"])],
                "one",
                [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])],
                [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
            ),
            opset_imports=[onnx.helper.make_opsetid("", 17)],
            ir_version=8,
        )
        if CUDA in results["machine"]["listed"]:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CUDA, CPU])
        say(
            f"checks of graphics processors are left out: {results['left_out']} (a driver or library it needs is missing)"
        )
        return
    onnx.save(zoo.build(TOPOLOGY), out / f"{TOPOLOGY}.onnx")
    failed = False
    for module, limit_s in CHECKS:
        left_s = IN_ALL_S - (time.monotonic() - started)
        found = made(module, out, min(limit_s, left_s)) if left_s > 20 else {"ok": False, "said": "no time was left"}
        results[module] = found
        failed |= not found["ok"]
        (out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        say(f"{module}: {'ok' if found['ok'] else 'FAILED'}: {found['said']}")
        for key, value in found.items():
            if key not in ("ok", "said"):
                say(f"    {key}: {json.dumps(value)}")
    results["seconds"] = round(time.monotonic() - started, 1)
    (out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    say(f"figures are in {out / 'results.json'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
