"""Fixed reference workload: half arithmetic, half memory traffic, always the same.

Owns: what is run to see whether the machine is as fast as a moment ago. Its rule: the same operations on the same bytes,
about a millisecond, in slices between which it gives way; one thread. Not here: when (`steadiness_watch.py`), what its
times mean (`steadiness_estimate.py`).

A network's time follows that of memory at least as much as that of arithmetic: caches and the memory bus are what
neighbours on a host share first.
"""

from __future__ import annotations

from collections.abc import Callable

from edgesplit.late_libraries import np

__all__ = ["SIDE", "Workload"]

SLICES = 8
"""A request that comes meanwhile waits for the end of one. [1]"""
COPIED_BYTES = 8 << 20
"""From one buffer to another: more than a core's own caches hold, little enough for a small machine. [B]"""
SIDE = 64
"""Of the square matrices: small enough that no BLAS takes several threads for them. [1]"""
PRODUCTS = 80
"""Take about as long as the copy. [1]"""


class Workload:
    """Buffers and what is done with them; for one thread at a time."""

    def __init__(self) -> None:
        values = np.arange(COPIED_BYTES // SLICES // 4, dtype=np.float32)
        # Written to the end, so that no run meets a page for the first time.
        self._from = [values.copy() for _ in range(SLICES)]
        self._to = [values.copy() for _ in range(SLICES)]
        self._factor = np.full((SIDE, SIDE), 1.0 / SIDE, np.float32)
        self._product = np.empty_like(self._factor)

    def run(self, clock: Callable[[], float], unwanted: Callable[[], bool]) -> float | None:
        """Do it once.

        Args:
            clock: What it is timed with. [s]
            unwanted: Asked between slices whether something more urgent came.

        Returns:
            What it took; None where it was given up. [s]
        """
        began_s = clock()
        for source, target in zip(self._from, self._to, strict=True):
            if unwanted():
                return None
            for _ in range(PRODUCTS // SLICES):
                np.matmul(self._factor, self._factor, out=self._product)
            np.copyto(target, source)
        return clock() - began_s
