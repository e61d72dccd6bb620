"""Machine and versions of a run, for its results.

Owns: reading them. Its rule: what cannot be read is empty, never guessed. Not here: how steady the machine is (cells have their
controls).
"""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from lab.results import Setting

__all__ = ["read_setting"]

PACKAGES = ("onnxruntime", "onnx", "ortools", "numpy", "msgspec", "paho-mqtt", "zstandard")
REPOSITORY = Path(__file__).resolve().parents[2]


def read_setting() -> Setting:
    """Of this machine, this interpreter and this checkout."""
    system = platform.uname()
    return Setting(
        kernel=f"{system.system} {system.release} {system.machine}",
        cpu=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
        edgesplit_version=_version("edgesplit"),
        commit=_commit(),
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
