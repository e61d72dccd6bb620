"""Processor load of the machine.

Owns: the percentage. Its rule: it covers the time since the reading before. Not here: power.
"""

from __future__ import annotations

import psutil

__all__ = ["ProcessorCollector"]


class ProcessorCollector:
    """Reads the load of all cores together."""

    def __init__(self) -> None:
        psutil.cpu_percent()  # The first reading has nothing to compare with and would be 0.

    def read(self) -> float:
        """Load since the reading before. [%]"""
        return float(psutil.cpu_percent())
