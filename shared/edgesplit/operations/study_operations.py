"""Operations about plans that might be (explain, what-if, frontier), which change nothing, and their documents.

Owns: these operations and their documents. Its rule: keys may be added, never renamed. Not here: documents of what is
(`plan_operations.py`), the studies themselves (the controller's planner).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.operations.exchange import TaggedOperation
from edgesplit.operations.goal_operations import LimitChange
from edgesplit.operations.plan_operations import ComponentRow
from edgesplit.operations.plan_summary import PlanSummary
from edgesplit.planning.explanation import BindingConstraint, CutReason, LimitRelaxation
from edgesplit.planning.plan import Concession, NodeShare, TimelineEntry

__all__ = [
    "ExplainDocument",
    "ExplainPlan",
    "FrontierAxes",
    "FrontierDocument",
    "FrontierRow",
    "LinkChange",
    "PlacedNetwork",
    "StudyOperation",
    "TraceFrontier",
    "WhatIf",
    "WhatIfDocument",
]


FrontierAxes = Literal["latency,energy", "latency,rate", "energy,rate"]
"""What plans of a frontier trade: the first is least at one end, the second least, or of a rate most, at the other."""


class ExplainPlan(TaggedOperation, frozen=True, kw_only=True, tag="explain-plan"):
    """Answered with `ExplainDocument` of the active plan."""

    name: str
    time_limit_s: float = 10.0


class ExplainDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `explain`; `complete` is whether time sufficed for everything there was to try.

    Attributes:
        model: Name of the model.
        epoch: Number of the active plan.
        cuts: Why each tensor crosses a link.
        binding: Constraints without which a better plan exists.
        relaxations: What giving way would bring.
        complete: Whether time sufficed for everything there was to try.
        concession: What the plan gave up against the best one, within `[planning] tolerance`, for fewer components or fewer
            bytes cut; None where it was the best one when it was last decided on.
    """

    model: str
    epoch: int
    cuts: tuple[CutReason, ...]
    binding: tuple[BindingConstraint, ...]
    relaxations: tuple[LimitRelaxation, ...]
    complete: bool
    concession: Concession | None = None


class LinkChange(msgspec.Struct, frozen=True, kw_only=True):
    """A link as it would be; what is None stays as it is.

    Attributes:
        bandwidth_bytes_per_s: [B/s]
        latency_s: One way. [s]
    """

    from_: str = msgspec.field(name="from")
    to: str
    bandwidth_bytes_per_s: float | None = None
    latency_s: float | None = None


class WhatIf(TaggedOperation, frozen=True, kw_only=True, tag="what-if"):
    """Plan under other conditions and change nothing. Answered with `WhatIfDocument`.

    Goals are read as `SetWeights` reads them.
    """

    name: str
    links: tuple[LinkChange, ...] = ()
    without: tuple[str, ...] = ()
    latency: float | None = None
    energy: float | None = None
    max_noise: LimitChange | None = None
    device_energy_j: LimitChange | None = None
    min_rate: LimitChange | None = None


class PlacedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parts of a network would run, under the keys that `plan` has them by.

    Attributes:
        source: The node that requests arrive at.
        components: Of the plan; nothing of them is measured.
        quantized: Operators that run in int8.
        codecs: Tensor to the codec that it travels in; others travel as they are.
        timeline: Of one request, predicted.
    """

    source: str
    components: tuple[ComponentRow, ...]
    quantized: tuple[str, ...]
    codecs: dict[str, str]
    timeline: tuple[TimelineEntry, ...]


class WhatIfDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `what-if`.

    Attributes:
        model: Name of the model.
        epoch: Number of the active plan.
        supposed: What was supposed, one sentence each.
        active: The active plan as it is.
        active_then: The active plan under what was supposed; None where it could not run.
        then: The plan that would be made.
        same: Whether that is the active one.
        moved: How many operators would change their node.
        solve_s: What planning took. [s]
        placed: Where its parts would run.
    """

    model: str
    epoch: int
    supposed: tuple[str, ...]
    active: PlanSummary
    active_then: PlanSummary | None
    then: PlanSummary
    same: bool
    moved: int
    solve_s: float
    placed: PlacedNetwork


class TraceFrontier(TaggedOperation, frozen=True, kw_only=True, tag="trace-frontier"):
    """Answered with `FrontierDocument`, after a progress reply for every point.

    Attributes:
        axes: What is traded for what.
    """

    name: str
    points: int = 12
    time_limit_s: float = 60.0
    axes: FrontierAxes = "latency,energy"


class FrontierRow(msgspec.Struct, frozen=True, kw_only=True):
    """A plan on the frontier, or the active one.

    Attributes:
        latency_s: Under the planner's latency model, which the frontier is of. [s]
        timeline_s: End of the simulated timeline. [s]
        energy_j: Of all nodes, per request. [J]
        device_energy_j: Of the source. [J]
        noise: Of the output. [1]
        status: `optimal` (proven to be on the frontier) or `feasible`.
        per_node: Node to what sits on it.
        quantized: Operators that run in int8.
        active: Whether it is the active plan.
        timeline_interval_s: Nine of ten times the end of the timeline proves to lie in it; None where it cannot run. [s]
        energy_interval_j: The same of the energy. [J]
        rate_hz: Requests a second that it sustains, many at a time; None where nothing takes any time. [1/s]
        bottleneck: The node, or the link as `FROM:TO`, that bounds this rate; None with it.
    """

    latency_s: float
    timeline_s: float
    energy_j: float
    device_energy_j: float
    noise: float
    status: str
    per_node: dict[str, NodeShare]
    quantized: tuple[str, ...]
    active: bool = False
    timeline_interval_s: tuple[float, float] | None = None
    energy_interval_j: tuple[float, float] | None = None
    rate_hz: float | None = None
    bottleneck: str | None = None


class FrontierDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `frontier`: points by what the first axis counts, rising; `active` is the active plan, which need not lie on it.

    Attributes:
        model: Name of the model.
        epoch: Number of the active plan.
        latency_model: The planner's, `sum` or `critical-path`.
        points: By rising latency; of `energy,rate` by rising energy.
        active: The active plan, which need not be one of the points.
        seconds: What tracing it took. [s]
        axes: What is traded for what.
    """

    model: str
    epoch: int
    latency_model: str
    points: tuple[FrontierRow, ...]
    active: FrontierRow
    seconds: float
    axes: FrontierAxes = "latency,energy"


StudyOperation = ExplainPlan | WhatIf | TraceFrontier
