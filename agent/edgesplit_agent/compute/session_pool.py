"""Pool of onnxruntime sessions of components: built from blobs, warmed, shared between epochs, run.

Owns: the components that are prepared. Its rule: what serves is never slowed for what is prepared; preparing runs in
threads that give way. Not here: onnxruntime (`runtime.py`), where blobs come from (`BlobFolder`), the packed form of graphs
(`prepacking/`), when to run (`worker.py`), measuring units (`profiling/profile_measurement.py`).
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from edgesplit.control.component_messages import ComponentSpec, GraphRef, digests_of, sizes_of
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array, tensor_bytes
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.emulated_slowness import slowed
from edgesplit_agent.compute.prepacking.packed_graphs import PackedGraphs
from edgesplit_agent.compute.providers import CPU
from edgesplit_agent.compute.recent_runs import RecentRuns
from edgesplit_agent.compute.runtime import (
    RuntimeOptions,
    give_memory_back,
    is_refusal_of_inputs,
    open_session,
    providers_of,
    warm_up,
)

__all__ = [
    "BlobFolder",
    "Computed",
    "LoadedComponent",
    "RuntimeOptions",
    "SessionPool",
    "digests_of",
    "open_session",
    "providers_of",
    "sizes_of",
    "warm_up",
]

BACKGROUND_NICENESS = 10
"""A tenth of the processor time of what serves, where both want it."""
BRIEF_S = 0.0005
"""A component that takes no longer may keep the event loop waiting: handing it to a thread costs nearly as much. [s]"""
TIDY_AFTER_S = 5.0
"""After a session went, the time until its memory is given back: the next epoch may want it. [s]"""


@dataclass(frozen=True)
class Computed:
    """What a run yielded and cost.

    Attributes:
        compute_s: Of the wall clock, emulated slowness included. [s]
        as_profiled_s: The same run on the clock that profiles are taken with, emulated slowness included. [s]
    """

    outputs: dict[str, Array]
    compute_s: float
    as_profiled_s: float


class LoadedComponent:
    """A component's session, ready to run.

    Args:
        session: onnxruntime's.
        outputs: Names in order.
        options: Slowness and clock of the run.
        recent: Runs of the session, whoever shares it.
        inputs: What it takes.
        grew: Called behind a run on more than planned for, in its thread.
    """

    def __init__(
        self,
        session: Any,
        outputs: Sequence[str],
        options: RuntimeOptions | None = None,
        recent: RecentRuns | None = None,
        *,
        inputs: Sequence[TensorSpec] = (),
        grew: Callable[[], None] = lambda: None,
    ) -> None:
        self._session = session
        self._recent = recent or RecentRuns()
        self._outputs = list(outputs)
        self._open_inputs = [spec for spec in inputs if spec.typical]
        self._planned_bytes = sum(map(tensor_bytes, inputs))
        self._grew = grew
        self._last_s = (math.inf, math.inf)
        self._last_bytes = 0
        self.options = options or RuntimeOptions()

    def is_brief(self, arrays: Mapping[str, Array]) -> bool:
        """Whether its last runs, on no less, took so little that it may run between two events of a loop."""
        return max(self._last_s) <= BRIEF_S and (not self._open_inputs or _nbytes(arrays) <= self._last_bytes)

    def as_planned(self, arrays: Mapping[str, Array]) -> bool:
        """Whether these inputs have the sizes that its time is planned for."""
        return not self._open_inputs or all(spec.is_planned(arrays[spec.name].shape) for spec in self._open_inputs)

    def refuses(self, arrays: Mapping[str, Array], error: BaseException) -> bool:
        """Whether it failed for the sizes of its inputs, as it would on every node.

        That is so where they are others than planned, and it was the processor's kernels that said no.
        """
        return not self.as_planned(arrays) and is_refusal_of_inputs(error) and providers_of(self._session) == (CPU,)

    def run(self, arrays: Mapping[str, Array]) -> Computed:
        """Run once; blocking. onnxruntime's own exceptions come through for the caller to report."""
        outputs, seconds, as_profiled_s = slowed(
            lambda: self._session.run(self._outputs, dict(arrays)),
            self.options,
            single_threaded=self.options.threads == 1,
            recent=self._recent if self.as_planned(arrays) else None,
            repeated=True,
        )
        self._last_s = (self._last_s[1], seconds)
        if self._open_inputs:
            self._last_bytes = _nbytes(arrays)
            if self._last_bytes > self._planned_bytes:
                self._grew()
        return Computed(dict(zip(self._outputs, outputs, strict=True)), seconds, as_profiled_s)

    def run_alone(self, arrays: Mapping[str, Array], options: Any) -> dict[str, Array]:
        """Run once beside serving: no emulated slowness, for whatever matters does not wait for it.

        Args:
            arrays: By name.
            options: onnxruntime's run options; setting their `terminate` ends the run with an exception.
        """
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(arrays), options), strict=True))


