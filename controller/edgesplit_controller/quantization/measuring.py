"""Measuring the noise of many quantization patterns.

Owns: which patterns are affordable, running them, comparing outputs. Its rule: noise is rho, the mean over samples
and outputs of mean(abs(o - o_quantized)). Not here: the polynomial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgesplit.errors import InvalidCalibration, InvalidModel
from edgesplit_controller.quantization.calibration import Sample
from edgesplit_controller.quantization.patterns import always_measured, choose_patterns, in_tree_order
from edgesplit_controller.quantization.qdq import QuantizedModel, Ranges
from edgesplit_controller.quantization.segments import SampleRun, SegmentedModel

if TYPE_CHECKING:
    from edgesplit_controller.graph.blobs import BlobStore
    from edgesplit_controller.graph.model import ModelGraph

__all__ = ["Measured", "measure_noise", "measure_patterns", "output_noise"]

_MOST_PATTERNS = 1000
_FEWEST_PATTERNS = 60
_FEWEST_SAMPLES = 2
_HELD_OUT_SHARE = 0.15
_WORKERS = 2


@dataclass(frozen=True)
class Measured:
    """Noise of patterns.

    Attributes:
        bits: Which candidates each pattern quantizes, shape (patterns, candidates).
        noise: Mean over samples, shape (patterns, outputs).
        held_out: Which patterns only test a fit, shape (patterns,).
        samples: How many samples the noise is a mean of.
    """

    bits: NDArray[np.bool_]
    noise: NDArray[np.float64]
    held_out: NDArray[np.bool_]
    samples: int

    @property
    def rho(self) -> NDArray[np.float64]:
        """Mean over the outputs, shape (patterns,)."""
        mean: NDArray[np.float64] = self.noise.mean(axis=1)
        return mean


def output_noise(reference: NDArray[Any], noisy: NDArray[Any]) -> float:
    """Mean absolute difference of one output; elements that are not finite in the reference do not count."""
    if not reference.size:
        return 0.0
    if reference.dtype.kind != "f":
        return float(np.abs(reference.astype(np.float64) - noisy.astype(np.float64)).mean())
    with np.errstate(invalid="ignore"):  # infinity less infinity is told apart below
        mean = float(np.abs(reference - noisy).mean())
    if np.isfinite(mean):
        return mean
    finite = np.isfinite(reference)
    return float(np.abs(reference[finite] - noisy[finite]).mean()) if finite.any() else 0.0


def _comparable(graph: ModelGraph) -> list[int]:
    """Positions of the outputs whose values can be subtracted.

    Raises:
        InvalidModel: There are none.
    """
    tensors = [graph.tensors[name] for name in graph.outputs]
    positions = [
        index
        for index, tensor in enumerate(tensors)
        if tensor.cuttable and np.dtype(tensor.dtype).kind in "fiub" and 0 not in tensor.shape
    ]
    if not positions:
        raise InvalidModel("no output of the model has a fixed size, so noise is undefined; use --max-quantizable 0")
    return positions


def measure_noise(graph: ModelGraph, blobs: BlobStore, quantized: QuantizedModel, samples: Sequence[Sample]) -> float:
    """Measure rho of one quantized model, by running it whole.

    Args:
        graph: The float model.
        blobs: Where the weights of both lie.
        quantized: The quantized model.
        samples: Inputs.

    Returns:
        Mean over samples and outputs of the mean absolute difference.
    """
    from edgesplit_controller.graph.runner import open_session  # noqa: PLC0415 - onnxruntime loads late

    exact, noisy = open_session(graph.proto, blobs), open_session(quantized.proto, blobs)
    names = [graph.outputs[index] for index in _comparable(graph)]
    differences: list[float] = []
    for sample in samples:
        references, outputs = exact.run(names, dict(sample)), noisy.run(names, dict(sample))
        pairs = zip(references, outputs, strict=True)
        differences.extend(output_noise(np.asarray(one), np.asarray(other)) for one, other in pairs)
    return float(np.mean(differences))


def measure_patterns(
    graph: ModelGraph,
    blobs: BlobStore,
    candidates: Sequence[str],
    ranges: Ranges,
    samples: Sequence[Sample],
    *,
    random: np.random.Generator,
    progress: Callable[[float], None] | None = None,
    patterns: int | None = None,
    budget_s: float = 90.0,
) -> Measured:
    """Measure the noise of chosen patterns.

    Args:
        graph: The float model.
        blobs: Where its weights lie and the int8 ones go.
        candidates: Operators that may be quantized, in graph order.
        ranges: Activation ranges of their tensors.
        samples: Held-out samples.
        random: Source of chance.
        progress: Told the finished fraction, from worker threads.
        patterns: How many patterns; by default as many as the budget affords.
        budget_s: Aim for the time. [s]

    Returns:
        The patterns, with about a seventh held out where there are enough.

    Raises:
        InvalidModel: No output can be compared.
        InvalidCalibration: The float model's output is not finite.
    """
    count = len(candidates)
    comparable = _comparable(graph)
    segmented = SegmentedModel(graph, blobs, candidates, ranges)
    chosen = choose_patterns(count, patterns or _MOST_PATTERNS, random)
    if patterns is None:
        chosen, samples = _affordable(segmented, chosen, samples, count, budget_s * _WORKERS)
    ordered = in_tree_order(chosen, count)
    finished = [0.0] * len(samples)

    def measure(index: int) -> NDArray[np.float64]:
        run = segmented.start(samples[index])
        reference = _reference(run, comparable)
        rows = np.empty((len(ordered), len(comparable)))
        for row, pattern in enumerate(ordered):
            noisy = run.outputs(pattern)
            rows[row] = [output_noise(one, noisy[at]) for one, at in zip(reference, comparable, strict=True)]
            finished[index] = (row + 1) / len(ordered)
            if progress is not None and row % 16 == 0:
                progress(sum(finished) / len(samples))
        return rows

    with ThreadPoolExecutor(_WORKERS) as pool:
        noise = np.mean(list(pool.map(measure, range(len(samples)))), axis=0)
    if progress is not None:
        progress(1.0)
    held = _held_out(chosen, count, random)
    bits = np.array([[pattern >> bit & 1 for bit in range(count)] for pattern in ordered], np.bool_)
    return Measured(bits, noise, np.array([pattern in held for pattern in ordered], np.bool_), len(samples))


def _reference(run: SampleRun, comparable: Sequence[int]) -> list[NDArray[Any]]:
    outputs = run.outputs(0)
    chosen = [outputs[at] for at in comparable]
    if any(array.dtype.kind == "f" and not np.isfinite(array).any() for array in chosen):
        raise InvalidCalibration("a held-out sample makes an output NaN or infinite; check the samples' scale")
    return chosen


def _affordable(
    segmented: SegmentedModel,
    chosen: list[int],
    samples: Sequence[Sample],
    candidates: int,
    budget_s: float,
) -> tuple[list[int], Sequence[Sample]]:
    """As many of the patterns, on as many of the samples, as the budget of work allows."""
    run = segmented.start(samples[0])
    # The first runs warm the sessions up; they differ in every segment, so that each is timed.
    for pattern in (0, (1 << candidates) - 1) * 2:
        run.forget()
        run.outputs(pattern)
    run.forget()
    fewest = min(max(_FEWEST_PATTERNS, len(always_measured(candidates))), len(chosen))
    for sample_count in sorted({len(samples), min(_FEWEST_SAMPLES, len(samples))}, reverse=True):
        count = len(chosen)
        while True:
            ordered = in_tree_order(chosen[:count], candidates)
            if segmented.expected_seconds(ordered, run.seconds) * sample_count <= budget_s:
                return chosen[:count], samples[:sample_count]
            if count == fewest:
                break
            count = max(fewest, count * 3 // 4)
    return chosen[:fewest], samples[: min(_FEWEST_SAMPLES, len(samples))]


def _held_out(chosen: Sequence[int], candidates: int, random: np.random.Generator) -> set[int]:
    free = sorted(set(chosen) - set(always_measured(candidates)))
    if len(free) < 4:
        return set()
    count = max(2, round(len(free) * _HELD_OUT_SHARE))
    return {free[int(index)] for index in random.permutation(len(free))[:count]}
