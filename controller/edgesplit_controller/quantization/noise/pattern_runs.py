"""Noise measurement of many quantization patterns.

Owns: which patterns are affordable and running them. Its rule: noise is a mean over samples of what a `Measure` says of
their outputs: rho, or the user's own metric. Not here: comparing outputs (`edgesplit.planning.output_noise`), the polynomial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit.errors import InvalidCalibration, InvalidModel
from edgesplit.planning.output_noise import Measure, Metric, comparable
from edgesplit.wire.tensors import Array
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import shared_out
from edgesplit_controller.quantization.calibration import Sample, evenly
from edgesplit_controller.quantization.noise.patterns import always_measured, choose_patterns, in_tree_order
from edgesplit_controller.quantization.noise.segments import SampleRun, SegmentedModel
from edgesplit_controller.quantization.qdq import Ranges
from edgesplit_controller.quantization.tensor_file import Chosen

__all__ = ["Measured", "PatternRuns", "measure_for", "measure_patterns"]

_MOST_PATTERNS = 1000
_FEWEST_PATTERNS = 60
_FEWEST_SAMPLES = 4
_MANY_SAMPLES = 8
_ENOUGH_PATTERNS = 300
_WORTH_A_ROUND = 30
_OVERDRAFT = 4.0
"""Budgets that a fit on enough samples may take where the fewest patterns exceed one: bounds on fewer samples admit little."""
_HELD_OUT_SHARE = 0.15


@dataclass(frozen=True)
class Measured:
    """Noise of patterns.

    Attributes:
        bits: Which candidates each pattern quantizes, shape (patterns, candidates).
        noise: Mean over samples, shape (patterns, outputs).
        held_out: Which patterns only test a fit, shape (patterns,).
        samples: How many samples the noise is a mean of.
        deviations: Standard deviation between samples of a pattern's rho, shape (patterns,); 0 of a single sample.
    """

    bits: NDArray[np.bool_]
    noise: NDArray[np.float64]
    held_out: NDArray[np.bool_]
    samples: int
    deviations: NDArray[np.float64]

    @property
    def rho(self) -> NDArray[np.float64]:
        """Mean over the outputs, shape (patterns,)."""
        mean: NDArray[np.float64] = self.noise.mean(axis=1)
        return mean


def measure_for(graph: ModelGraph, metric: Metric | None = None, name: str = "") -> Measure:
    """How runs of a model are compared.

    Args:
        graph: The model.
        metric: The user's own, or None for rho.
        name: The metric's, for messages.

    Raises:
        InvalidModel: No output has a fixed size, so that rho is undefined.
    """
    names = comparable(graph.tensors[output] for output in graph.outputs)
    if metric is not None:
        return Measure(names, metric, name)
    if not names:
        raise InvalidModel("no output of the model is a tensor of numbers in a fixed size, so its noise is undefined")
    return Measure(names)


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
    measure: Measure | None = None,
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
        measure: How outputs are compared; None for rho.

    Returns:
        The patterns, with about a seventh held out where there are enough.

    Raises:
        InvalidModel: No output can be compared.
        InvalidCalibration: The float model's output is not finite.
        InvalidMetric: The measure's metric failed.
    """
    count = len(candidates)
    measure = measure or measure_for(graph)
    share = shared_out(graph)
    segmented = SegmentedModel(graph, blobs, candidates, ranges, threads=share.threads)
    chosen = choose_patterns(count, patterns or _MOST_PATTERNS, random)
    first, started = chosen, time.monotonic()
    if patterns is None:
        chosen, samples = _affordable(segmented, measure, chosen, samples, count, budget_s=budget_s * share.workers)
        first = chosen[:_ENOUGH_PATTERNS]
    runs = PatternRuns(segmented, measure, samples, workers=share.workers, rows=len(chosen), progress=progress)
    by_sample = runs.of(in_tree_order(first, count), until_s=started + budget_s if patterns is None else None)
    # What the first patterns took tells how many more there is time for: the machine may have got busy.
    spent_s = time.monotonic() - started
    more = chosen[len(first) :][: int(len(first) * max(budget_s / spent_s - 1.0, 0.0))]
    if len(more) >= _WORTH_A_ROUND:
        by_sample = np.concatenate([by_sample, runs.of(in_tree_order(more, count))], axis=1)
    else:
        more = []
    if progress is not None:
        progress(1.0)
    ordered = [*in_tree_order(first, count), *in_tree_order(more, count)]
    held = _held_out([*first, *more], count, random)
    bits = np.array([[pattern >> bit & 1 for bit in range(count)] for pattern in ordered], np.bool_)
    tests = np.array([pattern in held for pattern in ordered], np.bool_)
    rho = by_sample.mean(axis=2)
    deviations = rho.std(axis=0, ddof=1) if len(rho) > 1 else np.zeros(len(bits))
    return Measured(bits, by_sample.mean(axis=0), tests, len(rho), deviations)


