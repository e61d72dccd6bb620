"""Measurement: what wire codecs make of a model's real activations, and what that does to its best plan.

Owns: both tables. Its rule: codecs are timed in turn on the same tensors in one run; noise and sizes come from the
product's own measurement; plans are predicted, for nodes that are this machine made slower by assumed factors on assumed
links, and say so. Not here: plans that run (`tests/integration/test_wire_codecs.py`).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

from bench import zoo
from bench.profiled_models import ProfiledModel, profiled
from edgesplit.control.figure_messages import LinkState
from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Solution
from edgesplit.wire.codecs import CODECS, available_codecs, decode, encode
from edgesplit.wire.tensors import Array
from edgesplit_controller.graph.unit_tensors import unit_tensors
from edgesplit_controller.planner import solve
from edgesplit_controller.quantization.calibration import Sample, load_calibration, split
from edgesplit_controller.quantization.codecs.codec_noise import SMALLEST_BYTES, CodecProfile, measure_codecs
from edgesplit_controller.quantization.codecs.unit_runs import UnitModel
from edgesplit_controller.quantization.noise.pattern_runs import measure_for
from edgesplit_controller.stating.problem_statement import Candidate, build_problem

__all__ = ["main"]

ROUNDS = 3
MB = 1e6
SLOWER = {"device": 10.0, "edge": 4.0, "cloud": 0.5}
"""Times this machine takes, assumed of each node."""
POWER_W = {"device": (2.9165, 3.507), "edge": (5.833, 2.265), "cloud": (35.0, 0.014)}
RATES = {"device": 5e6, "edge": 20e6, "cloud": 100e6}
"""Of each node's links. [B/s]"""
LATENCIES_S = {("device", "edge"): 0.005, ("cloud", "device"): 0.055, ("cloud", "edge"): 0.05}
BOUND_SHARE = 0.02
"""Of the mean absolute output, taken as the bound of the noisy plans."""


@dataclass
class Coded:
    """One codec over all tensors. [B, s]"""

    raw_bytes: int = 0
    bytes: int = 0
    encode_s: float = 0.0
    decode_s: float = 0.0


@click.command()
@click.option(
    "--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="ONNX file; by default shipped."
)
@click.option("--budget", default=20.0, show_default=True, help="Aim for measuring noise. [s]")
def main(model: Path | None, budget: float) -> None:
    """Measure codecs on activations and predict plans with and without them.

    Example: python -m bench.codecs --model yolo11n-seg.onnx
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = model or folder / "yolo_seg.onnx"
        if model is None:
            onnx.save(zoo.build("yolo_seg", scale=0.25, size=320), path)
        node = profiled(path, folder, limit=0)
        _, held_out = split(load_calibration(None, node.graph))
        found = measure_codecs(
            node.graph, node.blobs, (), {}, held_out, measure=measure_for(node.graph), budget_s=budget
        )
        values = UnitModel(node.graph, node.blobs).start(held_out[0])
        names = [t.name for t in unit_tensors(node.graph) if t.dtype == "float32" and t.nbytes >= SMALLEST_BYTES]
        _show_codecs(node.name, _timed([values.array(name) for name in names]), found)
        _show_plans(node, found, held_out)


def _timed(tensors: Sequence[Array]) -> dict[str, Coded]:
    """Every codec on every tensor, in turn, the best of a few rounds."""
    totals = {codec: Coded() for codec in available_codecs()}
    for tensor in tensors:
        for codec, total in totals.items():
            rounds = [_round(tensor, codec) for _ in range(ROUNDS)]
            total.raw_bytes += tensor.nbytes
            total.bytes += rounds[0][0]
            total.encode_s += min(encode_s for _, encode_s, _ in rounds)
            total.decode_s += min(decode_s for _, _, decode_s in rounds)
    return totals


def _round(tensor: Array, codec: str) -> tuple[int, float, float]:
    """Code once and back: payload, and this thread's own time for either way. [B, s, s]"""
    started = time.thread_time()
    coded = encode(tensor, codec)
    encode_s = time.thread_time() - started
    started = time.thread_time()
    decode(coded.payload, coded.codec, tensor.dtype.name, tensor.shape, coded.parameters)
    return coded.payload.nbytes, encode_s, time.thread_time() - started


