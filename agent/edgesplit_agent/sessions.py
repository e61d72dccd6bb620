"""onnxruntime sessions of components: built from blobs, warmed, shared between epochs, run.

Owns: everything that touches onnxruntime while serving. Its rule: onnxruntime is imported when the first graph
arrives. Not here: fetching (`artifacts.py`), when to run (`worker.py`), measuring units (`profiling.py`).
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesplit.errors import EdgesplitError, PreparationFailed
from edgesplit.messages import ComponentSpec, EpochSpec, GraphRef, TensorSpec
from edgesplit.tensors import Array
from edgesplit_agent.artifacts import BlobCache
from edgesplit_agent.own_work import OwnWork

__all__ = [
    "Component",
    "Computed",
    "RuntimeOptions",
    "SessionPool",
    "digests_of",
    "open_session",
    "providers_of",
    "zeros",
]

MAX_SLEEP_S = 3600.0


@dataclass(frozen=True)
class RuntimeOptions:
    """How sessions are built.

    Attributes:
        threads: Intra-operator threads.
        provider: `auto`, or an onnxruntime execution provider's name.
        slow_down: Factor of the `[emulation]` section.
        alone: Other agents on this machine play other nodes: times are taken as if each had the machine to itself.
    """

    threads: int = 1
    provider: str = "auto"
    slow_down: float = 1.0
    alone: bool = False

    @property
    def clock(self) -> Callable[[], float]:
        """What profiles, and runs that are held against them, are timed with. [s]

        Emulated nodes share the machine's cores: only the thread's own work counts there, as it does when components
        are slowed down.
        """
        return time.thread_time if self.alone and self.threads == 1 else time.perf_counter


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


def digests_of(graph: GraphRef) -> set[str]:
    """All blobs of a graph."""
    return {graph.digest, *(weight.digest for weight in graph.weights)}


def open_session(path: Path, options: RuntimeOptions, *, profile_prefix: Path | None = None) -> Any:
    """Build an onnxruntime session; weights are found beside the graph and mapped from their files.

    Args:
        path: The graph blob; external data locations are names of files in its folder.
        options: Threads and provider.
        profile_prefix: Where to write onnxruntime's profile; None for none.

    Raises:
        PreparationFailed: onnxruntime refuses the graph or the provider.
    """
    import onnxruntime  # noqa: PLC0415  0.14 s and 20 MB, only paid by nodes that compute

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    # A spinning thread uses up the CPU share that other processes and the sockets of this one need.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile_prefix is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile_prefix)
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=_providers(options.provider))
    except Exception as error:  # onnxruntime raises pybind types without a common base
        raise PreparationFailed(f"onnxruntime refuses the graph {path.name[:12]}: {_first_line(error)}") from error


def providers_of(session: Any) -> tuple[str, ...]:
    """The execution providers a session really got."""
    return tuple(session.get_providers())


def zeros(specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Inputs that only their shapes matter of."""
    return {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs}


class Component:
    """A component's session, ready to run.

    Args:
        session: onnxruntime's.
        outputs: Names in order.
        options: Slowness and clock of the run.
    """

    def __init__(self, session: Any, outputs: Sequence[str], options: RuntimeOptions | None = None) -> None:
        self._session = session
        self._outputs = list(outputs)
        self.options = options or RuntimeOptions()

    def run(self, arrays: Mapping[str, Array]) -> Computed:
        """Run once; blocking. onnxruntime's own exceptions come through for the caller to report."""
        options = self.options
        started, busy = time.perf_counter(), time.thread_time()
        outputs = self._session.run(self._outputs, dict(arrays))
        seconds, busy_s = time.perf_counter() - started, time.thread_time() - busy
        # What is slowed down is the work itself: time spent waiting for a core that emulated nodes on one machine
        # share would be multiplied otherwise.
        slowed_s = options.slow_down * (busy_s if options.threads == 1 else seconds)
        if options.slow_down > 1.0:
            time.sleep(min(max(slowed_s - seconds, 0.0), MAX_SLEEP_S))
            seconds = time.perf_counter() - started
        as_profiled_s = slowed_s if options.clock is time.thread_time else seconds
        return Computed(dict(zip(self._outputs, outputs, strict=True)), seconds, as_profiled_s)

    def run_alone(self, arrays: Mapping[str, Array], options: Any) -> dict[str, Array]:
        """Run once beside serving: no emulated slowness, for whatever matters does not wait for it.

        Args:
            arrays: By name.
            options: onnxruntime's run options; setting their `terminate` ends the run with an exception.
        """
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(arrays), options), strict=True))


