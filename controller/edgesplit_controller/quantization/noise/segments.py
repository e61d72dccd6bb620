"""Segmented execution under many quantization patterns, without running all of the model each time.

Owns: the model divided by what its values depend on. Its rule: the result for a pattern is what the quantized
model of that pattern gives, from the same integer kernels. Not here: which patterns, what their noise means.

Every operator depends on a set of candidates: those on a path to it, itself included. Operators with the same set
form a segment. Sets only grow along the graph, so segments are convex and their graph has no cycle; two candidates
never share a segment, since each would have to depend on the other. A segment's values are fixed by the pattern's
bits in its set alone: the segment with the empty set runs once per sample, and others only when one of their bits
changed. A candidate's segment has two sessions, float and int8. At a border between two quantized operators the
tensor passes as float and is quantized again with the same scale, which gives the same integers.
"""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edgesplit.daemon.inference_runtime.runtime_abilities import as_array, as_value
from edgesplit.wire.tensors import TRAVELLING
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.protos import used_names, value_info
from edgesplit_controller.graph.runner import open_session, run_values
from edgesplit_controller.quantization.calibration import Sample
from edgesplit_controller.quantization.qdq import Ranges, quantize
from edgesplit_controller.quantization.tensor_file import FILED, FILED_BYTES, TensorFile

__all__ = ["Pattern", "SampleRun", "SegmentedModel", "dependencies"]

HELD_BYTES = 12 << 20
"""Of the tensors between segments so many stay in memory. [B]"""
Pattern = int
"""Quantization bits: bit i is set when candidate i is quantized."""


def dependencies(proto: onnx.ModelProto, candidates: Sequence[str]) -> dict[str, Pattern]:
    """Candidates that each node's values depend on.

    Args:
        proto: A normalised graph, nodes in topological order.
        candidates: Names of operators.

    Returns:
        For each node's name the bits of the candidates on a path to it, itself included.
    """
    bit = {name: 1 << index for index, name in enumerate(candidates)}
    of_tensor: dict[str, Pattern] = {}
    of_node: dict[str, Pattern] = {}
    for node in proto.graph.node:
        mask = bit.get(node.name, 0)
        for name in used_names(node):
            mask |= of_tensor.get(name, 0)
        of_node[node.name] = mask
        of_tensor.update(dict.fromkeys(node.output, mask))
    return of_node


@dataclass(frozen=True)
class _Segment:
    """Operators that depend on the same candidates."""

    mask: Pattern
    own_bit: Pattern
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    plain: onnxruntime.InferenceSession
    quantized: onnxruntime.InferenceSession | None

    def run(self, pattern: Pattern, feed: Mapping[str, Any]) -> dict[str, Any]:
        """Values of its outputs under a pattern."""
        session = self.quantized if self.quantized is not None and pattern & self.own_bit else self.plain
        return dict(zip(self.outputs, run_values(session, self.outputs, feed), strict=True))


