"""The C library's heap: one arena for all threads, and memory given back after large tensors.

Owns: two calls to glibc. Its rule: where there is another C library, nothing happens. Not here: onnxruntime's own arena
(`compute/runtime.py`).

By default glibc gives nearly every thread a heap of its own, and each keeps the holes that tensors leave: an agent whose plans
change grows by a tenth before it stops. Of a heap that is not the first, `malloc_trim` also leaves the end, up to twice the
largest tensor. With one heap the same plan takes the same memory, whatever served before; few threads allocate at a time.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

__all__ = ["share_heap", "trim_heap"]

_ARENA_MAX = -8
"""`M_ARENA_MAX` of mallopt(3)."""
_HEAPS = 1


def share_heap() -> None:
    """Have all threads allocate from one heap; to be called before there are several threads."""
    if (adjust := _function("mallopt")) is not None:
        adjust(_ARENA_MAX, _HEAPS)


def trim_heap() -> None:
    """Return free memory to the system; takes some milliseconds."""
    if (trim := _function("malloc_trim")) is not None:
        trim(0)


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
