"""The installed onnxruntime, imported when something is first computed.

Owns: that one import. Its rule: a node without a model does without the library's memory, and a node that starts says who it is before it
loads it; once it is needed it is loaded in the thread that needs it. Not here: which builds there are (`runtime_builds.py`).
"""

from __future__ import annotations

import functools
from typing import Any

from edgesplit.late_libraries import import_late

__all__ = ["inference_runtime"]


@functools.cache
def inference_runtime() -> Any:
    """The module; it has no types."""
    import_late("numpy")  # onnxruntime brings parts of it by itself
    return import_late("onnxruntime")
