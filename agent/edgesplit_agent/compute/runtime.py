"""onnxruntime as an agent configures it: sessions, one arena for all of them, memory given back.

Owns: the library's allocator, and the options of a session. Its rule: sessions share one arena, because one component
computes at a time and each would otherwise keep its own largest set of activations for ever. Not here: components
(`compute/session_pool.py`), graphs made ready ahead (`prepacking/`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from edgesplit.control.component_messages import ComponentSpec
from edgesplit.daemon.heap import trim_heap
from edgesplit.daemon.inference_runtime.late_runtime import inference_runtime
from edgesplit.daemon.inference_runtime.runtime_abilities import with_bfloat16
from edgesplit.errors import PreparationFailed, RuntimeStarved, first_line
from edgesplit.late_libraries import np
from edgesplit.retrying import is_passing
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import DTYPES, FLOAT_DTYPES, Array, zeros_of
from edgesplit_agent.compute.providers import CPU, NEED_CUDA, candidates, missing_text, options_of

__all__ = [
    "RuntimeOptions",
    "fingerprint",
    "give_memory_back",
    "has_integers",
    "is_refusal_of_inputs",
    "is_starved",
    "on_processor_alone",
    "open_session",
    "providers_of",
    "refusal",
    "runtime_version",
    "tiny_session",
    "usable_providers",
    "warm_up",
    "zeros",
]

_IDENTITY = bytes.fromhex(
    "08083a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a00100d"
)
"""A serialized model of one Identity: onnxruntime shrinks an arena only at the end of a run."""
_EXACT_REQUESTS = 1
"""onnxruntime's arena_extend_strategy kSameAsRequested: doubling would keep up to twice what is used."""


_STARVED = (
    "failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "out of memory",
    "cannot allocate memory",
    "no space left on device",
    "too many open files",
    "no such file or directory",
)
"""In what onnxruntime says where the same session may open later. The last one: a weight was evicted just before."""


@dataclass(frozen=True)
class RuntimeOptions:
    """How sessions are built.

    Attributes:
        threads: Intra-operator threads.
        provider: `auto`, or an onnxruntime execution provider's full name.
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


def open_session(
    path: Path,
    options: RuntimeOptions,
    *,
    profile_prefix: Path | None = None,
    optimized: bool = False,
    save_to: Path | None = None,
    entries: Mapping[str, str] | None = None,
    sizes_vary: bool = False,
) -> Any:
    """Build an onnxruntime session; weights are found beside the graph and mapped from their files.

    Args:
        path: The graph blob; external data locations are names of files in its folder.
        options: Threads and provider.
        profile_prefix: Where to write onnxruntime's profile; None for none.
        optimized: The graph went through onnxruntime's optimizers before.
        save_to: Where to write the graph as onnxruntime optimized it; None for nowhere.
        entries: More entries of onnxruntime's session configuration.
        sizes_vary: Requests have different sizes: onnxruntime would remember for each, for ever, how it laid memory out.

    Raises:
        PreparationFailed: onnxruntime refuses the graph or the provider.
    """
    _share_arena()
    settings = inference_runtime().SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.enable_mem_pattern = not sizes_vary
    if optimized:
        settings.graph_optimization_level = inference_runtime().GraphOptimizationLevel.ORT_DISABLE_ALL
    if save_to is not None:
        settings.optimized_model_filepath = str(save_to)
    if profile_prefix is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile_prefix)
    configuration = {
        # A spinning thread uses up the CPU share that other processes and the sockets of this one need.
        "session.intra_op.allow_spinning": "0",
        "session.use_env_allocators": "1",
        # Weights outlive runs: in the arena they would keep its regions from ever being given back.
        "session.use_device_allocator_for_initializers": "1",
        **(entries or {}),
    }
    for key, value in configuration.items():
        settings.add_session_config_entry(key, value)
    try:
        session = inference_runtime().InferenceSession(str(path), settings, providers=_providers(options, path.parent))
    except Exception as error:  # onnxruntime raises pybind types without a common base
        raise refusal(f"onnxruntime refuses the graph {path.name[:12]}", error) from error
    return with_bfloat16(session)


def providers_of(session: Any) -> tuple[str, ...]:
    """The execution providers a session really got."""
    return tuple(session.get_providers())


def on_processor_alone(options: RuntimeOptions) -> bool:
    """Whether sessions with these options use the processor and nothing else.

    Raises:
        PreparationFailed: The wanted provider is not there.
    """
    return usable_providers(options.provider, options.threads) == (CPU,)


@functools.cache
def usable_providers(wanted: str, threads: int) -> tuple[str, ...]:
    """The providers that sessions get here, found out once on a tiny model; those that cannot be loaded are said.

    Args:
        wanted: Full name or `auto`.
        threads: Of a session.

    Raises:
        PreparationFailed: The wanted one is not there, or does not even run the tiny model.
    """
    _share_arena()
    if wanted in NEED_CUDA:
        _load_cuda()
    asked = candidates(wanted, list(inference_runtime().get_available_providers()))
    if asked == (CPU,):
        return asked
    settings = inference_runtime().SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = threads
    named = [(name, options_of(name, threads, None)) for name in asked]
    try:
        got = providers_of(inference_runtime().InferenceSession(_IDENTITY, settings, providers=named))
    except Exception as error:  # onnxruntime raises pybind types without a common base
        raise refusal(f"onnxruntime cannot start {asked[0]}", error) from error
    text = missing_text(asked, got)
    if text:
        structlog.get_logger(part="runtime").warning("provider-missing", asked=asked, got=got, text=text)
    return tuple(name for name in asked if name in got)


def _load_cuda() -> None:
    """Have the libraries of CUDA and cuDNN found where they came as Python packages, in which no loader looks."""
    preload = getattr(inference_runtime(), "preload_dlls", None)  # from 1.21 on
    if preload is None or not getattr(inference_runtime(), "cuda_version", ""):
        return
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints what it does not find; whether CUDA loads, a session tells
        preload()
    if said.getvalue():
        structlog.get_logger(part="runtime").info("cuda-libraries", text=first_line(ValueError(said.getvalue())))


def runtime_version() -> str:
    """Onnxruntime's version."""
    return str(inference_runtime().__version__)