class SegmentedModel:
    """A model that runs under any subset of its candidates.

    Args:
        graph: The float model.
        blobs: Where its weights lie and the int8 ones go.
        candidates: Operators that may be quantized, in graph order.
        ranges: Calibrated ranges of their tensors.
        threads: Inside one operator.
    """

    def __init__(
        self, graph: ModelGraph, blobs: BlobStore, candidates: Sequence[str], ranges: Ranges, *, threads: int = 1
    ) -> None:
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self._folder = blobs.folder
        masks = dependencies(graph.proto, candidates)
        cutter = _SegmentCutter(graph, masks)
        self._segments: dict[Pattern, _Segment] = {}
        self._home: dict[str, Pattern] = {}
        for mask in sorted(set(masks.values()), key=lambda value: (value.bit_count(), value)):
            segment = _open_segment(cutter, blobs, mask, candidates, ranges, threads=threads)
            self._segments[mask] = segment
            self._home.update(dict.fromkeys(segment.outputs, mask))
        self._filed = self._large(graph)

    def _large(self, graph: ModelGraph) -> frozenset[Pattern]:
        """The segments whose outputs lie in a file: all but the smaller ones that memory has room for."""
        sizes = {
            mask: sum(graph.tensors[name].nbytes for name in segment.outputs)
            for mask, segment in self._segments.items()
            if all(graph.tensors[name].dtype in FILED for name in segment.outputs)
        }
        found: set[Pattern] = set()
        held = 0
        for mask in sorted(sizes, key=lambda mask: sizes[mask]):
            held += sizes[mask]
            if held > HELD_BYTES and sizes[mask] >= FILED_BYTES:
                found.add(mask)
        return frozenset(found)

    def start(self, sample: Sample, *, cache_bytes: int = 8 << 20) -> SampleRun:
        """Fix the input.

        Args:
            sample: The model's inputs.
            cache_bytes: What inner tensors may occupy for later patterns, beside the latest of every segment. [B]

        Returns:
            A run that takes patterns.
        """
        return SampleRun(
            self._segments,
            self._home,
            self.outputs,
            sample,
            cache_bytes=cache_bytes,
            filed=self._filed,
            folder=self._folder,
        )

    def expected_seconds(self, patterns: Sequence[Pattern], seconds: Mapping[tuple[Pattern, bool], float]) -> float:
        """How long one sample will take.

        Args:
            patterns: In the order in which they will run.
            seconds: Time of each segment, in float and in int8, as a `SampleRun` measured it. [s]

        Returns:
            Time of all segment runs when each keeps only its latest result. [s]
        """
        total = 0.0
        for mask, segment in self._segments.items():
            latest: Pattern | None = None
            for pattern in patterns:
                if mask & pattern != latest:
                    latest = mask & pattern
                    total += seconds.get((mask, bool(pattern & segment.own_bit)), 0.0)
        return total


class SampleRun:
    """One sample under many patterns; not for several threads at once."""

    def __init__(
        self,
        segments: Mapping[Pattern, _Segment],
        home: Mapping[str, Pattern],
        outputs: Sequence[str],
        sample: Sample,
        *,
        cache_bytes: int,
        filed: Collection[Pattern],
        folder: Path,
    ) -> None:
        self._segments = segments
        self._home = home
        self._outputs = outputs
        self._sample = dict(sample)  # a value made of an array borrows its memory
        self._feed = {name: as_value(array) for name, array in self._sample.items()}
        self._cache: OrderedDict[tuple[Pattern, Pattern], dict[str, Any]] = OrderedDict()
        self._latest: dict[Pattern, tuple[Pattern, Pattern]] = {}
        self._cache_bytes = cache_bytes
        self.used_bytes = 0
        """Of inner tensors in memory. [B]"""
        self._filed = filed
        self._file = TensorFile(folder)
        self._in_file: dict[Pattern, Pattern] = {}
        """Of segments whose outputs lie in the file, the bits that these are of."""
        self.seconds: dict[tuple[Pattern, bool], float] = {}
        """Latest time of each segment, in float and in int8. [s]"""

    def forget(self) -> None:
        """Drop all inner tensors, so that the next pattern runs every segment."""
        self._cache.clear()
        self._latest.clear()
        self._in_file.clear()
        self.used_bytes = 0

    def outputs(self, pattern: Pattern) -> list[NDArray[Any]]:
        """The model's outputs, in its order, with the pattern's candidates quantized.

        Patterns that agree in their low bits (the graph's early candidates) should follow one another.
        """
        return [self._output(name, pattern) for name in self._outputs]

    def _output(self, name: str, pattern: Pattern) -> NDArray[Any]:
        held: list[NDArray[Any]] = []
        value = self._tensor(name, pattern, held)
        # What is read of a value that borrows its memory lies in that memory, too.
        return held[0] if held else np.asarray(as_array(value))

    def _tensor(self, name: str, pattern: Pattern, held: list[NDArray[Any]]) -> Any:
        """A tensor to run with, for as long as `held` is: a value made of an array borrows its memory."""
        if name in self._feed:
            return self._feed[name]
        mask = self._home[name]
        if mask not in self._filed:
            return self._values(mask, pattern)[name]
        if self._in_file.get(mask) != mask & pattern:
            for entry, value in self._run(mask, pattern).items():
                self._file.put(entry, value.numpy())
            self._in_file[mask] = mask & pattern
        held.append(self._file.get(name))
        return as_value(held[-1])

    def _values(self, mask: Pattern, pattern: Pattern) -> dict[str, Any]:
        key = (mask, mask & pattern)
        if key in self._cache:
            self._cache.move_to_end(key)
            self._latest[mask] = key
            return self._cache[key]
        values = self._cache[key] = self._run(mask, pattern)
        self._latest[mask] = key
        self.used_bytes += _nbytes(values)
        if self.used_bytes > self._cache_bytes:
            self._evict()
        return values

    def _run(self, mask: Pattern, pattern: Pattern) -> dict[str, Any]:
        segment = self._segments[mask]
        held: list[NDArray[Any]] = []
        feed = {name: self._tensor(name, pattern, held) for name in segment.inputs}
        started = time.perf_counter()
        values = segment.run(pattern, feed)
        self.seconds[mask, bool(pattern & segment.own_bit)] = time.perf_counter() - started
        return values

    def _evict(self) -> None:
        """Drop what was not used for longest; what each segment gave last is what the next pattern most likely needs."""
        kept = set(self._latest.values())
        for key in [key for key in self._cache if key not in kept]:
            self.used_bytes -= _nbytes(self._cache.pop(key))
            if self.used_bytes <= self._cache_bytes:
                return


