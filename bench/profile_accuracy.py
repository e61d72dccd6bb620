"""Measurement: do the sums of a node's profile predict what components take?

Owns: timing the whole model and random cuts of it beside the predictions, and the table of both. Its rule:
predictions come from the controller's own problem, restatement and evaluation; times are seconds of the computing
thread, so that a busy machine does not show, and each component runs in turn with the whole model, so that a faster or
slower spell of the machine does not either. Not here: transfers, several machines.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

from bench import zoo
from bench.profiled_models import ProfiledModel, TimedSession, profiled
from bench.scene import SHIPPED_MODEL
from edgesplit.control.component_messages import ComponentSpec
from edgesplit.control.figure_messages import LinkState
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.graph.graph_refs import tensor_specs
from edgesplit_controller.planner import evaluate
from edgesplit_controller.rollout.compilation import compile_plan
from edgesplit_controller.stating.predicting.predictions import placed
from edgesplit_controller.stating.problem_statement import Candidate, build_problem

__all__ = ["NODES", "compiled_components", "main", "random_assignment", "stated_problem"]

NODES = ("device", "edge", "cloud")
WHOLE_GOAL, COMPONENT_GOAL, INTEGER_GOAL, PROFILE_GOAL_S = 0.03, 0.08, 0.10, 60.0
LEAST_S = 5e-3
"""Shorter components are left out. [s]"""
BUDGET_S = 1.0
SHIPPED: dict[str, dict[str, float]] = {
    "resnet50": {},
    "mobilenet_v2": {},
    "yolo_seg": {"scale": 0.25, "size": 320},
    "transformer_encoder": {},
}


@dataclass(frozen=True)
class Findings:
    """Relative differences between measured and predicted times of one model, measured over predicted minus 1."""

    model: ProfiledModel
    whole: float
    integer_ratio: tuple[float, float] | None
    in_float: tuple[float, ...]
    mixed: tuple[float, ...]


def _side_by_side(first: TimedSession, second: TimedSession) -> tuple[float, float]:
    """Median seconds of two sessions run in turn. [s]"""
    times = [(first.run(), second.run())]
    count = min(max(int(BUDGET_S / max(sum(times[0]), 1e-6)), 5), 40)
    times += [(first.run(), second.run()) for _ in range(count - 1)]
    return statistics.median(time[0] for time in times), statistics.median(time[1] for time in times)


def _measured_s(model: ProfiledModel, part: TimedSession, whole: TimedSession) -> float:
    """Seconds of a part, on a machine on which the whole model takes what the profile says. [s]"""
    part_s, whole_s = _side_by_side(part, whole)
    return part_s / whole_s * model.profile.whole_s


def stated_problem(model: ProfiledModel) -> Problem:
    """What a controller would plan: three nodes that are as fast as this machine, on links that cost nothing."""
    links = [
        (start, LinkState(to=end, up=True, bandwidth_bytes_per_s=1e9, latency_s=1e-4, measured_at_unix_s=0.0,
                          origin="modelled"))
        for start in NODES for end in NODES if start != end
    ]  # fmt: skip
    return build_problem(
        model.name,
        model.graph,
        quantizable=model.quantizable,
        noise=None,
        source=NODES[0],
        candidates=[Candidate(name, 1.0, 1.0, None, model.profile) for name in NODES],
        links=links,
        goals=Goals(),
    )


def random_assignment(problem: Problem, seed: int) -> Assignment:
    """A walk through the graph that changes the node one to four times; odd seeds put half of the candidates in int8."""
    draw = random.Random(seed)
    changes = draw.choice((1, 2, 4)) / len(problem.operators)
    current, node_of = NODES[0], dict[str, str]()
    for operator in problem.operators:
        if draw.random() < changes:
            current = draw.choice(NODES)
        pinned = operator.role is not None or operator.name in (problem.constraints.pins or {})
        node_of[operator.name] = NODES[0] if pinned else current
    able = [operator.name for operator in problem.operators if operator.quantizable]
    quantized = {name for name in able if draw.random() < 0.5} if seed % 2 else set[str]()
    return Assignment(node_of, quantized=frozenset(quantized))


def compiled_components(model: ProfiledModel, assignment: Assignment) -> list[ComponentSpec]:
    """Every node's components under an assignment, compiled."""
    problem = placed(
        stated_problem(model), model.graph, model.quantizable, dict.fromkeys(NODES, model.profile), assignment
    )
    specs = compile_plan(
        model.graph,
        model.blobs,
        model.ranges,
        assignment,
        evaluate(problem, assignment),
        epoch=1,
        source=NODES[0],
        addresses=dict.fromkeys(NODES, "127.0.0.1:1"),
    )
    return [component for spec in specs.values() for component in spec.components]


