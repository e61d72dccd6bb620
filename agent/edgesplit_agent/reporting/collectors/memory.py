"""Available memory of the machine.

Owns: what is available and what there is. Its rule: bytes. Not here: limits of components.
"""

from __future__ import annotations

import psutil

__all__ = ["MemoryCollector"]


class MemoryCollector:
    """Reads the machine's memory."""

    def read(self) -> int:
        """What can be had without swapping. [B]"""
        return int(psutil.virtual_memory().available)

    def total(self) -> int:
        """What there is. [B]"""
        return int(psutil.virtual_memory().total)
