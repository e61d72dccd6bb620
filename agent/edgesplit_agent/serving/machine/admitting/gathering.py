"""Gatherings: requests that wait a moment for others like them, and their rows in a joint request.

Owns: who waits with whom and until when, and the way of arrays into a joint request and out of it. Its rule: pure; nobody waits
longer than it said, and a gathering never has more rows and bytes than a joint request may have. Not here: who may wait, what
becomes of a joint request (`joint_requests.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from edgesplit.late_libraries import np
from edgesplit.wire.tensors import FLOAT_DTYPES, Array, dtype_name, widened

__all__ = ["Alike", "Gathering", "Gatherings", "rows_of", "same_rows", "stacked"]

MOST_ROWS = 64
"""Of a joint request."""
MOST_BYTES = 4 << 20
"""Of its inputs: they are copied on the event loop, which stands still for a millisecond then. [B]"""
TOLERANCE = 1e-4
"""Of an output's range: how far rows of a joint request may be from what they are alone."""
ROUNDINGS = 4
"""As many of a type's own steps are allowed, where they are larger."""
BFLOAT16_STEP = 2.0**-7

Alike: TypeAlias = tuple[str, int, tuple[tuple[str, tuple[int, ...]], ...]]
"""Model, epoch, and the shapes of the inputs but for their rows: what requests that are joined have in common."""


@dataclass(slots=True)
class Gathering:
    """Requests that will be one.

    Attributes:
        until_s: When it starts at the latest. [s on the machine's clock]
        members: Names of the requests, in the order in which they came.
    """

    alike: Alike
    until_s: float
    members: list[str] = field(default_factory=list[str])
    rows: int = 0
    nbytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether no other finds room."""
        return self.rows >= MOST_ROWS or self.nbytes >= MOST_BYTES


class Gatherings:
    """Those of one node that have not started."""

    def __init__(self) -> None:
        self._waiting: dict[Alike, Gathering] = {}

    def put(self, alike: Alike, name: str, arrays: Mapping[str, Array], until_s: float) -> list[Gathering]:
        """Let a request wait; gatherings that are to start now, for they are full."""
        rows, nbytes = rows_of(arrays), sum(array.nbytes for array in arrays.values())
        full: list[Gathering] = []
        known = self._waiting.get(alike)
        if known is not None and (known.rows + rows > MOST_ROWS or known.nbytes + nbytes > MOST_BYTES):
            full.append(self._waiting.pop(alike))
        gathering = self._waiting.setdefault(alike, Gathering(alike, until_s))
        gathering.until_s = min(gathering.until_s, until_s)
        gathering.members.append(name)
        gathering.rows += rows
        gathering.nbytes += nbytes
        if gathering.is_full:
            full.append(self._waiting.pop(alike))
        return full

    def take_due(self, now_s: float) -> list[Gathering]:
        """Those whose time has come."""
        due = [gathering for gathering in self._waiting.values() if now_s >= gathering.until_s]
        return [self._waiting.pop(gathering.alike) for gathering in due]

    def take(self, model: str) -> list[Gathering]:
        """All of one model."""
        return [self._waiting.pop(alike) for alike in list(self._waiting) if alike[0] == model]


def rows_of(arrays: Mapping[str, Array]) -> int:
    """Of a request: the first axis of all its inputs; 0 where they differ, though they should not: nobody's rows could be told. [1]"""
    found = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    return int(found.pop()) if len(found) == 1 else 0


def stacked(parts: Sequence[Mapping[str, Array]]) -> tuple[dict[str, Array], list[slice]]:
    """The rows of several requests as one, and where those of each lie."""
    joint = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    ends = np.cumsum([rows_of(part) for part in parts]).tolist()
    return joint, [slice(end - rows_of(part), end) for part, end in zip(parts, ends, strict=True)]


def same_rows(joint: Mapping[str, Array], alone: Sequence[Mapping[str, Array]]) -> bool:
    """Whether a joint request gave what its requests gave by themselves, up to rounding."""
    for name, array in joint.items():
        if any(outputs[name].shape[1:] != array.shape[1:] or not array.ndim for outputs in alone):
            return False  # how large it is depends on what the rows hold
        wanted = np.concatenate([outputs[name] for outputs in alone])
        if array.shape != wanted.shape:
            return False
        alike = np.array_equal if dtype_name(array) not in FLOAT_DTYPES else _close
        if not alike(array, wanted):
            return False
    return True


def _close(array: Array, wanted: Array) -> bool:
    """Whether floats are the same up to rounding, of which half precision has more."""
    step = np.finfo(array.dtype).eps if array.dtype.kind == "f" else BFLOAT16_STEP
    tolerance = max(TOLERANCE, ROUNDINGS * float(step))
    array, wanted = widened(array), widened(wanted)
    finite = wanted[np.isfinite(wanted)]
    allowed = tolerance * float(np.ptp(finite)) if finite.size else 0.0
    return np.allclose(array, wanted, rtol=tolerance, atol=allowed, equal_nan=True)
