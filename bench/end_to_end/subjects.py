"""Models to measure: topologies of the zoo, or a folder of ONNX files, each with a request.

Owns: which models a run takes and at which sizes. Its rule: seeded, so that two runs measure the same networks on the
same numbers. Not here: what is asked of them (`wishes.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from bench import zoo
from bench.zoo.drawn_inputs import drawn_inputs

__all__ = ["CHANGED", "QUICK", "SHIPPED", "Subject", "from_folder", "from_zoo"]

SHIPPED: Mapping[str, Mapping[str, float]] = {
    "yolo_seg": {"scale": 0.75, "size": 320},
    "resnet50": {"scale": 0.75, "size": 224},
    "mobilenet_v2": {"scale": 1.4, "size": 224},
    "transformer_encoder": {"scale": 0.5, "size": 128},
}
"""From a third of a second on a core, as yolo11n-seg takes, down to some ten milliseconds."""
QUICK: Mapping[str, Mapping[str, float]] = {
    "mobilenet_v2": SHIPPED["mobilenet_v2"],
    "transformer_encoder": {"scale": 0.25, "size": 128},
}
CHANGED: Mapping[str, Mapping[str, float]] = {"yolo_seg": {"scale": 0.5, "size": 320}}
"""For changes, less than half of it: how soon a node is found slow depends on how often it computes."""
BRANCHES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "yolo_seg": (("head1/*", "prototypes/*"), ("head2/*", "head3/*")),
    "transformer_encoder": (("layer1/attention/query*",), ("layer1/attention/key*",)),
}
"""Name patterns of branches that nothing but the graph's own forks and joins connects; a pin each."""


@dataclass(frozen=True)
class Subject:
    """A model and a request to it.

    Attributes:
        path: Its ONNX file.
        request: One array per input (.npz).
        branches: Of operators that may run side by side, patterns of their names.
    """

    name: str
    path: Path
    request: Path
    branches: tuple[tuple[str, ...], ...] = field(default=())


def from_zoo(sizes: Mapping[str, Mapping[str, float]], folder: Path) -> list[Subject]:
    """Build topologies into a folder."""
    found: list[Subject] = []
    for name, size in sizes.items():
        path = folder / f"{name}.onnx"
        onnx.save(zoo.build(name, scale=size["scale"], size=int(size["size"])), path)
        found.append(_subject(path, folder))
    return found


def from_folder(models: Path, folder: Path) -> list[Subject]:
    """Every ONNX file of a folder, in the order of their names; requests are written beside the run's own files."""
    return [_subject(path, folder) for path in sorted(models.glob("*.onnx"))]


def _subject(path: Path, folder: Path) -> Subject:
    request = folder / f"{path.stem}.npz"
    with request.open("wb") as file:
        np.savez(file, **drawn_inputs(path, 1, seed=1)[0])  # type: ignore[arg-type]  # its other keyword is no array
    return Subject(path.stem, path, request, BRANCHES.get(path.stem, ()))