def _nbytes(values: Mapping[str, Any]) -> int:
    return sum(value.tensor_size_in_bytes() for value in values.values())


class _SegmentCutter:
    """Takes segments out of a graph."""

    def __init__(self, graph: ModelGraph, masks: Mapping[str, Pattern]) -> None:
        self.graph = graph
        self.masks = masks
        self.weights = {entry.name: entry for entry in graph.proto.graph.initializer}
        self.producer = {name: node for node in graph.proto.graph.node for name in node.output if name}
        self.readers: dict[str, set[Pattern]] = {}
        for node in graph.proto.graph.node:
            for name in used_names(node):
                self.readers.setdefault(name, set()).add(masks[node.name])

    def cut(self, mask: Pattern) -> ModelGraph:
        """One segment as a model of its own."""
        names = self._members(mask)
        nodes = [node for node in self.graph.proto.graph.node if node.name in names]
        made = {name for node in nodes for name in node.output if name}
        read = dict.fromkeys(name for node in nodes for name in used_names(node))
        inputs = tuple(name for name in read if name not in made and name not in self.weights)
        outputs = tuple(name for node in nodes for name in node.output if self._leaves(name, node, mask))
        proto = onnx.ModelProto()
        proto.ir_version = self.graph.proto.ir_version
        proto.opset_import.extend(self.graph.proto.opset_import)
        proto.graph.name = f"segment-{mask:x}"
        proto.graph.node.extend(nodes)
        passed = set(read) | set(outputs)
        proto.graph.initializer.extend(entry for name, entry in self.weights.items() if name in passed)
        proto.graph.input.extend(value_info(self.graph.described[name]) for name in inputs)
        proto.graph.output.extend(value_info(self.graph.described[name]) for name in outputs)
        return dataclasses.replace(self.graph, proto=proto, inputs=inputs, outputs=outputs)

    def _members(self, mask: Pattern) -> Collection[str]:
        """Its operators, and copies of those whose outputs are no tensors of numbers and cannot be handed over."""
        members = {name for name, own in self.masks.items() if own == mask}
        waiting = [node for node in self.graph.proto.graph.node if node.name in members]
        while waiting:
            for name in used_names(waiting.pop()):
                node = self.producer.get(name)
                if node is not None and node.name not in members and self.graph.tensors[name].dtype not in TRAVELLING:
                    members.add(node.name)
                    waiting.append(node)
        return members

    def _leaves(self, name: str, node: onnx.NodeProto, mask: Pattern) -> bool:
        wanted = name in self.graph.outputs or bool(self.readers.get(name, set()) - {mask})
        # An output that nobody reads is not among the graph's tensors.
        return wanted and self.masks[node.name] == mask and self.graph.tensors[name].dtype in TRAVELLING


def _open_segment(
    cutter: _SegmentCutter, blobs: BlobStore, mask: Pattern, candidates: Sequence[str], ranges: Ranges, *, threads: int
) -> _Segment:
    part = cutter.cut(mask)
    own = [index for index, name in enumerate(candidates) if cutter.masks[name] == mask]
    quantized = None
    if own:
        integer = quantize(part, blobs, [candidates[own[0]]], ranges)
        quantized = open_session(integer.proto, blobs, threads=threads)
    return _Segment(
        mask,
        1 << own[0] if own else 0,
        part.inputs,
        part.outputs,
        open_session(part.proto, blobs, threads=threads),
        quantized,
    )
