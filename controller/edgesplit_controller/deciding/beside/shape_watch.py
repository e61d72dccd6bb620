"""Planning shapes of deployed models: each further one is deployed beside its model; sizes that are asked often become one.

Owns: that the shapes of a deployed model are deployed at its source, and which come and go by themselves. Its rule: a shape
without a plan never keeps its model from serving: requests near it are served by the plan of another shape. Not here: the records
of shapes (`models/planning_shapes.py`), which sizes are worth a plan (`deciding/changes/asked_shapes.py`), which plan a request takes
(agents).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from edgesplit.errors import EdgesplitError, InvalidInput, InvalidModel, NotDeployed, PlanningTimedOut
from edgesplit.names import base_name
from edgesplit.significance import SHAPE_KEPT_WORTH, SHAPE_WORTH
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_controller.deciding.beside.deployment_tries import DeploymentTries
from edgesplit_controller.deciding.changes.asked_shapes import (
    IDLE_AFTER_S,
    AskedShapes,
    ShapeUse,
    Sizes,
    nearest_shape,
)
from edgesplit_controller.deciding.changes.shape_worth import gain, gain_at
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.handling import HandlingBook
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.models.planning_shapes import is_first, largest_bytes, of_model, shape_text
from edgesplit_controller.planner import evaluate
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.stating.assignment_fit import fits
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["ShapeWatch"]

LOOK_EVERY_S = 1.0
PATIENCE_S = 5.0
"""So long who deployed a model waits for its further shapes: it serves already. [s]"""


MATTERS_AFTER_S = 180.0
"""So long a plan for some sizes has to be worth it before it is made. [s]"""
WEIGH_AGAIN_S = 300.0
"""What a plan would save is worked out so long after the last time. [s]"""
MOST_WEIGHED = 64
"""Sizes of a model of which that is remembered."""
SOLVE_S = 2.0
"""Longest that looking for the best plan at some sizes takes. [s]"""
MOST_AUTOMATIC = 4
"""Planning shapes of a model that nobody named."""
MOST_TENSOR_BYTES = 512 << 20
"""Of the largest tensor of a shape that nobody named. [B]"""


@dataclass(slots=True)
class _Asked:
    """What is known of the sizes that requests of a model have.

    Attributes:
        shapes: Of the last requests.
        use: How long planning shapes are without.
        since_s: Since when one has been worth a plan; None while none is.
        refused: Those that cannot be planned for, or were in vain.
        gains: What a plan would save at some sizes, or saves at a shape, and when that was worked out. [s, 1]
        useless_since_s: Since when shapes have been worth too little. [s]
    """

    shapes: AskedShapes = field(default_factory=AskedShapes)
    use: ShapeUse = field(default_factory=ShapeUse)
    since_s: float | None = None
    refused: set[Sizes] = field(default_factory=set[Sizes])
    gains: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    useless_since_s: dict[str, float] = field(default_factory=dict[str, float])


class ShapeWatch:
    """Of all models.

    Args:
        catalog: The records of all shapes.
        deployer: Deploys them.
        rollouts: Remember which records are removed.
        registry: Knows what nodes profiled, and the sizes that were asked.
        speeds: Forget a removed shape.
        handling: Likewise.
        events: Where it is told.
        clock: Monotonic. [s]
        limit_s: How long deploying one may take. [s]
        by_itself: Sizes that many requests have become planning shapes.
    """

    def __init__(
        self,
        catalog: Catalog,
        deployer: Deployer,
        rollouts: Rollouts,
        *,
        registry: Registry,
        speeds: Speeds,
        handling: HandlingBook,
        events: EventLog,
        clock: Callable[[], float],
        limit_s: float,
        by_itself: bool,
    ) -> None:
        self._catalog = catalog
        self._deployer = deployer
        self._rollouts = rollouts
        self._registry = registry
        self._speeds = speeds
        self._handling = handling
        self._events = events
        self._clock = clock
        self._limit_s = limit_s
        self._by_itself = by_itself
        self._asked: dict[str, _Asked] = {}
        self._tries = DeploymentTries("shapes", "shape-not-planned", clock)
        self._loop: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(part="shapes")

    def start(self) -> None:
        """Begin to look."""
        self._loop = asyncio.create_task(self._look(), name="shape-watch")

    async def close(self) -> None:
        """Stop looking."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self._tries.close()

    async def deployed(self, model: str) -> tuple[str, ...]:
        """A model was deployed: deploy its further shapes, as far as its source has timed them, and wait a little for these.

        Returns:
            A sentence for each that has no plan yet.
        """
        missing = tuple(self._missing(model))
        for name in missing:
            self._tries.forget(name)
        timed = [name for name in missing if self._is_timed(name)]
        if timed:
            await asyncio.wait([self._begin(name) for name in timed], timeout=PATIENCE_S)
        return tuple(
            f"{name} is not planned yet: {self._why(name)}" for name in missing if name in self._missing(model)
        )

    async def undeployed(self, model: str) -> None:
        """A model was undeployed: so are its further shapes, once the last request of each ended."""

        async def end(name: str) -> None:
            with contextlib.suppress(NotDeployed):  # it never had a plan
                await self._deployer.undeploy(name)

        await asyncio.gather(*(end(name) for name in of_model(self._deployer.deployments, model) if not is_first(name)))

    async def forget(self, name: str) -> None:
        """Remove the record of a planning shape, and what is known of it; it serves no more."""
        await self._deployer.remove(name)
        if self._catalog.remove(name):
            self._rollouts.note(removed=tuple(other for other in self._rollouts.state.removed if other != name))
        self._speeds.forget_model(name)
        self._handling.forget_model(name)
        self._tries.forget(name)

    def _missing(self, model: str) -> Iterator[str]:
        """Shapes of a deployed model that are not deployed at its source."""
        deployments = self._deployer.deployments
        if model not in deployments or deployments[model].active is None:
            return
        for name in of_model(self._catalog.records, model)[1:]:
            own = deployments.get(name)
            if own is None or own.source != deployments[model].source or own.active is None:
                yield name

    def _is_timed(self, name: str) -> bool:
        record, source = self._catalog.get(name), self._deployer.deployments[base_name(name)].source
        return self._registry.profile(source, name, record.sha256) is not None

    def _why(self, name: str) -> str:
        if not self._is_timed(name):
            return f"{self._deployer.deployments[base_name(name)].source} has not timed it; it is planned as soon as it has"
        return self._tries.why(name)

    def _begin(self, name: str) -> asyncio.Task[None]:
        return self._tries.begin(name, partial(self._deploy, name))

    async def _deploy(self, name: str) -> None:
        first = self._deployer.deployments.get(base_name(name))
        if first is not None:
            await self._deployer.deploy(name, first.source, self._limit_s)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not self._rollouts.settled:
                continue
            for model in tuple(filter(is_first, self._deployer.deployments)):
                try:
                    self._deploy_due(model)
                    if self._by_itself and self._rollouts.state.paused_unix_s(model) is None:
                        await self._look_at_sizes(model)
                except EdgesplitError as error:
                    self._log.warning("shapes-not-changed", model=model, reason=str(error))
                except Exception:
                    # A defect here must not end the controller, nor the watch over other models.
                    self._log.exception("shapes-not-watched", model=model)
            for model in self._asked.keys() - self._deployer.deployments.keys():
                del self._asked[model]

    def _deploy_due(self, model: str) -> None:
        for name in tuple(self._missing(model)):
            if self._tries.is_due(name) and self._is_timed(name):
                self._begin(name)

    async def _look_at_sizes(self, model: str) -> None:
        """Plan for sizes that are asked often, and no more for those that nobody asks for."""
        names = of_model(self._catalog.records, model)
        planned = {name: tuple(spec for spec in self._catalog.get(name).inputs if spec.typical) for name in names}
        if not names or not planned[names[0]]:
            return
        now_s, known = self._clock(), self._asked.setdefault(model, _Asked())
        new = known.shapes.take(self._registry.asked_sizes(model))
        known.use.count(new, planned, now_s)
        sizes = await self._worthiest(known, planned, now_s)
        known.since_s = None if sizes is None else now_s if known.since_s is None else known.since_s
        if sizes is not None and known.since_s is not None and now_s - known.since_s >= MATTERS_AFTER_S:
            known.since_s = None
            await self._plan_for(model, sizes, known)
        for name in names[1:]:
            if self._catalog.get(name).manifest.automatic:
                await self._drop_if_useless(name, known, planned, now_s)

    async def _worthiest(
        self, known: _Asked, planned: Mapping[str, Sequence[TensorSpec]], now_s: float
    ) -> Sizes | None:
        """The sizes for which a plan of their own would save most; None where that is too little for all."""
        found: list[tuple[float, Sizes]] = []
        for sizes, share in known.shapes.candidates(planned, known.refused):
            name, _ = nearest_shape(sizes, planned)
            name = name if self._serving(name) else base_name(name)
            plan = self._serving(name)
            if plan is None:
                continue
            graph = self._catalog.get(name).graph
            saved = partial(gain_at, plan.problem, graph, sizes, plan.assignment, time_limit_s=SOLVE_S)
            worth = share * await self._weighed(known, str(sizes), saved, now_s)
            if worth >= SHAPE_WORTH:
                found.append((worth, sizes))
        return max(found)[1] if found else None

    async def _drop_if_useless(
        self, name: str, known: _Asked, planned: Mapping[str, Sequence[TensorSpec]], now_s: float
    ) -> None:
        """Plan no more for sizes that nobody asks for, or that the next shape's plan serves nearly as well."""
        model = base_name(name)
        if known.use.is_idle(name, now_s):
            reason = "requests do not have its sizes"
        elif await self._is_useless(name, known, planned, now_s):
            reason = "a plan of its own saves requests too little"
            known.refused.add(tuple(sorted((spec.name, spec.typical) for spec in planned[name])))
        else:
            return
        await self.forget(name)
        known.use.forget(name)
        known.useless_since_s.pop(name, None)
        text = f"{model} is not planned for {name} any more: {reason}"
        self._events.add("shape-dropped", text, model=model, data={"shape": name})

    async def _is_useless(
        self, name: str, known: _Asked, planned: Mapping[str, Sequence[TensorSpec]], now_s: float
    ) -> bool:
        """Whether a shape has been worth too little for long."""
        others = {other: specs for other, specs in planned.items() if other != name}
        next_best, _ = nearest_shape(tuple((spec.name, spec.typical) for spec in planned[name]), others)
        own, other = self._serving(name), self._serving(next_best)
        if own is None or other is None or not fits(own.problem, other.assignment):
            known.useless_since_s.pop(name, None)
            return False
        saved = partial(_saved, own, other)
        if known.shapes.share(name, planned) * await self._weighed(known, name, saved, now_s) >= SHAPE_KEPT_WORTH:
            known.useless_since_s.pop(name, None)
            return False
        return now_s - known.useless_since_s.setdefault(name, now_s) >= IDLE_AFTER_S

    async def _weighed(self, known: _Asked, key: str, saved: Callable[[], float], now_s: float) -> float:
        """What is saved, worked out anew now and then."""
        at_s, value = known.gains.get(key, (-math.inf, 0.0))
        if now_s - at_s >= WEIGH_AGAIN_S:
            try:
                value = await asyncio.to_thread(saved)
            except PlanningTimedOut:
                value = 0.0
            known.gains[key] = now_s, value
            while len(known.gains) > MOST_WEIGHED:
                del known.gains[next(iter(known.gains))]
        return value

    def _serving(self, name: str) -> PlanRecord | None:
        """The plan that serves a shape."""
        deployment = self._deployer.deployments.get(name)
        return None if deployment is None else deployment.active

    async def _plan_for(self, model: str, sizes: Sizes, known: _Asked) -> None:
        """Add a planning shape that nobody named."""
        first, shapes = self._catalog.get(model), dict(sizes)
        automatic = [name for name in self._catalog.shapes_of(model) if self._catalog.get(name).manifest.automatic]
        if len(automatic) >= MOST_AUTOMATIC:
            return
        if largest_bytes(first, shapes) > MOST_TENSOR_BYTES:
            known.refused.add(sizes)  # this machine would have to run it once
            return
        try:
            record = await self._catalog.add_shape(model, shapes)
        except (InvalidInput, InvalidModel) as error:
            known.refused.add(sizes)
            self._log.warning("shape-refused", model=model, sizes=shape_text(shapes), reason=str(error))
            return
        if record is not None:
            text = (
                f"{model} is planned for {shape_text(shapes)}, too ({record.name}), for many requests have such sizes"
            )
            self._events.add("shape-planned", text, model=model, data={"shape": record.name})


def _saved(own: PlanRecord, other: PlanRecord) -> float:
    """What a shape's own plan saves beside the plan of another."""
    return gain(evaluate(own.problem, other.assignment), own.evaluation, own.problem.objective)
