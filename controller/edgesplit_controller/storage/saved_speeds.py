"""Persisted node speeds: what live timings taught of them.

Owns: these values. Its rule: values only; a key may be added, never renamed. Not here: what they mean
(`fleet/estimation/saved_belief.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

__all__ = ["SavedPart", "SavedSpeed", "TimingOrigin"]


TimingOrigin = Literal["profile", "live timings", "timed again"]


@dataclass(frozen=True)
class SavedPart:
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
        factor: Of the node. [1]
        known: Components that were timed, by key.
        typical: Logarithm of what profiles get wrong about components, as learned. [1]
        precision: The same of what int8 and float differ in that. [1]
        spell: Standard deviation of the host's spells; 0 where not known. [1]
        codings: Logarithms of what the profile's times of codecs are off by, by name of the quantity. [1]
    """

    node: str
    model: str
    profile: str
    told_s: float
    factor: float
    known: dict[str, SavedPart]
    origin: TimingOrigin
    relapses: int
    slow_down: float
    typical: float = 0.0
    precision: float = 0.0
    spell: float = 0.0
    codings: dict[str, float] = msgspec.field(default_factory=dict[str, float])
