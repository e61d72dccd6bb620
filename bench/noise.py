"""Measurement: does the noise model hold for choices of int8 operators that it never saw?

Owns: measuring unseen patterns and feasible patterns of three bounds, and the table of both. Its rule: the model is made
by the product's own steps; noise is measured on the samples it was made from (those held out of the calibration) and, told
apart, on fresh ones of the same kind. Not here: wire codecs, noise of served requests (`tests/integration`).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import zoo
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.quantizable import candidates
from edgesplit_controller.quantization.calibration import Sample, load_calibration, split
from edgesplit_controller.quantization.noise.noise_model import NoiseProfile, model_noise
from edgesplit_controller.quantization.noise.pattern_runs import measure_for
from edgesplit_controller.quantization.noise.patterns import in_tree_order
from edgesplit_controller.quantization.noise.regression import r_squared
from edgesplit_controller.quantization.noise.segments import SegmentedModel
from edgesplit_controller.quantization.noise.single_index import noises_at

__all__ = ["main"]

CANDIDATES, UNSEEN, DRAWN = 12, 50, 100
SHARES = (0.25, 0.5, 0.75)
"""Bounds, as shares of the noise with every candidate quantized."""
R2_GOAL, SECONDS_GOAL, UNDER_GOAL = 0.99, 120.0, 99
FRESH_SAMPLES = 8
SHIPPED = {"scale": 0.25, "size": 640}
"""Of the shipped topology: channels and image of YOLO11n-seg."""


@dataclass(frozen=True)
class Modelled:
    """A model, its noise model, and its runs under any pattern."""

    graph: ModelGraph
    profile: NoiseProfile
    segmented: SegmentedModel
    names: tuple[str, ...]
    processor_s: float
    """Processor time that the modelling took. [s]"""

    def predicted(self, patterns: Sequence[int], *, margin: bool) -> NDArray[np.float64]:
        """Noise that the model predicts."""
        model = self.profile.model if margin or self.profile.expected is None else self.profile.expected
        bit = {name: 1 << place for place, name in enumerate(self.names)}
        masks = [(sum(bit[name] for name in term.operators), term.coefficient) for term in model.terms]
        levels = np.array(
            [model.intercept + sum(value for mask, value in masks if pattern & mask == mask) for pattern in patterns]
        )
        return levels if model.curve is None else noises_at(model.curve, levels)

    def measured(self, patterns: Sequence[int], samples: Sequence[Sample]) -> NDArray[np.float64]:
        """Mean noise over samples."""
        measure, outputs = measure_for(self.graph), self.graph.outputs
        order = in_tree_order(list(patterns), len(self.names))

        def one(sample: Sample) -> list[float]:
            run = self.segmented.start(sample)
            reference = dict(zip(outputs, run.outputs(0), strict=True))
            noise = {
                pattern: measure.noise(reference, dict(zip(outputs, run.outputs(pattern), strict=True)))
                for pattern in order
            }
            return [noise[pattern] for pattern in patterns]

        with ThreadPoolExecutor(2) as pool:
            mean: NDArray[np.float64] = np.mean(list(pool.map(one, samples)), axis=0)
        return mean


def _modelled(path: Path, folder: Path) -> Modelled:
    blobs = BlobStore(folder)
    graph = import_model(path, blobs)
    chosen = candidates(graph, limit=CANDIDATES)
    started = time.process_time()
    profile = model_noise(graph, blobs, chosen, load_calibration(None, graph))
    processor_s = time.process_time() - started
    position = {node.name: index for index, node in enumerate(graph.proto.graph.node)}
    names = tuple(sorted(chosen, key=position.__getitem__))
    return Modelled(graph, profile, SegmentedModel(graph, blobs, names, profile.ranges), names, processor_s)


def _seen(modelled: Modelled) -> set[int]:
    measured = modelled.profile.measured
    rows = measured.bits if measured is not None else np.zeros((0, len(modelled.names)), np.bool_)
    return {int((row.astype(np.int64) << np.arange(len(modelled.names))).sum()) for row in rows}


@dataclass(frozen=True)
class Bound:
    """How many of the feasible patterns drawn for one bound keep it."""

    share: float
    limit: float
    drawn: int
    under: int
    under_fresh: int
    worst: float
    worst_fresh: float

    @property
    def met(self) -> bool:
        """Whether the samples that the noise model knows keep the bound."""
        return self.under >= self.drawn * UNDER_GOAL / DRAWN


def _bounds(
    modelled: Modelled, held_out: Sequence[Sample], fresh: Sequence[Sample], random: np.random.Generator
) -> list[Bound]:
    every = np.arange(1, 1 << len(modelled.names))
    predicted = modelled.predicted(every.tolist(), margin=True)
    drawn: dict[float, list[int]] = {}
    for share in SHARES:
        feasible = every[predicted <= share * modelled.profile.report.full_noise]
        count = min(DRAWN, len(feasible))
        drawn[share] = [int(pattern) for pattern in random.choice(feasible, count, replace=False)] if count else []
    wanted = sorted({pattern for patterns in drawn.values() for pattern in patterns})
    known = dict(zip(wanted, modelled.measured(wanted, held_out), strict=True))
    new = dict(zip(wanted, modelled.measured(wanted, fresh), strict=True))
    found: list[Bound] = []
    for share, patterns in drawn.items():
        limit = share * modelled.profile.report.full_noise
        noise, noise_fresh = ([table[pattern] for pattern in patterns] for table in (known, new))
        found.append(
            Bound(
                share,
                limit,
                len(patterns),
                sum(value <= limit for value in noise),
                sum(value <= limit for value in noise_fresh),
                max(noise, default=0.0) / limit,
                max(noise_fresh, default=0.0) / limit,
            )
        )
    return found


def _print(modelled: Modelled, unseen: tuple[float, float], bounds: Sequence[Bound], console: Console) -> None:
    report = modelled.profile.report
    console.print(
        f"{len(modelled.names)} candidates, {report.patterns} patterns on {report.samples} held-out samples, degree "
        f"{report.degree}, margin {report.margin:.3g}, everything quantized {report.full_noise:.4g}"
    )
    console.print(
        f"modelling took {report.seconds:.0f} s (goal: at most {SECONDS_GOAL:.0f} s on 2 free cores), of them "
        f"{modelled.processor_s:.0f} s of processor time in two threads"
    )
    console.print(
        f"R² of {UNSEEN} patterns the fit never saw: {unseen[0]:.4f} on its samples (goal: {R2_GOAL}), "
        f"{unseen[1]:.4f} on fresh ones"
    )
    table = Table(title=f"random patterns with a predicted noise under the bound (goal: {UNDER_GOAL} of {DRAWN})")
    for name in ("bound", "patterns", "measured under it", "noisiest / bound", "on fresh samples", "noisiest / bound"):
        table.add_column(name, justify="right")
    for bound in bounds:
        table.add_row(
            f"{bound.limit:.4g} ({bound.share:.0%})",
            str(bound.drawn),
            str(bound.under),
            f"{bound.worst:.3f}",
            str(bound.under_fresh),
            f"{bound.worst_fresh:.3f}",
        )
    console.print(table)


@click.command()
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An ONNX file; by default the shipped topology of YOLO11n-seg's size.",
)
@click.option("--seed", default=11, show_default=True, help="Of the patterns drawn.")
def main(model: Path | None, seed: int) -> None:
    """Model the noise of 12 candidates and hold it against patterns it never saw; exit 1 where a goal is missed.

    Example: python -m bench.noise --model yolo11n-seg.onnx
    """
    console, random = Console(width=140), np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if model is None:
            model = folder / "yolo_seg.onnx"
            onnx.save(zoo.build("yolo_seg", scale=SHIPPED["scale"], size=int(SHIPPED["size"])), model)
        modelled = _modelled(model, folder / "blobs")
        _, held_out = split(load_calibration(None, modelled.graph))
        fresh = load_calibration(None, modelled.graph, seed=1, samples=FRESH_SAMPLES).samples
        others = sorted(set(range(1, 1 << len(modelled.names))) - _seen(modelled))
        unseen = [int(pattern) for pattern in random.choice(others, min(UNSEEN, len(others)), replace=False)]
        predicted = modelled.predicted(unseen, margin=False)
        r2 = (
            r_squared(modelled.measured(unseen, held_out), predicted),
            r_squared(modelled.measured(unseen, fresh), predicted),
        )
        bounds = _bounds(modelled, held_out, fresh, random)
        _print(modelled, r2, bounds, console)
    missed = r2[0] < R2_GOAL or modelled.profile.report.seconds > SECONDS_GOAL or not all(b.met for b in bounds)
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
