"""Persisted state: what the controller must remember over a restart.

Owns: the persisted values: goals, epoch counters, deployments with every plan that nodes may still hold. Its rule:
values only; a key may be added, never renamed. Not here: files (`store.py`), behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from edgesplit.control.plan_messages import EpochSpec
from edgesplit.names import base_name
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment, Component, Concession, Evaluation, NodeShare, Status
from edgesplit.planning.problem import Problem
from edgesplit.planning.spreads import PredictionInterval
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_controller.storage.rollout_state import Epoch, Rollout

__all__ = [
    "ALL_MODELS",
    "STATE_FORMAT",
    "DeploymentState",
    "FallbackRecord",
    "LocalFallback",
    "PlanRecord",
    "State",
    "Tightening",
    "active_plans",
]


ALL_MODELS = "*"
"""Stands for all models where one may be named; no model is called so."""
STATE_FORMAT = 1
"""Of the controller's folder; 0.1 wrote 1 too."""


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One plan with everything people and nodes may ask about it.

    Attributes:
        sha256: Of the model it was made for.
        version: Of the model's record: the same file may have other candidates or ranges.
        specs: Node to its part.
        problem: Its figures are those of the last evaluation.
        components: As they were cut; later figures may have `evaluation` group operators in another way.
        solve_s: What the planner took. [s]
        reason: Why it was made.
        battery: What the battery floor allowed then, and whether it is kept.
        latency_interval_s: Nine of ten times the end of the timeline proves to lie in it; None in files of before. [s]
        energy_interval_j: The same of the energy. [J]
        fixed: Somebody made it, and it stays until a command asks for another.
        concession: What it gave up against the best plan when it was last decided on; None where it was that plan.
        made_unix_s: When; 0 in files of before. [s since the epoch]
    """

    epoch: Epoch = msgspec.field(name="plan")
    sha256: str
    specs: dict[str, EpochSpec]
    problem: Problem
    assignment: Assignment
    evaluation: Evaluation
    status: Status
    score: float | None
    gap: float | None
    solve_s: float
    reason: str
    goals: Goals
    battery: BatteryAllowance | None = None
    version: str = ""
    components: tuple[Component, ...] = ()
    latency_interval_s: tuple[float, float] | None = None
    energy_interval_j: tuple[float, float] | None = None
    fixed: bool = False
    concession: Concession | None = None
    made_unix_s: float = 0.0

    @property
    def interval(self) -> PredictionInterval | None:
        """How sure its predictions are; None where nobody said."""
        if self.latency_interval_s is None or self.energy_interval_j is None:
            return None
        return PredictionInterval(latency_s=self.latency_interval_s, energy_j=self.energy_interval_j)


class LocalFallback(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that needs nobody else: everything on the source in float."""

    epoch: int
    source: str
    sha256: str
    spec: EpochSpec


class FallbackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a fallback; its figures are those of the day it was made.

    Attributes:
        specs: Node to its part.
        latency_s: End of the simulated timeline. [s]
        components: As they were cut.
        latency_interval_s: As of a plan. [s]
        energy_interval_j: As of a plan. [J]
        rate_hz: Requests a second that it sustains. [1/s]
    """

    epoch: int
    sha256: str
    specs: dict[str, EpochSpec]
    assignment: Assignment
    latency_s: float
    energy_j: float
    noise: float
    per_node: dict[str, NodeShare]
    components: tuple[Component, ...] = ()
    latency_interval_s: tuple[float, float] | None = None
    energy_interval_j: tuple[float, float] | None = None
    rate_hz: float | None = None


class DeploymentState(msgspec.Struct, frozen=True, kw_only=True):
    """A deployed model.

    Attributes:
        source: Where requests arise; the active plan's, or the first plan's while there is none.
        plans: Epoch to plan, for every plan of the rollout.
        local_fallbacks: Those that nodes still hold.
        fallbacks: Epoch to plan, for every other fallback that nodes still hold.
    """

    source: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    rollout: Rollout = Rollout()
    plans: dict[int, PlanRecord] = {}
    local_fallbacks: tuple[LocalFallback, ...] = msgspec.field(default=(), name="local")
    fallbacks: dict[int, FallbackRecord] = msgspec.field(default_factory=dict[int, FallbackRecord], name="spares")

    @property
    def active(self) -> PlanRecord | None:
        """The plan that serves."""
        return self.plans.get(self.rollout.active.number) if self.rollout.active is not None else None

    def spec(self, epoch: int, node: str) -> EpochSpec | None:
        """A node's part of a plan or fallback that is held."""
        for local in self.local_fallbacks:
            if local.epoch == epoch:
                return local.spec
        holder = self.plans.get(epoch) or self.fallbacks.get(epoch)
        return holder.specs[node] if holder is not None else None

    @property
    def digests(self) -> frozenset[str]:
        """Blobs that nodes may still fetch for it."""
        specs = [spec for record in self.plans.values() for spec in record.specs.values()]
        specs += [local.spec for local in self.local_fallbacks]
        specs += [spec for fallback in self.fallbacks.values() for spec in fallback.specs.values()]
        refs = [component.graph for spec in specs for component in spec.components]
        return frozenset({ref.digest for ref in refs} | {weight.digest for ref in refs for weight in ref.weights})


class Tightening(msgspec.Struct, frozen=True, kw_only=True):
    """How much noisier a model proved than its noise model says; the figures are those of the last breach.

    Attributes:
        factor: On everything the noise model predicts. [1]
        float_only: The noise model is not believed any more: nothing that adds noise is planned under a bound.
        breaches: Epochs that broke their bound.
        epoch: The last of them.
        samples: Its checked requests.
        predicted: Noise of its plan under the noise model as it was then.
        measured: Mean noise of its checked requests.
        bound: That it broke.
        at_unix_s: When. [s since the epoch]
    """

    factor: float
    float_only: bool
    breaches: int
    epoch: int
    samples: int
    predicted: float
    measured: float
    bound: float
    at_unix_s: float


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        format: Of the whole folder, for whatever in it an older release would misread raises it (`file_format.py`).
        default_goals: Of models that are added later.
        goals: Model to its goals.
        tightenings: Model to how its noise model is tightened; a model without one is believed.
        epochs: Model to the last epoch number given out; outlives the model, so that numbers never come again.
        removed: Models whose removal was decided, while their folders may still be there.
        sources: Model to the pattern of its sources, where one was named.
        drained: Nodes that plans leave out until they are undrained, and since when. [s since the epoch]
        paused: Models that are not planned again by themselves, and since when; `*` stands for all of them. [s since the epoch]
        restored: Models of a backup whose restoring was decided, while their folders may not be in place yet.
    """

    format: int = STATE_FORMAT
    default_goals: Goals = Goals()
    goals: dict[str, Goals] = {}
    epochs: dict[str, int] = {}
    deployments: dict[str, DeploymentState] = {}
    tightenings: dict[str, Tightening] = {}
    removed: tuple[str, ...] = ()
    sources: dict[str, str] = {}
    drained: dict[str, float] = {}
    paused: dict[str, float] = {}
    restored: tuple[str, ...] = ()

    def goals_of(self, model: str | None) -> Goals:
        """The goals of a model, or of None the default of new ones; a planning shape or source without its own has its model's."""
        if model is None:
            return self.default_goals
        return self.goals.get(model) or self.goals.get(base_name(model), self.default_goals)

    def paused_unix_s(self, name: str) -> float | None:
        """Since when a deployment is not planned again by itself; None where it is. [s since the epoch]"""
        return self.paused.get(ALL_MODELS, self.paused.get(base_name(name)))


def active_plans(deployments: Mapping[str, DeploymentState]) -> Iterator[tuple[str, PlanRecord]]:
    """The plans that serve, with the names of their deployments."""
    for name, deployment in deployments.items():
        if deployment.active is not None:
            yield name, deployment.active
