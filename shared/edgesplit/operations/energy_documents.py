"""The parts of a plan's document that speak of energy.

Owns: their keys. Its rule: that of `documents.py`, a key is never renamed; every measured figure names its origin. Not
here: the plan's document itself.
"""

from __future__ import annotations

import msgspec

from edgesplit.control.messages import Origin

__all__ = ["EnergyRow"]


class EnergyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Energy of one node per request, computing apart from sending.

    Attributes:
        predicted_compute_j: What the plan expects of computing, coding included. [J]
        predicted_transmit_j: What it expects of sending. [J]
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
