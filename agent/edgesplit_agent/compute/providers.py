"""Execution providers of onnxruntime: names, order of preference, what a session really gets.

Owns: their order and options, and the trial that tells which of them work here. Its rule: a runtime lists providers that
it cannot load and falls back to the processor without a word, so only what a session got is believed, and the
difference is said once. Not here: sessions (`runtime.py`), what kernels take on them (`profiling/timing/kernel_times.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from edgesplit.errors import PreparationFailed

__all__ = ["ASYNCHRONOUS", "CPU", "CUDA", "NEED_CUDA", "TENSORRT", "candidates", "missing_text", "options_of"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

AUTOMATIC = (CUDA, OPENVINO, CPU)
"""Providers that compile for minutes (TensorRT) or send data elsewhere (Azure) are taken only when named."""
NEED_CUDA = frozenset({"auto", CUDA, TENSORRT})
"""What is wanted, where CUDA's libraries may be of use."""
BEHIND: Mapping[str, tuple[str, ...]] = {TENSORRT: (CUDA, CPU)}
"""What takes the operators that a provider does not; elsewhere the processor."""
ASYNCHRONOUS = frozenset({CUDA, "ROCMExecutionProvider", "MIGraphXExecutionProvider", "DmlExecutionProvider"})
"""The profile of their kernels shows the launch only, unless onnxruntime was built to profile them."""


def candidates(wanted: str, available: Collection[str]) -> tuple[str, ...]:
    """Providers to ask a session for, in order.

    Args:
        wanted: A full name or `auto`.
        available: What the runtime lists.

    Raises:
        PreparationFailed: The wanted one is not listed.
    """
    if wanted == "auto":
        return tuple(name for name in AUTOMATIC if name in available)
    if wanted not in available:
        raise PreparationFailed(
            f"[runtime] provider {wanted!r} is not there: this runtime has {', '.join(sorted(available))}"
        )
    behind = BEHIND.get(wanted, (CPU,))
    return (wanted, *(name for name in behind if name in available and name != wanted))


def options_of(provider: str, threads: int, folder: Path | None) -> dict[str, str]:
    """Options a provider is opened with.

    Args:
        provider: Full name.
        threads: Of a session; OpenVINO takes all cores unless told.
        folder: Where compiled engines may be kept between starts; None for nowhere.
    """
    if provider == CUDA:
        # Its default multiplies in TF32, with ten bits of mantissa: outputs would depend on where a cut is.
        return {"use_tf32": "0"}
    if provider == OPENVINO:
        return {"num_of_threads": str(threads)}
    if provider == TENSORRT and folder is not None:
        return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder / "tensorrt")}
    return {}


def missing_text(asked: Collection[str], got: Collection[str]) -> str:
    """One sentence on providers that a session was refused; empty where it got all.

    Args:
        asked: In order.
        got: What it has.
    """
    lost = [name for name in asked if name not in got]
    if not lost:
        return ""
    return (
        f"onnxruntime lists {' and '.join(lost)} but cannot load it here (a driver or library it needs is missing): "
        f"sessions run on {', '.join(got)}"
    )