class PatternRuns:
    """Runs of patterns on samples, each of which takes all of a round's patterns before the next one."""

    def __init__(
        self,
        segmented: SegmentedModel,
        measure: Measure,
        samples: Sequence[Sample],
        *,
        workers: int,
        rows: int,
        progress: Callable[[float], None] | None,
    ) -> None:
        self._segmented = segmented
        self._measure = measure
        self._samples = samples
        self._workers = workers
        self._all = rows * len(samples)
        self._progress = progress
        self._finished = [0] * len(samples)

    def of(self, ordered: Sequence[int], *, until_s: float | None = None) -> NDArray[np.float64]:
        """Run patterns on all samples.

        Args:
            ordered: The patterns, in tree order.
            until_s: After it no further sample is begun, but for the first few, and later rounds do without it too. [s]

        Returns:
            Noise, shape (samples, patterns, outputs).
        """
        with ThreadPoolExecutor(self._workers) as pool:
            tried = [pool.submit(self._sample, index, ordered, until_s) for index in range(len(self._samples))]
            rows = [row for future in tried if (row := future.result()) is not None]
        self._samples = self._samples[: len(rows)]
        return np.array(rows)

    def _sample(self, index: int, ordered: Sequence[int], until_s: float | None) -> list[list[float]] | None:
        if until_s is not None and index >= _MANY_SAMPLES and time.monotonic() > until_s:
            return None
        names = self._segmented.outputs
        run = self._segmented.start(self._samples[index])
        reference = _reference(run, names, self._measure)
        rows: list[list[float]] = []
        for row, pattern in enumerate(ordered):
            rows.append(self._measure.parts(reference, _outputs(run, names, pattern)))
            self._finished[index] += 1
            if self._progress is not None and row % 16 == 0:
                self._progress(sum(self._finished) / self._all)
        return rows


def _outputs(run: SampleRun, names: Sequence[str], pattern: int) -> Mapping[str, Array]:
    return dict(zip(names, run.outputs(pattern), strict=True))


def _reference(run: SampleRun, names: Sequence[str], measure: Measure) -> Mapping[str, Array]:
    """Outputs of the float model, fit to be compared with."""
    reference = _outputs(run, names, 0)
    compared = [reference[name] for name in measure.outputs]
    if any(array.dtype.kind == "f" and not np.isfinite(array).any() for array in compared):
        raise InvalidCalibration("a held-out sample makes an output NaN or infinite; check the samples' scale")
    measure.check(reference)
    return reference


def _affordable(
    segmented: SegmentedModel,
    measure: Measure,
    chosen: list[int],
    samples: Sequence[Sample],
    candidates: int,
    *,
    budget_s: float,
) -> tuple[list[int], Sequence[Sample]]:
    """As many of the patterns, on as many of the samples, as the budget of work allows."""
    run = segmented.start(samples[0])
    names = segmented.outputs
    reference = _reference(run, names, measure)
    noisy = _outputs(run, names, (1 << candidates) - 1)
    started = time.perf_counter()
    measure.parts(reference, noisy)
    comparing_s = time.perf_counter() - started  # little for rho, but a user's metric may take longer than the model
    # The first runs warm the sessions up; they differ in every segment, so that each is timed.
    for pattern in (0, (1 << candidates) - 1) * 2:
        run.forget()
        run.outputs(pattern)
    run.forget()
    fewest = min(max(_FEWEST_PATTERNS, len(always_measured(candidates))), len(chosen))
    counts = {
        len(samples) >> halved for halved in range(len(samples).bit_length()) if len(samples) >> halved > _MANY_SAMPLES
    }
    counts.add(min(len(samples), _MANY_SAMPLES))
    for sample_count in sorted(counts, reverse=True):
        count = len(chosen)
        # Many samples are worth having beside enough patterns only: both leave a fit to chance.
        least = max(fewest, min(_ENOUGH_PATTERNS, len(chosen))) if sample_count > _MANY_SAMPLES else fewest
        while True:
            ordered = in_tree_order(chosen[:count], candidates)
            each_s = segmented.expected_seconds(ordered, run.seconds) + comparing_s * count
            if each_s * sample_count <= budget_s:
                return chosen[:count], _spread(samples, sample_count)
            if count == least:
                break
            count = max(least, count * 3 // 4)
    each_s = segmented.expected_seconds(in_tree_order(chosen[:fewest], candidates), run.seconds) + comparing_s * fewest
    enough = min(len(samples), _MANY_SAMPLES)
    affordable = each_s * enough <= _OVERDRAFT * budget_s
    return chosen[:fewest], _spread(samples, enough if affordable else _FEWEST_SAMPLES)


def _spread(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    """So many samples from the whole, the first few of them too: files are often sorted."""
    places = evenly(len(samples), count)
    first = evenly(len(places), _MANY_SAMPLES)
    rest = sorted(set(range(len(places))) - set(first))
    return Chosen(samples, [places[index] for index in (*first, *rest)])


def _held_out(chosen: Sequence[int], candidates: int, random: np.random.Generator) -> set[int]:
    free = sorted(set(chosen) - set(always_measured(candidates)))
    if len(free) < 4:
        return set()
    count = max(2, round(len(free) * _HELD_OUT_SHARE))
    return {free[int(index)] for index in random.permutation(len(free))[:count]}