@dataclass
class _Shared:
    """A session and the epochs that use it."""

    session: asyncio.Future[Any]
    users: int = 0


class SessionPool:
    """Components of prepared epochs; epochs with the same component share its session.

    Args:
        cache: Where blobs come from.
        options: How sessions are built.
        own_work: Told while one is built.
    """

    def __init__(self, cache: BlobCache, options: RuntimeOptions, own_work: OwnWork | None = None) -> None:
        self.options = options
        self._own_work = own_work or OwnWork()
        self.providers: tuple[str, ...] = ()
        self._cache = cache
        self._builder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")
        self._shared: dict[str, _Shared] = {}
        self._components: weakref.WeakSet[Component] = weakref.WeakSet()

    async def prepare(self, spec: EpochSpec) -> dict[int, Component]:
        """Fetch, build and warm every component of an epoch.

        Raises:
            PreparationFailed, ArtifactError: One of them cannot be had; nothing is kept then.
        """
        components: dict[int, Component] = {}
        taken: list[GraphRef] = []
        try:
            for component in spec.components:
                self._cache.hold(digests_of(component.graph))
                taken.append(component.graph)
                session = await self._session(component)
                names = [output.name for output in component.outputs]
                ready = Component(session, names, self.options)
                self._components.add(ready)
                components[component.component] = ready
        except BaseException:
            for graph in taken:
                self._give_back(graph)
            raise
        return components

    def release(self, spec: EpochSpec) -> None:
        """Free what `prepare` of the same spec took."""
        for component in spec.components:
            self._give_back(component.graph)
        self._cache.prune()

    def set_slow_down(self, slow_down: float) -> None:
        """Change the emulated factor, also of components that are prepared."""
        self.options = replace(self.options, slow_down=slow_down)
        for component in self._components:
            component.options = self.options

    async def _session(self, component: ComponentSpec) -> Any:
        digest = component.graph.digest
        shared = self._shared.get(digest)
        if shared is None:
            future = asyncio.ensure_future(self._build(component))
            shared = self._shared[digest] = _Shared(future)
        shared.users += 1
        return await asyncio.shield(shared.session)

    async def _build(self, component: ComponentSpec) -> Any:
        with self._own_work.under_way():
            await self._cache.fetch(digests_of(component.graph))
            loop = asyncio.get_running_loop()
            path = self._cache.path(component.graph.digest)
            session = await loop.run_in_executor(self._builder, _open_warm, path, self.options, component)
        self.providers = providers_of(session)
        return session

    def _give_back(self, graph: GraphRef) -> None:
        self._cache.drop(digests_of(graph))
        shared = self._shared.get(graph.digest)
        if shared is None:
            return
        shared.users -= 1
        if shared.users <= 0:
            shared.session.cancel()
            del self._shared[graph.digest]

    async def close(self) -> None:
        """Free everything."""
        for shared in self._shared.values():
            shared.session.cancel()
        await asyncio.gather(*(shared.session for shared in self._shared.values()), return_exceptions=True)
        self._shared.clear()
        self._builder.shutdown(wait=False)


def _open_warm(path: Path, options: RuntimeOptions, component: ComponentSpec) -> Any:
    session = open_session(path, options)
    try:
        session.run([output.name for output in component.outputs], zeros(component.inputs))
    except EdgesplitError:
        raise
    except Exception as error:  # as above
        raise PreparationFailed(f"component {component.component} does not run: {_first_line(error)}") from error
    return session


def _providers(wanted: str) -> list[str]:
    import onnxruntime  # noqa: PLC0415  as above

    available = list(onnxruntime.get_available_providers())
    if wanted != "auto":
        if wanted not in available:
            raise PreparationFailed(
                f"[runtime] provider {wanted!r} is not there: this runtime has {', '.join(available)}"
            )
        return [wanted] if wanted == "CPUExecutionProvider" else [wanted, "CPUExecutionProvider"]
    # Providers that compile for minutes (TensorRT) or send data elsewhere (Azure) are taken only when named.
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
