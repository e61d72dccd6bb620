"""The parts of a plan's document that speak of energy.

Owns: their keys. Its rule: that of `documents.py`, a key is never renamed; every measured figure names its origin. Not
here: the plan's document itself.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.control.messages import Origin

__all__ = ["BatteryDocument", "EnergyRow"]


class EnergyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Energy of one node per request, computing apart from sending.

    Attributes:
        predicted_compute_j: [J]
        predicted_transmit_j: [J]
        requests: What the measured means stand on.
        compute_j: Integrated over served requests; None before there was one. [J]
        compute_origin: Of `compute_j`; None with it.
        transmit_j: Seconds of sending times configured watts; None before there was a request. [J]
        transmit_origin: Of `transmit_j`; None with it.
    """

    predicted_compute_j: float
    predicted_transmit_j: float
    requests: int = 0
    compute_j: float | None = None
    compute_origin: Origin | None = None
    transmit_j: float | None = None
    transmit_origin: Origin | None = None


class BatteryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a battery floor allows each request, and what that follows from.

    Attributes:
        state: `limited`: `limit_j` holds; `below-floor`: nothing is left to spend; `on-mains`: nothing is drawn from
            it; `no-battery` and `no-energy`: the source has none, or one that does not say how much it holds.
        floor: As a share of what the battery holds. [1]
        fraction: How full it is; None where it does not say. [1]
        above_floor_j: What is left above the floor; None where unknown. [J]
        requests_per_s: [1/s]
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
