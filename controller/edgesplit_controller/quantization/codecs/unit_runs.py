"""Partial re-execution: a model run again from the middle, with some tensors changed.

Owns: a session for every unit and the values between them. Its rule: what nothing changed is not computed again. Not
here: which tensors change and what that does to the outputs (`quantization/codecs/codec_noise.py`).

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

from edgesplit.daemon.runtime_abilities import as_array, as_value
from edgesplit.wire.tensors import Array
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.cut import cut
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import open_session, run_values
from edgesplit_controller.quantization.calibration import Sample

__all__ = ["Change", "SampleValues", "UnitModel"]

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
    """

    def __init__(self, graph: ModelGraph, blobs: BlobStore) -> None:
        parts = cut(graph.proto, [unit.operators for unit in graph.units], graph.described)
        self.outputs = graph.outputs
        self.steps = [_Step(part.inputs, part.outputs, open_session(part.proto, blobs)) for part in parts]
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
        self._values = {name: as_value(array) for name, array in sample.items()}
        self.seconds: list[float] = []
        for step in model.steps:
            started = time.perf_counter()
            self._values |= step.run({name: self._values[name] for name in step.inputs})
            self.seconds.append(time.perf_counter() - started)

    def array(self, name: str) -> Array:
        """A tensor's unchanged values; they live as long as this object."""
        return np.asarray(as_array(self._values[name]))

    def outputs(self) -> dict[str, Array]:
        """The model's outputs, unchanged."""
        return {name: self.array(name) for name in self._model.outputs}

    def seconds_after(self, names: Collection[str]) -> float:
        """What `changed` will take. [s]"""
        return sum(self.seconds[place] for place in self._model.after(names))

    def changed(self, changes: Mapping[str, Change]) -> dict[str, Array]:
        """The model's outputs when these tensors are changed on their way.

        Args:
            changes: Tensor to what happens to it; a tensor behind another changed one is changed as it is computed anew.
        """
        # A value made of an array borrows its memory and does not keep it.
        arrays = {name: change(self.array(name)) for name, change in changes.items()}
        now = {name: as_value(array) for name, array in arrays.items()}
        for place in self._model.after(changes):
            step = self._model.steps[place]
            made = step.run({name: now.get(name, self._values[name]) for name in step.inputs})
            for name in made.keys() & changes.keys():
                arrays[name] = changes[name](np.asarray(as_array(made[name])))
                made[name] = as_value(arrays[name])
            now |= made
            for name in step.inputs:
                if self._model.last_use[name] == place and name not in self._model.outputs:
                    now.pop(name, None)
                    arrays.pop(name, None)
        return {name: arrays[name] if name in arrays else self._output(now, name) for name in self._model.outputs}

    def _output(self, now: Mapping[str, Any], name: str) -> Array:
        return np.asarray(as_array(now.get(name, self._values[name])))
