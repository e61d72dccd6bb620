"""Partial re-execution: a model run again from the middle, with some tensors changed.

Owns: a session for every unit and the values between them. Its rule: what nothing changed is not computed again; a sample's
tensors lie in a file beyond a few megabytes, for all of them together are many times the model. Not here: which tensors change and what that does to the outputs (`quantization/codecs/codec_noise.py`).

Units are what plans place, so every tensor that could be cut is the output of one. Running them one by one costs some
layout changes that the whole model does not have, and saves the part of the graph in front of each changed tensor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from edgesplit.daemon.inference_runtime.runtime_abilities import as_array, as_value
from edgesplit.wire.tensors import Array
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.cut import cut
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import open_session, run_values
from edgesplit_controller.quantization.calibration import Sample
from edgesplit_controller.quantization.tensor_file import FILED, FILED_BYTES, TensorFile

__all__ = ["Change", "SampleValues", "UnitModel"]

IN_MEMORY_BYTES = 8 << 20
"""Of a sample's tensors so many stay in memory, and those that are small. [B]"""
Change = Callable[[Array], Array]
"""What happens to a tensor's values between its producer and all that read it."""


@dataclass(frozen=True)
class _Step:
    """One unit as a model of its own."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    session: onnxruntime.InferenceSession

    def run(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(self.outputs, run_values(self.session, self.outputs, feed), strict=True))


class UnitModel:
    """A float model in steps.

    Args:
        graph: With its units.
        blobs: Where its weights lie.
        threads: Inside one operator.
    """

    def __init__(self, graph: ModelGraph, blobs: BlobStore, *, threads: int = 1) -> None:
        parts = cut(graph.proto, [unit.operators for unit in graph.units], graph.described)
        self.outputs = graph.outputs
        self.folder = blobs.folder
        self.filed = {name for name, tensor in graph.tensors.items() if tensor.dtype in FILED}
        self.steps = [
            _Step(part.inputs, part.outputs, open_session(part.proto, blobs, threads=threads)) for part in parts
        ]
        self.last_use = {name: place for place, step in enumerate(self.steps) for name in step.inputs}

    def after(self, names: Collection[str]) -> list[int]:
        """The steps that read any of these tensors, or what follows from them."""
        changed = set(names)
        found: list[int] = []
        for place, step in enumerate(self.steps):
            if not changed.isdisjoint(step.inputs):
                found.append(place)
                changed.update(step.outputs)
        return found

    def start(self, sample: Sample) -> SampleValues:
        """Run one sample unchanged."""
        return SampleValues(self, sample)


class SampleValues:
    """One sample's tensors, and runs that differ from them; for several threads at once.

    Attributes:
        seconds: What each step took. [s]
    """

    def __init__(self, model: UnitModel, sample: Sample) -> None:
        self._model = model
        self._arrays = dict(sample)  # a value made of an array borrows its memory
        self._values = {name: as_value(array) for name, array in sample.items()}
        self._file = TensorFile(model.folder)
        self._kept_bytes = 0
        self.seconds: list[float] = []
        now = dict(self._values)
        for place, step in enumerate(model.steps):
            started = time.perf_counter()
            made = step.run({name: now[name] for name in step.inputs})
            self.seconds.append(time.perf_counter() - started)
            now |= made
            for name, value in made.items():
                self._keep(name, value)
            for name in (*step.inputs, *step.outputs):
                if model.last_use.get(name, place) == place:
                    now.pop(name, None)

    def array(self, name: str) -> Array:
        """A tensor's unchanged values; they live as long as this object at least."""
        return self._file.get(name) if name in self._file else np.asarray(as_array(self._values[name]))

    def _keep(self, name: str, value: Any) -> None:
        """Keep a tensor, in memory as long as there is room, in the file where it is large."""
        nbytes = value.tensor_size_in_bytes() if name in self._model.filed else 0
        if nbytes >= FILED_BYTES and self._kept_bytes + nbytes > IN_MEMORY_BYTES:
            self._file.put(name, value.numpy())
            return
        self._values[name] = value
        self._kept_bytes += nbytes

    def _value(self, name: str, held: list[Array]) -> Any:
        """A tensor to run with, for as long as `held` is."""
        if name not in self._file:
            return self._values[name]
        held.append(self._file.get(name))
        return as_value(held[-1])

    def outputs(self) -> dict[str, Array]:
        """The model's outputs, unchanged."""
        return {name: self.array(name) for name in self._model.outputs}

    def seconds_after(self, names: Collection[str]) -> float:
        """What `changed` will take. [s]"""
        return sum(self.seconds[place] for place in self._model.after(names))

    def changed(self, changes: Mapping[str, Change]) -> dict[str, Array]:
        """The model's outputs when these tensors are changed on their way.

        Args:
            changes: Tensor to what happens to it; a tensor behind another changed one is changed as it is computed anew. Each is
                changed when it is first read: memory holds those that are still needed.
        """
        arrays: dict[str, Array] = {}  # a value made of an array borrows its memory and does not keep it
        now: dict[str, Any] = {}
        for place in self._model.after(changes):
            step = self._model.steps[place]
            for name in step.inputs:
                if name in changes and name not in now:
                    arrays[name] = changes[name](self.array(name))
                    now[name] = as_value(arrays[name])
            held: list[Array] = []
            made = step.run({name: now[name] if name in now else self._value(name, held) for name in step.inputs})
            for name in made.keys() & changes.keys():
                arrays[name] = changes[name](np.asarray(as_array(made[name])))
                made[name] = as_value(arrays[name])
            now |= made
            for name in step.inputs:
                if self._model.last_use[name] == place and name not in self._model.outputs:
                    now.pop(name, None)
                    arrays.pop(name, None)
        for name in self._model.outputs:
            if name in changes and name not in arrays:
                arrays[name] = changes[name](self.array(name))
        return {name: arrays[name] if name in arrays else self._output(now, name) for name in self._model.outputs}

    def _output(self, now: Mapping[str, Any], name: str) -> Array:
        return np.asarray(as_array(now[name])) if name in now else self.array(name)
