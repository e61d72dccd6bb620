"""Sources of deployed models: where a pattern was named, every node that matches has a plan of its own.

Owns: that the nodes of a pattern are sources, those too that join later. Its rule: the first source is deployed under the model's own
name, each further one as NAME~SOURCE; one without a plan never keeps the others from serving. Not here: the deployments
(`deciding/deployer.py`), which one a request takes (agents).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial

import structlog

from edgesplit.errors import EdgesplitError, NotDeployed, UnknownNode
from edgesplit.names import deployed_name, source_of
from edgesplit.planning.plan import Assignment
from edgesplit_controller.deciding.beside.deployment_tries import DeploymentTries
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.models.planning_shapes import deployments_of
from edgesplit_controller.planner.studies.together import RateDemand, plan_together
from edgesplit_controller.rollout.driver import Rollouts

__all__ = ["SourceWatch", "is_pattern"]

LOOK_EVERY_S = 1.0
TOGETHER_S = 10.0
"""For the plans of all sources that a command names. [s]"""


def is_pattern(source: str) -> bool:
    """Whether a source that was named may mean several nodes: `cam*`, `cam?`, `cam[1-9]`."""
    return any(sign in source for sign in "*?[")


class SourceWatch:
    """Of all models.

    Args:
        catalog: Knows the models.
        deployer: Deploys them.
        rollouts: Remember the patterns.
        registry: Knows who is there.
        clock: Monotonic. [s]
        limit_s: How long deploying one may take. [s]
    """

    def __init__(
        self,
        catalog: Catalog,
        deployer: Deployer,
        rollouts: Rollouts,
        *,
        registry: Registry,
        clock: Callable[[], float],
        limit_s: float,
    ) -> None:
        self._catalog = catalog
        self._deployer = deployer
        self._rollouts = rollouts
        self._registry = registry
        self._limit_s = limit_s
        self._tries = DeploymentTries("sources", "source-not-planned", clock)
        self._loop: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(part="sources")

    def start(self) -> None:
        """Begin to look for nodes that became sources."""
        self._loop = asyncio.create_task(self._look(), name="source-watch")

    async def close(self) -> None:
        """Stop looking."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self._tries.close()

    def first(self, model: str, source: str) -> str:
        """The node to deploy a model at under its own name: where it is deployed already, else the first that matches.

        Args:
            model: Its name.
            source: A node, or a pattern of several.

        Raises:
            UnknownNode: No node that is there, and not drained, matches.
        """
        if not is_pattern(source):
            return source
        matching = self._matching(source)
        if not matching:
            known = ", ".join(self._registry.nodes) or "none yet"
            raise UnknownNode(
                f"no node that is online matches {source!r} (drained ones are left out): the registered ones are {known}"
            )
        deployment = self._deployer.deployments.get(model)
        return deployment.source if deployment is not None and deployment.source in matching else matching[0]

    async def deployed(self, model: str, source: str, wait_s: float) -> tuple[str, ...]:
        """A model was deployed at its first source: deploy it at the others that match, and end what no longer does.

        Args:
            model: Its name.
            source: A node, or a pattern of several, which is remembered.
            wait_s: How long to wait for them. [s]

        Returns:
            A sentence for each source that has no plan yet.

        Raises:
            StoreUnwritable: The pattern could not be remembered.
        """
        self._rollouts.update(sources=self._without(model) | ({model: source} if is_pattern(source) else {}))
        await self._end(model, [name for name in self._further(model) if not self._is_wanted(model, name)])
        missing = tuple(self._missing(model))
        for name in missing:
            self._tries.forget(name)
        if missing:
            plans = await self._planned_together(model, missing)
            await asyncio.wait([self._begin(name, plans.get(name)) for name in missing], timeout=wait_s)
        left = set(self._missing(model))
        return tuple(
            f"{source_of(name)} has no plan of {model} yet: {self._tries.why(name)}" for name in missing if name in left
        )

    async def undeployed(self, model: str) -> None:
        """A model was undeployed: so is it at its further sources, once the last request of each ended.

        Raises:
            StoreUnwritable: They serve on.
        """
        if model in self._rollouts.state.sources:
            self._rollouts.update(sources=self._without(model))
        await self._end(model, self._further(model))

    async def _planned_together(self, model: str, names: Sequence[str]) -> dict[str, Assignment]:
        """Plans for several sources that are promised a rate, none of what is promised to another; by deployment."""
        rate_hz = self._deployer.goals(model).min_rate_hz
        if rate_hz is None or len(names) < 2:
            return {}
        demands: list[RateDemand] = []
        for name in names:
            with contextlib.suppress(EdgesplitError):  # deploying it will say why
                problem = self._deployer.problem(name, source_of(name), self._deployer.goals(name))
                demands.append(RateDemand(name, problem, rate_hz))
        found = await asyncio.to_thread(plan_together, demands, time_limit_s=TOGETHER_S)
        return {share.demand.name: share.assignment for share in found.shares if share.assignment is not None}

    async def _end(self, model: str, names: list[str]) -> None:
        async def end(name: str) -> None:
            await self._tries.cancel(name)
            with contextlib.suppress(NotDeployed):  # it never had a plan
                await self._deployer.undeploy(name)

        started = [name for name in self._tries.running if deployments_of([name], model)]
        await asyncio.gather(*(end(name) for name in {*names, *started} if source_of(name)))

    def _without(self, model: str) -> dict[str, str]:
        """The patterns of the other models."""
        return {name: pattern for name, pattern in self._rollouts.state.sources.items() if name != model}

    def _further(self, model: str) -> list[str]:
        return [name for name in deployments_of(self._deployer.deployments, model) if source_of(name)]

    def _matching(self, pattern: str) -> list[str]:
        """Nodes that may become sources; drained ones may not."""
        there, drained = self._registry.online(), self._rollouts.state.drained
        return [name for name in there if name not in drained and fnmatchcase(name, pattern)]

    def without_plan(self) -> tuple[str, ...]:
        """Deployments that a pattern asks for at nodes that are there, and that have no plan."""
        return tuple(name for model in self._rollouts.state.sources for name in self._missing(model))

    def _is_wanted(self, model: str, name: str) -> bool:
        """Whether a further deployment is still one: its source matches, is known, and is not the first."""
        pattern, source = self._rollouts.state.sources.get(model), source_of(name)
        first = self._deployer.deployments.get(model)
        if pattern is None or (first is not None and first.source == source):
            return False
        return fnmatchcase(source, pattern) and self._registry.knows(source)

    def _missing(self, model: str) -> Iterator[str]:
        """Deployments at further sources that are wanted and not there."""
        pattern, first = self._rollouts.state.sources.get(model), self._deployer.deployments.get(model)
        if pattern is None or first is None or first.active is None:
            return
        for source in self._matching(pattern):
            own = self._deployer.deployments.get(deployed_name(model, source))
            if source != first.source and (own is None or own.active is None):
                yield deployed_name(model, source)

    def _begin(self, name: str, plan: Assignment | None = None) -> asyncio.Task[None]:
        return self._tries.begin(
            name, partial(self._deployer.deploy, name, source_of(name), self._limit_s, beforehand=plan)
        )

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not self._rollouts.settled or self._rollouts.patient:
                continue
            for model in tuple(self._rollouts.state.sources):
                try:
                    await self._follow(model)
                except EdgesplitError as error:
                    self._log.warning("sources-not-changed", model=model, reason=str(error))
                except Exception:
                    # A defect here must not end the controller, nor the watch over other models.
                    self._log.exception("sources-not-watched", model=model)

    async def _follow(self, model: str) -> None:
        stale = [name for name in self._further(model) if not self._is_wanted(model, name)]
        if stale:
            await self._end(model, stale)
        for name in tuple(self._missing(model)):
            timed = self._registry.profile(source_of(name), name, self._catalog.get(name).sha256) is not None
            if timed and self._tries.is_due(name):
                self._begin(name)
