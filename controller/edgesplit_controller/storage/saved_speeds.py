"""Persisted node speeds: what live timings taught of them.

Owns: these values. Its rule: values only; a key may be added, never renamed. Not here: what they mean
(`fleet/speed_factors.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

__all__ = ["Known", "SavedSpeed", "TimingOrigin"]


TimingOrigin = Literal["profile", "live timings", "timed again"]


@dataclass(frozen=True)
class Known:
    """A component that was timed once.

    Attributes:
        error: What it takes over the profile, the node's factor aside. [1]
    """

    float_s: float
    int8_s: float
    error: float


class SavedSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """One node and model as it is remembered over a restart.

    Attributes:
        profile: Digest of the profile that is corrected.
        told_s: As `_Watched`. [s]
        factor: This and the rest as `NodeSpeed`. [1]
    """

    node: str
    model: str
    profile: str
    told_s: float
    factor: float
    known: dict[str, Known]
    origin: TimingOrigin
    relapses: int
    slow_down: float
