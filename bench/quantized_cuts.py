"""Measurement: how far cuts move the outputs of a model that was quantized before.

Owns: quantizing a shipped topology in the ways that people do (QDQ, QOperator, dynamic), cutting it at random, and the
table of differences from the uncut model. Its rule: what agents would run is what is compared; the same cuts in float stand
beside. Not here: int8 of edgesplit's own (`bench.noise`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.table import Table

from bench import zoo
from bench.random_plans import random_inputs, random_plan, relative_difference, run_in_process
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.runner import open_session

__all__ = ["main"]


@dataclass(frozen=True)
class Moved:
    """What was found of one form of a model; differences are relative to each output's range."""

    operators: int
    units: int
    cuts: tuple[float, ...]
    unoptimized: float
    """Whole model, optimized against not optimized by onnxruntime."""


class _Noise(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not typed
    """Seeded inputs to calibrate with."""

    def __init__(self, inputs: list[dict[str, NDArray[Any]]]) -> None:
        self._rest = iter(inputs)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next sample."""
        return next(self._rest, None)


def measure(path: Path, folder: Path, assignments: int) -> Moved:
    """Cut one file at random."""
    blobs = BlobStore(folder / "blobs")
    graph = import_model(path, blobs)
    inputs = random_inputs(graph, seed=1)
    names = list(graph.outputs)
    wanted, plain = (
        dict(zip(names, open_session(graph.proto, blobs, optimize=on).run(names, inputs), strict=True))
        for on in (True, False)
    )
    cuts = [
        relative_difference(wanted, run_in_process(random_plan(graph, blobs, seed), blobs, inputs))
        for seed in range(assignments)
    ]
    return Moved(len(graph.operators), len(graph.units), tuple(cuts), relative_difference(wanted, plain))


def forms(path: Path, folder: Path, samples: int) -> Iterator[tuple[str, Path]]:
    """The model in each of the ways."""
    yield "float", path
    ready = folder / "ready.onnx"
    quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    proto = onnx.load(str(ready), load_external_data=False)
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in proto.graph.input
    }
    draw = np.random.default_rng(0)
    given = [{name: draw.random(shape, np.float32) for name, shape in shapes.items()} for _ in range(samples)]
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        for kind in (QuantType.QUInt8, QuantType.QInt8):
            made = folder / f"{form.name}-{kind.name}.onnx"
            quantize_static(str(ready), str(made), _Noise(given), quant_format=form, activation_type=kind)
            yield f"{form.name}, activations {kind.name.removeprefix('Q').lower()}", made
    made = folder / "dynamic.onnx"
    quantize_dynamic(str(ready), str(made))
    yield "dynamic", made


@click.command()
@click.option("--topology", type=click.Choice(zoo.names()), default="mobilenet_v2", show_default=True)
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another file, of images.")
@click.option("--size", default=0, help="Of the topology's input; 0 is the usual one. [pixel or token]")
@click.option("--assignments", default=20, show_default=True, help="Random assignments to three nodes.")
@click.option("--samples", default=4, show_default=True, help="Calibration samples, noise in [0, 1).")
def main(topology: str, model: Path | None, size: int, assignments: int, samples: int) -> None:
    """Cut models that were quantized before and compare with the same models uncut.

    Example: python -m bench.quantized_cuts --topology mobilenet_v2 --assignments 20
    """
    table = Table("form", "operators", "units", "cuts: worst", "cuts: median", "not optimized")
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        into = Path(name)
        path = model
        if path is None:
            path = into / f"{topology}.onnx"
            onnx.save(zoo.build(topology, size=size or None), path)
        for form, file in forms(path, into, samples):
            moved = measure(file, into / f"run-{form}", assignments)
            table.add_row(
                form,
                str(moved.operators),
                str(moved.units),
                f"{max(moved.cuts):.1e}",
                f"{float(np.median(moved.cuts)):.1e}",
                f"{moved.unoptimized:.1e}",
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
