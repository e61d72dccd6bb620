"""Optional dependencies: whether what the controller and splitctl need beside the client library is installed.

Owns: the names of those packages' modules, and the sentence where one is missing. Its rule: looked up, not imported. Not
here: optional features with packages of their own (`cli/model_files/torch_export.py`, `broker/embedded_broker.py`).
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from edgesplit.errors import InvalidConfiguration

__all__ = ["check_installed", "missing_text"]

MODULES = ("highspy", "onnx", "onnxruntime", "ortools", "rich")
"""Of the extras controller and controller-gpu, beyond what an agent has."""


def check_installed(program: str) -> None:
    """Refuse to start where the extra is missing: it would fail later, at the first model.

    Raises:
        InvalidConfiguration: One of the packages is not there.
    """
    missing = [name for name in MODULES if find_spec(name) is None]
    if missing:
        raise InvalidConfiguration(missing_text(program, missing[0]))


def missing_text(program: str, module: str) -> str:
    """One sentence on a package that is not installed."""
    pip = Path(sys.executable).parent / "pip"
    return (
        f"{program} needs {module.partition('.')[0]}, which is not installed here: in a checkout of edgesplit, "
        f"{pip} install '.[controller]' ('.[controller-gpu]' beside agent-gpu)"
    )