@functools.cache
def fingerprint() -> str:
    """Tells apart where a graph that onnxruntime optimized may be used: its version and the processor's abilities."""
    parts = [runtime_version(), inference_runtime().get_build_info(), platform.machine()]
    described = Path("/proc/cpuinfo")
    if described.exists():
        wanted = ("flags", "features", "model name", "cpu part")
        lines = described.read_text(encoding="utf-8", errors="replace").splitlines()
        parts += sorted({line for line in lines if line.lower().startswith(wanted)})
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def give_memory_back() -> None:
    """Return to the system what sessions that are gone have used; takes some milliseconds.

    What sessions that are left need is allocated again by their next run.
    """
    session = _idle_session()
    shrink = inference_runtime().RunOptions()
    shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session.run(None, {"x": np.zeros(1, np.float32)}, shrink)
    trim_heap()


def zeros(specs: Sequence[TensorSpec], values: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Array]:
    """Inputs that only their shapes matter of, but for those whose values are given, in C order."""
    given = {} if values is None else values
    return {
        spec.name: np.array(given[spec.name], DTYPES[spec.dtype]).reshape(spec.sizes)
        if spec.name in given
        else zeros_of(spec.dtype, spec.sizes)
        for spec in specs
    }


def refusal(sentence: str, error: BaseException) -> PreparationFailed:
    """What to raise for what onnxruntime raised: it tells want of memory, disk or files only in words."""
    return (RuntimeStarved if is_starved(error) else PreparationFailed)(f"{sentence}: {first_line(error)}")


def is_starved(error: BaseException) -> bool:
    """Whether the runtime, or the system, lacked memory, disk or files."""
    said = str(error).lower()
    return is_passing(error) or any(words in said for words in _STARVED)


def is_refusal_of_inputs(error: BaseException) -> bool:
    """Whether the runtime says no to what it was given to compute, as it would again."""
    return type(error).__module__.startswith("onnxruntime") and not is_starved(error)


def has_integers(specs: Sequence[TensorSpec], values: Mapping[str, tuple[int, ...]] | None = None) -> bool:
    """Whether made-up inputs may be refused for what they say: integers may be indices, sizes or divisors, texts likewise."""
    return any(spec.dtype not in FLOAT_DTYPES and spec.name not in (values or {}) for spec in specs)


def warm_up(session: Any, component: ComponentSpec) -> None:
    """Run a component once, so that the first request need not wait for what the first run does.

    Raises:
        PreparationFailed: It does not run.
    """
    try:
        session.run([output.name for output in component.outputs], zeros(component.inputs, component.values))
    except Exception as error:  # onnxruntime raises pybind types without a common base
        refused = refusal(f"component {component.component} does not run", error)
        if isinstance(refused, RuntimeStarved) or not has_integers(component.inputs, component.values):
            raise refused from error
        # A divisor, a size, an index that starts at 1 may not be 0: then the first request warms it up.
        structlog.get_logger(part="sessions").info("not-warmed", component=component.component, error=first_line(error))


@functools.cache
def _share_arena() -> None:
    """Register the one allocator of all sessions, before the first of them."""
    kind, place = inference_runtime().OrtAllocatorType.ORT_ARENA_ALLOCATOR, inference_runtime().OrtMemType.DEFAULT
    inference_runtime().create_and_register_allocator(
        inference_runtime().OrtMemoryInfo("Cpu", kind, 0, place),
        inference_runtime().OrtArenaCfg({"arena_extend_strategy": _EXACT_REQUESTS}),
    )


def tiny_session(model: bytes) -> Any:
    """A session of a serialized model on one thread of the processor."""
    _share_arena()
    settings = inference_runtime().SessionOptions()
    settings.intra_op_num_threads = 1
    settings.add_session_config_entry("session.use_env_allocators", "1")
    return inference_runtime().InferenceSession(model, settings, providers=[CPU])


@functools.cache
def _idle_session() -> Any:
    return tiny_session(_IDENTITY)


def _providers(options: RuntimeOptions, folder: Path) -> list[tuple[str, dict[str, str]]]:
    usable = usable_providers(options.provider, options.threads)
    return [(name, options_of(name, options.threads, folder)) for name in usable]
