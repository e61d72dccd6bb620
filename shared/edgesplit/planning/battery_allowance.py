"""What a battery floor allows each request.

Owns: the value that plans are made under, kept with and shown with. Its rule: values only; a key may be added, never
renamed, for it is on disk and in documents. Not here: the formula, reading batteries.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["BatteryAllowance"]


class BatteryAllowance(msgspec.Struct, frozen=True, kw_only=True):
    """What a battery floor allows each request, and what that follows from.

    Attributes:
        node: Whose battery it is: the source.
        state: `limited`: `limit_j` holds; `below-floor`: nothing is left to spend; `on-mains`: nothing is drawn from
            it; `no-battery` and `no-energy`: the source has none, or one that does not say how much it holds.
        floor: As a share of what the battery holds. [1]
        hours: For how long it must last, from any moment on. [h]
        fraction: How full it is; None where it does not say. [1]
        above_floor_j: What is left above the floor; None where unknown. [J]
        requests_per_s: What the limit is reckoned for. [1/s]
        rate_origin: `measured` from served requests, `configured` by `--battery-rate`, or `assumed`.
        idle_w: Measured draw at rest that is taken off first; None where not measured. [W]
        others_w: What serving other models draws on the node, taken off too. [W]
        limit_j: Of the source's own energy per request; None where none follows. [J]
        kept: Whether the plan keeps it; where none does, the one that takes least from the source serves.
        stale: The battery cannot be read now and these are the last figures.
        text: All of it in a sentence.
    """

    node: str
    state: Literal["limited", "below-floor", "on-mains", "no-battery", "no-energy"]
    floor: float
    hours: float
    fraction: float | None
    above_floor_j: float | None
    requests_per_s: float
    rate_origin: Literal["measured", "configured", "assumed"]
    idle_w: float | None
    others_w: float
    limit_j: float | None
    kept: bool
    stale: bool
    text: str
