"""Installed builds of onnxruntime, and whether they conflict.

Owns: the names of the builds. Its rule: asked from the packages' metadata, so that the runtime itself, slow to import,
is left alone. Not here: what a build can run on (the agent's `compute/providers.py`).
"""

from __future__ import annotations

import importlib.metadata
import sys
from importlib.util import find_spec
from pathlib import Path

from edgesplit.errors import InvalidConfiguration

__all__ = ["check_runtime", "installed_runtime", "runtime_conflict"]

BUILDS = ("onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime")
"""Of the same library, in one folder, so that only one of them can be installed; what more it can do comes first."""


def installed_runtime() -> str:
    """Name and version of the installed runtime; empty where there is none."""
    return next((f"{build} {found}" for build in BUILDS if (found := _version(build))), "")


def check_runtime() -> None:
    """Refuse to start an agent where there is none: it would fail later, at the first model.

    Raises:
        InvalidConfiguration: No build is installed.
    """
    if find_spec("onnxruntime") is None:
        pip = Path(sys.executable).parent / "pip"
        raise InvalidConfiguration(
            "onnxruntime is not installed here, and an agent computes with it: in a checkout of edgesplit, "
            f"{pip} install '.[agent]' ('.[agent-gpu]' for an NVIDIA graphics processor)"
        )


def runtime_conflict() -> str:
    """One sentence where several builds are installed, what to do about it included; else empty."""
    there = [build for build in BUILDS if _version(build)]
    if len(there) < 2:
        return ""
    pip = Path(sys.executable).parent / "pip"
    return (
        f"{' and '.join(there)} are both installed, and share a folder that each overwrites, so that either may run: "
        f"{pip} uninstall --yes {' '.join(there)}; {pip} install {there[0]} (the extras agent-gpu and controller-gpu, or "
        "agent and controller, go together)"
    )


def _version(build: str) -> str:
    try:
        return importlib.metadata.version(build)
    except importlib.metadata.PackageNotFoundError:
        return ""
