"""Operations on a model's goals (weights, limits, pins, forbidden nodes) and their documents.

Owns: these operations and their documents. Its rule: keys may be added, never renamed. Not here: the goals
themselves (`planning/goals.py`).
"""

from __future__ import annotations

import msgspec

from edgesplit.operations.exchange import TaggedOperation
from edgesplit.operations.plan_summary import PlanSummary
from edgesplit.planning.goals import PinRule

__all__ = [
    "AllowNode",
    "ForbidNode",
    "ForbiddenRow",
    "GoalOperation",
    "LimitChange",
    "PinOperators",
    "PinRow",
    "PinsDocument",
    "SetWeights",
    "UnpinOperators",
    "WeightsRow",
]


class LimitChange(msgspec.Struct, frozen=True):
    """A limit that is set: `value` None clears it, an absent Limit leaves the old one."""

    value: float | None


class SetWeights(TaggedOperation, frozen=True, kw_only=True, tag="set-weights"):
    """Store goals and re-plan at once. Answered with a list of `WeightsRow`.

    Naming one weight sets the unnamed one to 0; naming neither keeps both; absent limits persist.

    Attributes:
        min_rate: Requests a second that plans must sustain. [1/s]
        min_battery: Share of the source's battery that must be left. [1]
        battery_hours: For how long, from any moment on. [h]
        battery_requests_per_s: Expected until measured. [1/s]
        dry_run: Answer what would result, and change nothing.
    """

    latency: float | None = None
    energy: float | None = None
    max_noise: LimitChange | None = None
    device_energy_j: LimitChange | None = None
    min_rate: LimitChange | None = None
    min_battery: LimitChange | None = None
    battery_hours: float | None = None
    battery_requests_per_s: LimitChange | None = None
    dry_run: bool = False
    model: str | None = None


class WeightsRow(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `set-weights` for one model; `changed` is whether the assignment differs from before.

    Attributes:
        model: Name of the model.
        epoch: Number of the plan that serves now.
        changed: Whether the assignment differs from before.
        warnings: As in `DeployDocument`.
        then: Of a dry run, the plan that would serve; else None, and for a model that is not deployed.
        now: Of a dry run, the plan that serves, as it is predicted now; else None, and for a model that is not deployed.
    """

    model: str
    epoch: int
    changed: bool
    warnings: tuple[str, ...] = ()
    then: PlanSummary | None = None
    now: PlanSummary | None = None


class PinOperators(TaggedOperation, frozen=True, kw_only=True, tag="pin-operators"):
    """Keep operators on some nodes, each pin in place of one of the same selector. Answered with `PinsDocument`.

    Attributes:
        also: More pins, made together with `rule` or not at all.
    """

    name: str
    rule: PinRule
    also: tuple[PinRule, ...] = ()


class UnpinOperators(TaggedOperation, frozen=True, kw_only=True, tag="unpin-operators"):
    """Lift the pin of a selector (as `PinRow.select` says it), or all of them. Answered with `PinsDocument`.

    Attributes:
        also: More selectors.
    """

    name: str
    select: str | None = None
    also: tuple[str, ...] = ()


class PinRow(msgspec.Struct, frozen=True, kw_only=True):
    """A pin and what it reaches.

    Attributes:
        select: The pattern, or the option that stands for one.
        nodes: Where the operators may run.
        operators: Those it selects, in topological order.
        units: Their units, which are placed as a whole.
        also: Operators it does not select but that share a unit with one it does.
    """

    select: str
    nodes: tuple[str, ...]
    operators: tuple[str, ...]
    units: tuple[str, ...]
    also: tuple[str, ...]


class PinsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `pin` and `unpin`: the pins there are now; epoch 0 while the model is not deployed.

    Attributes:
        model: Name of the model.
        epoch: Number of the plan that serves now; 0 while the model is not deployed.
        changed: Whether the assignment differs from before.
        pins: All there are now, in the order they were made.
        warnings: As in `DeployDocument`.
    """

    model: str
    epoch: int
    changed: bool
    pins: tuple[PinRow, ...]
    warnings: tuple[str, ...] = ()


class ForbidNode(TaggedOperation, frozen=True, kw_only=True, tag="forbid-node"):
    """Use a node no more: for one model, or for all and those added later. Answered with a list of `ForbiddenRow`."""

    node: str
    model: str | None = None


class AllowNode(TaggedOperation, frozen=True, kw_only=True, tag="allow-node"):
    """Undo `ForbidNode`. Answered with a list of `ForbiddenRow`."""

    node: str
    model: str | None = None


class ForbiddenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `forbid` and `allow` for one model: the nodes it may not use now.

    Attributes:
        model: Name of the model.
        epoch: Number of the plan that serves now; 0 while the model is not deployed.
        changed: Whether the assignment differs from before.
        forbidden: Nodes it may not use now.
    """

    model: str
    epoch: int
    changed: bool
    forbidden: tuple[str, ...]


GoalOperation = SetWeights | PinOperators | UnpinOperators | ForbidNode | AllowNode
