"""Processor time and memory of a process, from outside.

Owns: reading them from /proc, and what they amount to over a while. Its rule: processor time, not wall time. Not here: whose they are.
"""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["MemoryCourse", "processor_s", "resident_bytes"]

_TICKS = os.sysconf("SC_CLK_TCK")


def processor_s(process: int) -> float:
    """Processor time of a process and all its threads so far. [s]"""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(process: int) -> int:
    """Resident memory. [B]"""
    text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:")))


@dataclass
class MemoryCourse:
    """Resident memory over time.

    Attributes:
        samples: Seconds since the begin, and bytes. [s, B]
    """

    samples: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])

    def add(self, at_s: float, nbytes: int) -> None:
        """One look."""
        self.samples.append((at_s, nbytes))

    @property
    def growth_bytes_per_hour(self) -> float:
        """Slope of the least-squares line through the second half. [B/h]"""
        late = self.samples[len(self.samples) // 2 :]
        if len(late) < 2:
            return 0.0
        slope = statistics.linear_regression([at_s for at_s, _ in late], [nbytes for _, nbytes in late]).slope
        return 3600 * slope

    def text(self) -> str:
        """Begin, end and growth, for people."""
        first, last = self.samples[0][1] / 1e6, self.samples[-1][1] / 1e6
        return f"{first:.1f} MB at first, {last:.1f} MB at last, {self.growth_bytes_per_hour / 1e6:+.1f} MB an hour"
