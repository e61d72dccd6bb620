"""Whether an interpreter has all that the checks need; says on standard error what it lacks."""

from __future__ import annotations

import importlib
import shutil
import sys

__all__ = ["main", "missing"]

NEEDED = ("aiohttp", "click", "msgspec", "numpy", "onnx", "ortools", "paho", "psutil", "rich", "structlog")


def missing() -> str:
    """What is not there, in words; empty where nothing is missing."""
    lacking: list[str] = []
    broker = () if shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") else ("amqtt",)
    for name in (*NEEDED, "prometheus_client", "zstandard", *broker):
        try:
            importlib.import_module(name)
        except ImportError:
            lacking.append(name)
    if lacking:
        return f"it has no {', '.join(lacking)}"
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        return f"it has no onnxruntime ({error})"
    if not getattr(runtime, "cuda_version", "") and "CUDAExecutionProvider" not in runtime.get_available_providers():
        return f"its onnxruntime {runtime.__version__} is built for processors alone"
    return ""


def main() -> int:
    """Tell."""
    lack = missing()
    if lack:
        sys.stderr.write(f"{sys.executable}: {lack}\n")
    return 1 if lack else 0


if __name__ == "__main__":
    sys.exit(main())
