"""Why a plan is as it is, in numbers.

Owns: what `explain` answers: the reason of every cut, the constraints that bind, and what relaxing them would bring.
Its rule: every statement rests on a solve of a changed problem, measured by the unchanged problem's score. Not here:
the solving, which `reasons` does, and printing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["BindingConstraint", "ConstraintName", "CutReason", "Explanation", "LimitRelaxation"]

ConstraintName = Literal["noise", "device-energy", "memory", "pins", "link", "missing-link"]


class CutReason(msgspec.Struct, frozen=True, kw_only=True):
    """Why one tensor crosses one link.

    Attributes:
        tensor: What is cut.
        source: Sending node.
        target: Receiving node.
        bytes: Size on the wire. [B]
        transfer_s: Time on the link, latency included, coding not. [s]
        latency_change_s: Latency of the best plan without this cut, less the plan's; None if not known. [s]
        energy_change_j: Energy of the best plan without this cut, less the plan's; None if not known. [J]
        score_change: The same for the score; None if not known.
        text: One sentence.
    """

    tensor: str
    source: str
    target: str
    bytes: float
    transfer_s: float
    latency_change_s: float | None
    energy_change_j: float | None
    score_change: float | None
    text: str


class BindingConstraint(msgspec.Struct, frozen=True, kw_only=True):
    """A constraint without which a better plan exists.

    Attributes:
        name: Its kind.
        subject: The node or link (`a:b`) it is about; empty for noise, device energy and pins.
        text: One sentence.
        limit: Its bound, where it has one: noise [1], energy [J] or memory [B].
        value: What the plan uses of it.
        slack: limit - value.
    """

    name: ConstraintName
    subject: str
    text: str
    limit: float | None
    value: float | None
    slack: float | None


class LimitRelaxation(msgspec.Struct, frozen=True, kw_only=True):
    """What giving way on one constraint would bring.

    Attributes:
        constraint: Its kind.
        subject: The node or link (`a:b`) it is about; empty for noise, device energy and pins.
        change: What was changed, for instance `max_noise 0.1 -> 0.15`.
        latency_s: Of the plan that would result. [s]
        energy_j: Of the plan that would result. [J]
        score_gain: By how much the score falls, on the unchanged problem's scale; 0 when nothing is gained.
        proven: No larger gain is possible; otherwise time ran out.
        text: One sentence.
    """

    constraint: ConstraintName
    subject: str
    change: str
    latency_s: float
    energy_j: float
    score_gain: float
    proven: bool
    text: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer.

    Attributes:
        cuts: One per tensor and link, the longest transfer first.
        bindings: Constraints that cost something.
        relaxations: Every change tried, the largest gain first.
        complete: Whether time sufficed for everything there was to try.
    """

    cuts: tuple[CutReason, ...]
    bindings: tuple[BindingConstraint, ...]
    relaxations: tuple[LimitRelaxation, ...]
    complete: bool
