"""Telemetry of libraries, switched off before they are imported.

Owns: switching off others' telemetry. Its rule: it is called before such a library is imported, by every program of
edgesplit that loads one; who wants it sets the library's own variable. Not here: edgesplit's own metrics, which go to nobody but
the operator.

onnxruntime from 1.32 keeps a device id and a database of events under ~/.cache/Microsoft and sends them, also on Linux.
Two of its threads wake for every run, and a session leaves events behind in memory.
"""

from __future__ import annotations

import os

__all__ = ["stay_discreet"]


def stay_discreet() -> None:
    """Have libraries that are imported from now on keep what they see to themselves."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
