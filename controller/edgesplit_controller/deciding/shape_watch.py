"""Planning shapes of deployed models: each further one is deployed beside its model, as soon as it can be.

Owns: that the shapes of a deployed model are deployed at its source, and those of others are not. Its rule: a shape without a plan
never keeps its model from serving: requests near it are served by the plan of another shape. Not here: the records of
shapes (`models/planning_shapes.py`), which plan a request takes (agents).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator

import structlog

from edgesplit.errors import EdgesplitError, NotDeployed
from edgesplit.names import base_name
from edgesplit.retrying import Retry, RetryRule, retry_after
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.models.planning_shapes import is_first, of_model

__all__ = ["ShapeWatch"]

LOOK_EVERY_S = 1.0
AGAIN = RetryRule(first_s=10.0, most_s=300.0)
"""Between two tries to deploy a shape that failed."""


class ShapeWatch:
    """Of all models.

    Args:
        catalog: The records of all shapes.
        deployer: Deploys them.
        registry: Knows what nodes profiled.
        ready: Whether what the broker retained has arrived.
        clock: Monotonic. [s]
        limit_s: How long deploying one may take. [s]
    """

    def __init__(
        self,
        catalog: Catalog,
        deployer: Deployer,
        registry: Registry,
        *,
        ready: Callable[[], bool],
        clock: Callable[[], float],
        limit_s: float,
    ) -> None:
        self._catalog = catalog
        self._deployer = deployer
        self._registry = registry
        self._ready = ready
        self._clock = clock
        self._limit_s = limit_s
        self._retries: dict[str, Retry] = {}
        self._refusals: dict[str, str] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(part="shapes")

    def start(self) -> None:
        """Begin to look."""
        self._loop = asyncio.create_task(self._look(), name="shape-watch")

    async def close(self) -> None:
        """Stop looking."""
        tasks: list[asyncio.Task[None]] = [*self._running.values(), *filter(None, [self._loop])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def deployed(self, model: str) -> tuple[str, ...]:
        """A model was deployed: deploy its further shapes, as far as its source has timed them.

        Returns:
            A sentence for each that has no plan yet.
        """
        missing = tuple(self._missing(model))
        for name in missing:
            self._retries.pop(name, None)
            self._refusals.pop(name, None)
        timed = [name for name in missing if self._is_timed(name)]
        await asyncio.gather(*(asyncio.shield(self._begin(name)) for name in timed))
        return tuple(
            f"{name} is not planned yet: {self._why(name)}" for name in missing if name in self._missing(model)
        )

    async def undeployed(self, model: str) -> None:
        """A model was undeployed: so are its further shapes, once the last request of each ended."""

        async def end(name: str) -> None:
            with contextlib.suppress(NotDeployed):  # it never had a plan
                await self._deployer.undeploy(name)

        await asyncio.gather(*(end(name) for name in of_model(self._deployer.deployments, model) if not is_first(name)))

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
        return self._refusals.get(name) or "it is under way"

    def _begin(self, name: str) -> asyncio.Task[None]:
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.create_task(self._deploy(name), name=f"deploy-{name}")
            task.add_done_callback(lambda _: self._running.pop(name, None))
        return task

    async def _deploy(self, name: str) -> None:
        deployments = self._deployer.deployments
        if base_name(name) not in deployments:
            return
        source = deployments[base_name(name)].source
        try:
            await self._deployer.deploy(name, source, self._limit_s)
        except EdgesplitError as error:
            now_s = self._clock()
            retry = retry_after(self._retries.get(name), now_s, random.random(), AGAIN)  # noqa: S311  no secret
            self._retries[name], self._refusals[name] = retry, str(error)
            self._log.warning("shape-not-planned", model=name, reason=str(error), next_try_s=retry.next_at_s - now_s)
        else:
            self._retries.pop(name, None)
            self._refusals.pop(name, None)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not self._ready():
                continue
            for model in tuple(filter(is_first, self._deployer.deployments)):
                for name in tuple(self._missing(model)):
                    retry = self._retries.get(name)
                    is_due = retry is None or self._clock() >= retry.next_at_s
                    if is_due and name not in self._running and self._is_timed(name):
                        self._begin(name)
