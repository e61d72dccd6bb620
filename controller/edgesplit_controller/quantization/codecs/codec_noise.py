"""Codec noise: what wire codecs do to a model's outputs, and how small they make its tensors.

Owns: noise and bytes of every codec on every tensor that could be cut, as far as time allows. Its rule: the codecs are
called, nothing is estimated; a tensor that was not measured gets no codec that loses anything. Not here: what codecs
take (agents measure it), which one a plan uses.

Noise adds up in a plan: the operators' and that of every codec in use. So each figure is an upper one: the worst of the
measured samples, and more if tensors coded together turn out noisier than the sum of them alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from edgesplit.daemon.heap import trim_heap
from edgesplit.errors import InvalidModel
from edgesplit.planning.output_noise import Measure
from edgesplit.wire.codecs import CODECS, available_codecs, decode, encode, layout_bytes, losses
from edgesplit.wire.tensors import Array, dtype_name
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import shared_out
from edgesplit_controller.graph.unit_tensors import INPUT, UnitTensor, unit_tensors
from edgesplit_controller.quantization.calibration import Sample
from edgesplit_controller.quantization.codecs.codec_figures import CodecFigure
from edgesplit_controller.quantization.codecs.cut_frontiers import in_order_of_worth
from edgesplit_controller.quantization.codecs.unit_runs import SampleValues, UnitModel
from edgesplit_controller.quantization.parameters import activation_parameters
from edgesplit_controller.quantization.qdq import Ranges

__all__ = ["NO_CODECS", "CodecProfile", "CodecReport", "measure_codecs", "round_trip"]

CODED = frozenset({"float32", "float16", "bfloat16"})
"""Types of the tensors that codecs are measured on: what activations are."""
SMALLEST_BYTES = 4096
"""A smaller tensor's way takes the link's latency and next to nothing more. [B]"""
MOST_SAMPLES = 4
_JOINT_SETS = 8
_PATIENCE = 1.5
"""Of the budget, after which tensors are left out: a machine may be slower than it was when the plan was made."""
_SAMPLE_MARGIN = {1: 1.5, 2: 1.2}
"""On the worst of so few samples; on that of more, `_MARGIN`."""
_MARGIN = 1.1
_WORTH = 0.95
"""Of what it makes smaller; a codec that takes off less is not offered: every offer makes planning longer."""
_SIZE_MARGIN = 1.02
"""On the largest compressed size seen."""

_Noise = Callable[[Mapping[str, str]], float]
"""Tensors and their codecs to the noise of the outputs."""
K = TypeVar("K")
V = TypeVar("V", int, float)


@dataclass(frozen=True)
class CodecReport:
    """How the figures came about.

    Attributes:
        tensors: That could be coded.
        measured: Those whose noise was measured; the others get lossless codecs alone.
        samples: Each was measured on.
        margin: All noise was multiplied by.
        joint: Largest ratio of the noise of tensors coded together to the sum of their figures, margin included.
        seconds: Spent. [s]
    """

    tensors: int
    measured: int
    samples: int
    margin: float
    joint: float
    seconds: float


@dataclass(frozen=True)
class CodecProfile:
    """Figures by tensor, and their report."""

    figures: Mapping[str, tuple[CodecFigure, ...]]
    report: CodecReport


NO_CODECS = CodecProfile({}, CodecReport(0, 0, 0, 1.0, 0.0, 0.0))
"""Nothing was measured: tensors travel as they are."""


@dataclass
class _Findings:
    """What the samples said so far, the worst of them."""

    noise: dict[tuple[str, str], float] = field(default_factory=dict)
    bytes: dict[tuple[str, str, str], int] = field(default_factory=dict)
    joint: dict[int, list[float]] = field(default_factory=dict)


def round_trip(codec: str, array: Array) -> Array:
    """What arrives of a tensor."""
    coded = encode(array, codec)
    return decode(coded.payload, coded.codec, dtype_name(array), array.shape, coded.parameters)


def measure_codecs(
    graph: ModelGraph,
    blobs: BlobStore,
    quantizable: Sequence[str],
    ranges: Ranges,
    samples: Sequence[Sample],
    *,
    measure: Measure | None,
    progress: Callable[[float], None] | None = None,
    budget_s: float = 60.0,
    seed: int = 0,
) -> CodecProfile:
    """Measure codecs on a model's tensors.

    Args:
        graph: The float model with its units.
        blobs: Where its weights lie.
        quantizable: Operators with an int8 form; their outputs travel as integers when quantized.
        ranges: Calibrated ranges of their outputs.
        samples: Held-out samples, at least one.
        measure: What noise is; None where outputs cannot be compared: then no codec may lose anything.
        progress: Told the finished fraction, from worker threads.
        budget_s: Aim for the time; fewer tensors and samples are measured where it is short. [s]
        seed: Of the tensors coded together.

    Returns:
        Figures by tensor; one without entry travels as it is.
    """
    started = time.monotonic()
    tensors = [
        t
        for t in unit_tensors(graph)
        if t.dtype in CODED and t.nbytes >= SMALLEST_BYTES and graph.tensors[t.name].is_static
    ]
    if not tensors:
        return CodecProfile({}, CodecReport(0, 0, 0, 1.0, 0.0, time.monotonic() - started))
    share = shared_out(graph)
    model = UnitModel(graph, blobs, threads=share.threads)
    model.start(samples[0])  # warms the sessions up: what counts is how long later runs take
    trim_heap()
    first = model.start(samples[0])
    work_s = budget_s * share.workers
    chosen, count = _affordable(graph, tensors, first, len(samples), work_s) if measure is not None else ([], 1)
    job = _TensorJob(tensors, chosen, _integer_steps(graph, quantizable, ranges), measure, share.workers)
    sets = job.joint_sets(np.random.default_rng(seed))
    findings = _Findings()
    deadline = started + _PATIENCE * budget_s
    for place, sample in enumerate(samples[:count]):
        if place and time.monotonic() > started + budget_s:
            count = place
            break
        values = first if place == 0 else model.start(sample)
        tell = partial(_tell, progress, place, count) if progress is not None else None
        job.measure(values, sets, findings, tell, deadline if place == 0 else float("inf"))
    margin, joint = _margins(sets, findings, count)
    measured = len({name for name, _ in findings.noise})
    report = CodecReport(len(tensors), measured, count, margin, joint, time.monotonic() - started)
    return CodecProfile(job.figures(findings, margin), report)


def _tell(progress: Callable[[float], None], place: int, count: int, done: float) -> None:
    progress((place + done) / count)


def _affordable(
    graph: ModelGraph, tensors: Sequence[UnitTensor], first: SampleValues, samples: int, work_s: float
) -> tuple[list[UnitTensor], int]:
    """Tensors to measure, those that plans are likeliest to cut first, and on how many samples."""
    work_s -= (_JOINT_SETS + 1) * sum(first.seconds)
    costs = {tensor.name: len(losses()) * first.seconds_after([tensor.name]) for tensor in tensors}
    fitting = [count for count in range(2, min(samples, MOST_SAMPLES) + 1) if sum(costs.values()) * count <= work_s]
    by_name = {tensor.name: tensor for tensor in tensors}
    chosen: dict[str, UnitTensor] = {}
    for frontier in in_order_of_worth(graph):
        new = dict.fromkeys(name for name in frontier if name in costs and name not in chosen)
        needed_s = sum(costs[name] for name in new)
        if fitting or needed_s <= work_s or not chosen:
            work_s -= needed_s
            chosen |= {name: by_name[name] for name in new}
    return list(chosen.values()), max(fitting, default=1)


class _TensorJob:
    """What is measured of every sample."""

    def __init__(
        self,
        tensors: Sequence[UnitTensor],
        chosen: Sequence[UnitTensor],
        integers: Mapping[str, tuple[float, int]],
        measure: Measure | None,
        workers: int,
    ) -> None:
        self._workers = workers
        self._tensors = tensors
        self._chosen = chosen
        self._integers = integers
        self._measure = measure
        self._compressing = [name for name in available_codecs() if CODECS[name].compresses]
        self._of_integers = [
            name for name in self._compressing if CODECS[name].lossless and CODECS[name].applies_to("uint8")
        ]

    def joint_sets(self, random: np.random.Generator) -> list[dict[str, str]]:
        """Random choices of a few tensors each and a codec for every one."""
        if len(self._chosen) < 2:
            return []
        most = min(6, len(self._chosen))
        sets: list[dict[str, str]] = []
        for _ in range(_JOINT_SETS):
            places = random.permutation(len(self._chosen))[: int(random.integers(2, most, endpoint=True))]
            chosen = [self._chosen[place] for place in places.tolist()]
            sets.append({tensor.name: str(random.choice(_applying(tensor))) for tensor in chosen})
        return sets

    def measure(
        self,
        values: SampleValues,
        sets: Sequence[Mapping[str, str]],
        findings: _Findings,
        progress: Callable[[float], None] | None,
        deadline: float,
    ) -> None:
        """Take one sample in; tensors whose turn has not come at the deadline are left out."""
        reference = values.outputs()
        works: list[Callable[[], None]] = [partial(self._size, values, tensor, findings) for tensor in self._tensors]
        noise = partial(self._noise, self._measure, values, reference) if self._measure is not None else None
        if noise is not None:
            works += [partial(self._alone, noise, tensor, findings, deadline) for tensor in self._chosen]
        done = 0

        def run(work: Callable[[], None]) -> None:
            nonlocal done
            work()
            done += 1
            if progress is not None:
                progress(done / len(works))

        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(run, works))
            if noise is not None:
                list(pool.map(partial(self._together, noise, findings), range(len(sets)), sets))

    def figures(self, findings: _Findings, margin: float) -> dict[str, tuple[CodecFigure, ...]]:
        """What is worth offering of each tensor."""
        found: dict[str, tuple[CodecFigure, ...]] = {}
        for tensor in self._tensors:
            entries = tuple(self._entries(tensor, findings, margin))
            if entries:
                found[tensor.name] = entries
        return found

    def _entries(self, tensor: UnitTensor, findings: _Findings, margin: float) -> Iterable[CodecFigure]:
        for codec in available_codecs():
            noise = 0.0 if CODECS[codec].lossless else findings.noise.get((tensor.name, CODECS[codec].loses_as))
            if codec == "raw" or noise is None or math.isinf(noise):
                continue
            size = float(layout_bytes(codec, tensor.dtype, tensor.shape))
            if CODECS[codec].compresses:
                size = min(findings.bytes[tensor.name, codec, "float"] * _SIZE_MARGIN, size)
            plain = layout_bytes(codec, tensor.dtype, tensor.shape)
            if size <= tensor.nbytes * _WORTH and (not CODECS[codec].compresses or size <= plain * _WORTH):
                yield CodecFigure(codec=codec, precision="float", bytes=size, noise=noise * margin)
        for codec in self._of_integers:
            integers = findings.bytes.get((tensor.name, codec, "int8"))
            if integers is not None and integers * _SIZE_MARGIN <= tensor.nbytes / 4 * _WORTH:
                yield CodecFigure(codec=codec, precision="int8", bytes=integers * _SIZE_MARGIN, noise=0.0)

    def _size(self, values: SampleValues, tensor: UnitTensor, findings: _Findings) -> None:
        array = values.array(tensor.name)
        for codec in self._compressing:
            _worst(findings.bytes, (tensor.name, codec, "float"), encode(array, codec).payload.nbytes)
        if tensor.name in self._integers:
            scale, zero_point = self._integers[tensor.name]
            integers = np.clip(np.rint(array / scale) + zero_point, 0, 255).astype(np.uint8)
            for codec in self._of_integers:
                _worst(findings.bytes, (tensor.name, codec, "int8"), encode(integers, codec).payload.nbytes)
        trim_heap()

    def _alone(self, noise: _Noise, tensor: UnitTensor, findings: _Findings, deadline: float) -> None:
        if time.monotonic() < deadline:
            for codec in _applying(tensor):
                _worst(findings.noise, (tensor.name, codec), _noise_or_infinite(noise, {tensor.name: codec}))

    def _together(self, noise: _Noise, findings: _Findings, place: int, codecs: Mapping[str, str]) -> None:
        if all((name, codec) in findings.noise for name, codec in codecs.items()):
            together = _noise_or_infinite(noise, codecs)
            findings.joint.setdefault(place, []).append(together)
            if math.isinf(together):
                findings.noise.update(dict.fromkeys(codecs.items(), math.inf))

    def _noise(
        self, measure: Measure, values: SampleValues, reference: Mapping[str, Array], codecs: Mapping[str, str]
    ) -> float:
        changes = {name: partial(round_trip, codec) for name, codec in codecs.items()}
        noise = measure.noise(reference, values.changed(changes))
        trim_heap()  # what small tensors took lies scattered, and would stay
        return noise


def _applying(tensor: UnitTensor) -> list[str]:
    """Codecs that lose something of a tensor of this type."""
    return [codec for codec in losses() if CODECS[codec].applies_to(tensor.dtype)]


def _noise_or_infinite(noise: _Noise, codecs: Mapping[str, str]) -> float:
    """Infinite where the model does not run on what these codecs leave of its tensors (an index out of bounds)."""
    try:
        return noise(codecs)
    except InvalidModel:
        return math.inf


def _worst(found: dict[K, V], key: K, value: V) -> None:
    known = found.get(key)
    found[key] = value if known is None or value > known else known


def _margins(sets: Sequence[Mapping[str, str]], findings: _Findings, samples: int) -> tuple[float, float]:
    """What all noise is multiplied by, and how near tensors coded together come to the sum then."""
    ratios = [0.0]
    for place, together in findings.joint.items():
        alone = sum(findings.noise[name, codec] for name, codec in sets[place].items())
        if 0 < alone < math.inf:
            ratios.append(float(np.mean(together)) / alone)
    margin = _SAMPLE_MARGIN.get(samples, _MARGIN) * max(1.0, *ratios)
    return margin, max(ratios) / margin


def _integer_steps(graph: ModelGraph, quantizable: Sequence[str], ranges: Ranges) -> dict[str, tuple[float, int]]:
    """Scale and zero point of the tensors that travel as integers behind a quantized operator."""
    found: dict[str, tuple[float, int]] = {}
    able = set(quantizable)
    for tensor in unit_tensors(graph):
        if tensor.producer == INPUT or tensor.name not in ranges or graph.tensors[tensor.name].producer not in able:
            continue
        parameters = activation_parameters(*ranges[tensor.name])
        found[tensor.name] = (parameters.scale, parameters.zero_point)
    return found
