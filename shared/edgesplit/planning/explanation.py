"""Explanation of a plan in numbers: the reason of every cut, binding constraints, and what relaxing limits would bring.

Owns: the rows of `explain`, under the keys that `splitctl explain --json` prints. Its rule: every statement rests on a solve of
a changed problem, measured by the unchanged problem's score. Not here: the solves.
"""

from __future__ import annotations

import msgspec

__all__ = ["BindingConstraint", "CutReason", "Explanation", "LimitRelaxation"]


class CutReason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a tensor crosses a link; changes are those of the best plan without this cut, None where unknown.

    Attributes:
        tensor: Name of the tensor.
        from_: Sending node.
        to: Receiving node.
        bytes: Its size on the wire. [B]
        transfer_s: Latency of the link included. [s]
        latency_change_s: Of the best plan without this cut, against the active one. [s]
        energy_change_j: Likewise. [J]
        score_change: Likewise. [1]
        text: All of it in a sentence.
    """

    tensor: str
    from_: str = msgspec.field(name="from")
    to: str
    bytes: float
    transfer_s: float
    latency_change_s: float | None
    energy_change_j: float | None
    score_change: float | None
    text: str


class BindingConstraint(msgspec.Struct, frozen=True, kw_only=True):
    """A constraint without which a better plan exists.

    Attributes:
        constraint: `rate`, `noise`, `device-energy`, `memory`, `pins`, `link` or `missing-link`.
        subject: Node or link (`a:b`) it is about, or empty.
        limit: What it allows, in the unit of what it limits; None where it is no number. [J, B or 1]
        value: What the active plan has of it. [J, B or 1]
        slack: limit - value. [J, B or 1]
        text: All of it in a sentence.
    """

    constraint: str
    subject: str
    limit: float | None
    value: float | None
    slack: float | None
    text: str


class LimitRelaxation(msgspec.Struct, frozen=True, kw_only=True):
    """What giving way would bring.

    Attributes:
        constraint: As in a binding constraint.
        subject: Likewise.
        change: What was changed.
        latency_s: Of the plan that would result, under the planner's latency model. [s]
        energy_j: Of all nodes, per request. [J]
        score_gain: By how much the score falls. [1]
        proven: No larger gain is possible.
        text: All of it in a sentence.
    """

    constraint: str
    subject: str
    change: str
    latency_s: float
    energy_j: float
    score_gain: float
    proven: bool
    text: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer.

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
