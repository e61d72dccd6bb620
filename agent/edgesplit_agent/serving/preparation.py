"""Preparation of epochs: those being prepared, and those that are, with their components until they are released.

Owns: one task for each epoch that is built, and what came of it. Its rule: whatever goes wrong becomes an event; an epoch
that is no longer wanted leaves nothing. Not here: how components are built (`compute/session_pool.py`), whether an epoch is
wanted (`serving/machine/epochs.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

import structlog

from edgesplit.control.plan_messages import EpochSpec
from edgesplit.errors import EdgesplitError, InvalidInput, PreparationFailed
from edgesplit.retrying import is_passing
from edgesplit.wire.codecs import check_codec
from edgesplit_agent.compute.session_pool import LoadedComponent
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.reporting.serving_counters import ServingCounters
from edgesplit_agent.serving.machine.events import EpochFailed, EpochPrepared, MachineEvent
from edgesplit_agent.serving.ports import Preparer

__all__ = ["PreparedEpochs", "check_codecs"]


class PreparedEpochs:
    """Epochs by model and generation.

    Args:
        preparer: Builds and frees components.
        counters: Told when an epoch begins and ends.
        timings: Likewise.
        clock: Monotonic. [s]
    """

    def __init__(
        self, preparer: Preparer, *, counters: ServingCounters, timings: TimingBook, clock: Callable[[], float]
    ) -> None:
        self._preparer = preparer
        self._counters = counters
        self._timings = timings
        self._clock = clock
        self._held: dict[tuple[str, int], tuple[EpochSpec, dict[int, LoadedComponent]]] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._log = structlog.get_logger(part="engine")

    def begin(self, model: str, generation: int, spec: EpochSpec, tell: Callable[[MachineEvent], None]) -> None:
        """Have an epoch prepared; `tell` hears of its end, unless it is released before."""
        self._tasks[model, generation] = asyncio.create_task(self._prepare(model, generation, spec, tell))

    def component(self, model: str, generation: int, number: int) -> LoadedComponent:
        """One component of a prepared epoch; KeyError where there is none."""
        return self._held[model, generation][1][number]

    def find(self, model: str, generation: int) -> tuple[EpochSpec, Mapping[int, LoadedComponent]] | None:
        """A prepared epoch, with its components by number."""
        return self._held.get((model, generation))

    def release(self, model: str, epoch: int, generation: int) -> None:
        """Free an epoch, prepared or not."""
        task = self._tasks.pop((model, generation), None)
        if task is not None:
            task.cancel()
        held = self._held.pop((model, generation), None)
        if held is not None:
            self._preparer.release(held[0].components)
            self._log.info("epoch-released", model=model, epoch=epoch)
        self._counters.forget(model, epoch)
        self._timings.forget(model, epoch)

    async def close(self) -> None:
        """Prepare nothing more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _failed(model: str, generation: int, spec: EpochSpec, error: Exception, detail: str) -> EpochFailed:
        # Drawn here, so that the state machine needs no source of chance.
        draw = random.random()  # noqa: S311  spreads retries, guards nothing
        return EpochFailed(model, spec.epoch, generation, detail, is_passing(error), draw)

    async def _prepare(
        self, model: str, generation: int, spec: EpochSpec, tell: Callable[[MachineEvent], None]
    ) -> None:
        started_s = self._clock()
        event: MachineEvent
        try:
            check_codecs(spec)
            components = await self._preparer.prepare(spec.components)
        except EdgesplitError as error:
            self._log.error("epoch-failed", model=model, epoch=spec.epoch, error=str(error))
            event = self._failed(model, generation, spec, error, str(error))
        except Exception as error:  # a defect must show as a failed epoch, not as one that never answers
            self._log.exception("epoch-failed", model=model, epoch=spec.epoch)
            event = self._failed(model, generation, spec, error, f"{type(error).__name__}: {error}")
        else:
            self._held[model, generation] = spec, components
            self._counters.begin(model, spec.epoch)
            self._timings.begin(model, spec)
            seconds = round(self._clock() - started_s, 3)
            self._log.info("epoch-prepared", model=model, epoch=spec.epoch, components=len(components), seconds=seconds)
            event = EpochPrepared(model, spec.epoch, generation)
        self._tasks.pop((model, generation), None)
        tell(event)


def check_codecs(spec: EpochSpec) -> None:
    """Make sure that this node can code what it is to send.

    Raises:
        PreparationFailed: A codec is unknown here, or needs a package that is missing.
    """
    routes = (*spec.input_routes, *(route for component in spec.components for route in component.routes))
    for route in routes:
        try:
            check_codec(route.codec, tensor=route.tensor)
        except InvalidInput as error:
            raise PreparationFailed(str(error)) from error