def _show_codecs(name: str, totals: Mapping[str, Coded], found: CodecProfile) -> None:
    report = found.report
    console = Console()
    table = Table(title=f"{name}: {report.tensors} tensors between units, measured in this thread's own time")
    for column in ("codec", "ratio", "encode MB/s", "decode MB/s", "noise, median", "noise, largest"):
        table.add_column(column, justify="left" if column == "codec" else "right")
    for codec, total in totals.items():
        noise = [f.noise for figures in found.figures.values() for f in figures if f.codec == codec]
        lossy = not CODECS[codec].lossless and noise
        table.add_row(
            codec,
            f"{total.raw_bytes / total.bytes:.2f}",
            _rate(total.raw_bytes, total.encode_s) if codec != "raw" else "-",
            _rate(total.raw_bytes, total.decode_s) if codec != "raw" else "-",
            f"{statistics.median(noise):.2e}" if lossy else "0",
            f"{max(noise):.2e}" if lossy else "0",
        )
    console.print(table)
    console.print(
        f"noise of {report.measured} of {report.tensors} tensors on {report.samples} sample(s) in {report.seconds:.0f} s, "
        f"margin {report.margin:.2f}; tensors coded together reach {report.joint:.0%} of the sum of their figures"
    )


def _rate(nbytes: int, seconds: float) -> str:
    return f"{nbytes / seconds / MB:.0f}" if seconds > 0 else "-"


def _show_plans(node: ProfiledModel, found: CodecProfile, held_out: Sequence[Sample]) -> None:
    outputs = UnitModel(node.graph, node.blobs).start(held_out[0]).outputs()
    bound = BOUND_SHARE * float(np.mean([np.abs(array).mean() for array in outputs.values()]))
    console = Console()
    table = Table(title="best plans, predicted for assumed nodes and links")
    for column in ("noise at most", "codecs", "latency ms", "noise", "solved in s", "used"):
        table.add_column(column, justify="right")
    for limit in (0.0, bound):
        for figures in (None, found):
            solution, seconds = _best(node, figures, limit)
            if solution.evaluation is None or solution.assignment is None:
                raise click.ClickException(f"no plan: {solution.reason}")
            used = sorted(set(solution.assignment.codecs.values()))
            table.add_row(
                f"{limit:.3g}",
                "no" if figures is None else "yes",
                f"{solution.evaluation.timeline_s * 1e3:.1f}",
                f"{solution.evaluation.noise:.2e}",
                f"{seconds:.2f}",
                ", ".join(used) or "-",
            )
    console.print(table)


def _best(node: ProfiledModel, found: CodecProfile | None, max_noise: float) -> tuple[Solution, float]:
    """The plan of least latency, and the processor time of planning it. [s]"""
    candidates = [Candidate(name, *POWER_W[name], None, _slower(node.profile, SLOWER[name])) for name in SLOWER]
    links = [(start, _link(start, end)) for start in RATES for end in RATES if start != end]
    problem = build_problem(
        node.name,
        node.graph,
        quantizable=(),
        noise=None,
        source="device",
        candidates=candidates,
        links=links,
        goals=Goals(latency_weight=1.0, energy_weight=0.0, max_noise=max_noise),
        codecs=found.figures if found is not None else None,
    )
    started = time.process_time()
    solution = solve(problem)
    return solution, time.process_time() - started


def _slower(profile: ExecutionProfile, factor: float) -> ExecutionProfile:
    return msgspec.structs.replace(
        profile,
        time_s={unit: seconds * factor for unit, seconds in profile.time_s.items()},
        transition_s_per_byte={},
        codec_times={name: times.scaled(factor) for name, times in profile.codec_times.items()},
        integer_codec_times={name: times.scaled(factor) for name, times in profile.integer_codec_times.items()},
    )


def _link(start: str, end: str) -> LinkState:
    first, second = sorted((start, end))
    return LinkState(
        to=end,
        up=True,
        bandwidth_bytes_per_s=RATES[start],
        latency_s=LATENCIES_S[first, second],
        measured_at_unix_s=0.0,
        origin="modelled",
    )


if __name__ == "__main__":
    main()