def _examine(model: ProfiledModel, cuts: int) -> Findings:
    graph_path = model.blobs.path(model.offer.float_graph.digest)
    inputs = tensor_specs(model.graph, model.graph.inputs)
    whole = TimedSession(graph_path, inputs)
    total_s = sum(model.profile.time_s.values())
    problem = stated_problem(model)
    integer: tuple[float, float] | None = None
    everywhere = dict.fromkeys((operator.name for operator in problem.operators), NODES[0])
    if model.offer.quantized_graph is not None:
        assignment = Assignment(everywhere, quantized=frozenset(model.quantizable))
        (component,) = compiled_components(model, assignment)
        part = TimedSession(model.blobs.path(component.graph.digest), component.inputs)
        integer = model.profile.whole_s / component.predicted_s, model.profile.whole_s / _measured_s(model, part, whole)
    found: tuple[list[float], list[float]] = ([], [])
    for seed in range(cuts):
        assignment = random_assignment(problem, seed)
        for component in compiled_components(model, assignment):
            if component.predicted_s < LEAST_S:
                continue
            part = TimedSession(model.blobs.path(component.graph.digest), component.inputs)
            error = _measured_s(model, part, whole) / component.predicted_s - 1
            found[bool(assignment.quantized)].append(error)
    return Findings(model, model.whole_s / total_s - 1, integer, tuple(found[0]), tuple(found[1]))


def _models(folders: tuple[Path, ...], into: Path) -> Iterator[tuple[Path, int]]:
    """ONNX files, each with how many operators may be in int8."""
    for name, arguments in SHIPPED.items():
        path = into / f"{name}.onnx"
        onnx.save(zoo.build(name, **arguments), path)  # type: ignore[arg-type]
        yield path, 1000 if name == "resnet50" else 12
    yield SHIPPED_MODEL, 12
    for folder in folders:
        for path in sorted(folder.glob("*.onnx")):
            yield path, 12


def _percentile(errors: tuple[float, ...]) -> str:
    if not errors:
        return "-"
    sizes = np.abs(errors)
    return f"{np.median(sizes):.1%} / {np.quantile(sizes, 0.95):.1%} ({len(errors)})"


def _row(found: Findings) -> tuple[str, ...]:
    integer = "-" if found.integer_ratio is None else "{:.2f} / {:.2f}".format(*found.integer_ratio)
    return (
        found.model.name,
        f"{found.model.profile.whole_s * 1e3:.1f}",
        f"{found.model.seconds:.0f}",
        f"{found.whole:+.1%}",
        integer,
        _percentile(found.in_float),
        _percentile(found.mixed),
    )


def _missed(findings: list[Findings]) -> list[str]:
    """Sentences about the goals that are not met."""
    missed: list[str] = []
    middle = statistics.median(abs(found.whole) for found in findings)
    if middle > WHOLE_GOAL:
        missed.append(f"units against the whole: {middle:.1%} (median over models), goal {WHOLE_GOAL:.0%}")
    errors = [abs(error) for found in findings for error in (*found.in_float, *found.mixed)]
    if errors and (worst := float(np.quantile(errors, 0.95))) > COMPONENT_GOAL:
        missed.append(f"components of 5 ms or more: {worst:.1%} (95th percentile), goal {COMPONENT_GOAL:.0%}")
    if (slowest := max(found.model.seconds for found in findings)) > PROFILE_GOAL_S:
        missed.append(f"profiling: {slowest:.0f} s, goal {PROFILE_GOAL_S:.0f} s")
    for found in findings:
        if found.model.name == "resnet50" and found.integer_ratio is not None:
            said, measured = found.integer_ratio
            if abs(measured / said - 1) > INTEGER_GOAL:
                missed.append(f"int8 of resnet50: {said:.2f} predicted, {measured:.2f} measured")
    return missed


@click.command()
@click.option(
    "--models",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of more ONNX files.",
)
@click.option("--only", multiple=True, help="Names of the models to take; default all.")
@click.option("--cuts", default=20, show_default=True, help="Random cuts of each model.")
def main(models: tuple[Path, ...], only: tuple[str, ...], cuts: int) -> None:
    """Profile models and compare predictions with measurements.

    Example: python -m bench.profile_accuracy --models ~/onnx --cuts 20
    """
    table = Table(
        "model", "whole\nms", "profiling\ns", "sum of units\noff by", "float over int8\npredicted / measured",
        "float components\nmedian / p95 (count)", "mixed components\nmedian / p95 (count)",
    )  # fmt: skip
    findings: list[Findings] = []
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        into = Path(name)
        for path, limit in _models(models, into):
            if only and path.stem not in only:
                continue
            found = _examine(profiled(path, into / f"run-{path.stem}", limit=limit), cuts)
            findings.append(found)
            table.add_row(*_row(found))
            print("  ".join(_row(found)), found.model.profile.transition_s_per_byte, file=sys.stderr)
    Console(width=140).print(table)
    every = tuple(error for found in findings for error in (*found.in_float, *found.mixed))
    print(f"all components of 5 ms or more, median / p95 (count): {_percentile(every)}")
    missed = _missed(findings) if findings else []
    for sentence in missed:
        print(f"missed: {sentence}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