class BlobFolder(Protocol):
    """Where blobs lie, by digest; fetched from wherever they are."""

    @property
    def folder(self) -> Path:
        """Packed graphs lie there, too."""
        ...

    def path(self, digest: str) -> Path:
        """Where a blob lies or would lie."""
        ...

    def touch(self, path: Path) -> None:
        """Note a file as used now."""

    def hold(self, digests: Iterable[str]) -> None:
        """Keep these until they are dropped as often as they were held."""

    def drop(self, digests: Iterable[str]) -> None:
        """Let these go."""

    async def fetch(self, digests: Iterable[str], sizes: Mapping[str, int] | None = None) -> None:
        """Have these here, verified.

        Raises:
            ArtifactError: One of them cannot be had.
        """

    def prune(self) -> object:
        """Make room for others, as far as nothing holds it."""
        ...


@dataclass
class _Shared:
    """A session, how many use it, the blobs it keeps in the cache, and its runs by the sizes that they are planned for."""

    session: asyncio.Future[Any]
    users: int = 0
    held: frozenset[str] = frozenset()
    recent: dict[tuple[TensorSpec, ...], RecentRuns] = field(default_factory=dict[tuple[TensorSpec, ...], RecentRuns])


class SessionPool:
    """Prepared components; the same component is one session for all who prepare it, others share weights.

    Args:
        cache: Where blobs come from.
        options: How sessions are built.
        background_work: Told while one is built.
    """

    def __init__(
        self, cache: BlobFolder, options: RuntimeOptions, background_work: BackgroundWork | None = None
    ) -> None:
        self.options = options
        self._background_work = background_work or BackgroundWork()
        self.providers: tuple[str, ...] = ()
        self._cache = cache
        self._packed = PackedGraphs(cache.folder, cache.touch)
        # The threads of a session inherit the priority of the one that opens it, so that one must be ordinary.
        self._opener = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")
        self._background = ThreadPoolExecutor(1, thread_name_prefix="pack", initializer=_lower_priority)
        self._shared: dict[str, _Shared] = {}
        self._components: weakref.WeakSet[LoadedComponent] = weakref.WeakSet()
        self._tidying: asyncio.TimerHandle | None = None
        self._untidy = False

    async def prepare(self, wanted: Sequence[ComponentSpec]) -> dict[int, LoadedComponent]:
        """Fetch, build and warm components; they come by number.

        Raises:
            PreparationFailed, ArtifactError: One of them cannot be had; nothing is kept then.
        """
        components: dict[int, LoadedComponent] = {}
        taken: list[GraphRef] = []
        # Where nothing serves yet there is nobody to give way to, and somebody waits for the first answer.
        pack = self._background if self._components else self._opener
        try:
            for component in wanted:
                taken.append(component.graph)
                session, recent = await self._session(component, pack)
                names = [output.name for output in component.outputs]
                grew = partial(self._run_grew, asyncio.get_running_loop())
                ready = LoadedComponent(session, names, self.options, recent, inputs=component.inputs, grew=grew)
                self._components.add(ready)
                components[component.component] = ready
        except BaseException:
            for graph in taken:
                self._give_back(graph)
            raise
        return components

    @property
    def blobs(self) -> frozenset[str]:
        """What the sessions there are keep in the cache: in packed form other blobs than those they were made of."""
        return frozenset(digest for shared in self._shared.values() for digest in shared.held)

    def release(self, prepared: Sequence[ComponentSpec]) -> None:
        """Free what `prepare` of the same components took."""
        for component in prepared:
            self._give_back(component.graph)
        self._cache.prune()

    def set_slow_down(self, slow_down: float) -> None:
        """Change the emulated factor, also of components that are prepared."""
        self.options = replace(self.options, slow_down=slow_down)
        for component in self._components:
            component.options = self.options

    async def close(self) -> None:
        """Free everything."""
        if self._tidying is not None:
            self._tidying.cancel()
        for shared in self._shared.values():
            shared.session.cancel()
        await asyncio.gather(*(shared.session for shared in self._shared.values()), return_exceptions=True)
        self._shared.clear()
        for executor in (self._opener, self._background):
            executor.shutdown(wait=False)

    async def _session(self, component: ComponentSpec, pack: Executor) -> tuple[Any, RecentRuns]:
        digest = component.graph.digest
        shared = self._shared.get(digest)
        if shared is None:
            shared = self._shared[digest] = _Shared(asyncio.get_running_loop().create_future())
            shared.session = asyncio.ensure_future(self._build(component, shared, pack))
        shared.users += 1
        is_built = shared.session.done()
        session = await asyncio.shield(shared.session)
        if is_built and component.inputs not in shared.recent:  # for other sizes
            await asyncio.get_running_loop().run_in_executor(pack, warm_up, session, component)
        return session, shared.recent.setdefault(component.inputs, RecentRuns())

    async def _build(self, component: ComponentSpec, shared: _Shared, pack: Executor) -> Any:
        loop = asyncio.get_running_loop()
        with self._background_work.under_way():
            packed = await self._pack(component, shared, pack)
            digest = component.graph.digest
            path = self._packed.path(digest) if packed else self._cache.path(digest)
            vary = any(spec.typical for spec in component.inputs)
            opening = partial(open_session, path, self.options, optimized=packed, sizes_vary=vary)
            session = await loop.run_in_executor(self._opener, opening)
            await loop.run_in_executor(pack, warm_up, session, component)
        self.providers = providers_of(session)
        return session

    async def _pack(self, component: ComponentSpec, shared: _Shared, pack: Executor) -> bool:
        """Have a component's blobs here and kept, in packed form where that is possible; whether it is."""
        loop, graph = asyncio.get_running_loop(), component.graph
        # Not by the thread that gives way: one that waits for a core while it holds the interpreter stops serving.
        weights = await loop.run_in_executor(self._opener, self._packed.weights, graph.digest)
        if weights is None:
            self._keep(shared, digests_of(graph))
            await self._cache.fetch(digests_of(graph), sizes_of(graph))
            weights = await loop.run_in_executor(pack, self._packed.make, component, self.options)
            self._tidy_soon()
        if weights is not None:
            self._keep(shared, weights | shared.held | {graph.digest})
            # The cache may have been pruned before they were held.
            if all(self._cache.path(name).exists() for name in (*weights, self._packed.path(graph.digest).name)):
                self._keep(shared, weights | {graph.digest})
                return True
        self._keep(shared, digests_of(graph))
        await self._cache.fetch(digests_of(graph), sizes_of(graph))
        return False

    def _keep(self, shared: _Shared, digests: Iterable[str]) -> None:
        """Keep these blobs for a session, no longer those it kept before."""
        before, shared.held = shared.held, frozenset(digests)
        self._cache.hold(shared.held)
        self._cache.drop(before)

    def _give_back(self, graph: GraphRef) -> None:
        shared = self._shared.get(graph.digest)
        if shared is None:
            return
        shared.users -= 1
        if shared.users <= 0:
            shared.session.cancel()
            self._keep(shared, ())
            del self._shared[graph.digest]
            self._tidy_soon()

    def _tidy_soon(self) -> None:
        """Give memory back a while after sessions went: now and then while more of them go, and once all are gone."""
        self._untidy = True
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(TIDY_AFTER_S, self._tidy)

    def _run_grew(self, loop: asyncio.AbstractEventLoop) -> None:
        """A request larger than planned for took memory that those after it may never need again."""
        if self._tidying is None:
            loop.call_soon_threadsafe(self._tidy_soon)

    def _tidy(self) -> None:
        self._tidying = None
        self._opener.submit(give_memory_back)
        if self._untidy:
            self._untidy = False
            # Requests that were under way have taken memory again, perhaps for what went last.
            self._tidying = asyncio.get_running_loop().call_later(TIDY_AFTER_S, self._tidy)


def _nbytes(arrays: Mapping[str, Array]) -> int:
    return sum(array.nbytes for array in arrays.values())


def _lower_priority() -> None:
    """Have this thread give way to those that serve; elsewhere than on Linux priorities are a process's."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICENESS)
