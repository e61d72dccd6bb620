"""Worth of a planning shape: what a plan of its own would save the requests of its sizes, beside the plan that serves them now.

Owns: the problem at other sizes, as an estimate, and the gain of one plan over another. Its rule: pure; times and bytes grow as the
model's tensors do, so what is said of sizes that no node timed is an estimate, and once nodes have timed them their own problem
counts. Not here: how often sizes are asked (`asked_shapes.py`), how much is enough
(`edgesplit/significance.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec

from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import CodecOption, Objective, Operator, Problem, Tensor
from edgesplit_controller.deciding.changes.asked_shapes import Sizes
from edgesplit_controller.graph.model_graph import ModelGraph, OpenForm
from edgesplit_controller.planner import evaluate, solve

__all__ = ["gain", "gain_at", "problem_at"]


def gain_at(problem: Problem, graph: ModelGraph, sizes: Sizes, serving: Assignment, *, time_limit_s: float) -> float:
    """What the best plan at some sizes would save beside one that was made for others; blocking. [1]

    Args:
        problem: Of the plan that serves them.
        graph: At the shape that it was made for.
        sizes: Of requests.
        serving: That plan.
        time_limit_s: For solving; what is found by then counts. [s]

    Raises:
        PlanningTimedOut: Nothing was found.
    """
    there = problem_at(problem, graph, sizes)
    solution = solve(there, hint=serving, time_limit_s=time_limit_s)
    if solution.evaluation is None:
        return 0.0  # no plan keeps the limits there
    return gain(evaluate(there, serving), solution.evaluation, problem.objective)


def gain(before: Evaluation, after: Evaluation, objective: Objective) -> float:
    """The share of latency and energy that a plan saves beside another, each as much as it is wanted; all, where that breaks a limit."""
    if after.violations:
        return 0.0
    if before.violations or math.isinf(before.timeline_s):
        return 1.0
    pairs = (
        (objective.latency_weight, before.latency_s, after.latency_s),
        (objective.energy_weight, before.energy_j, after.energy_j),
    )
    total = sum(weight for weight, _, _ in pairs)
    return sum(weight * (1.0 - new / old) for weight, old, new in pairs if old > 0.0) / total if total else 0.0


def problem_at(problem: Problem, graph: ModelGraph, sizes: Sizes) -> Problem:
    """A problem as it would be at other sizes: bytes grow as tensors do, times as what operators make of them.

    Args:
        problem: At the graph's planning shape.
        graph: With its open form.
        sizes: Wanted.
    """
    form = graph.open
    if form is None:
        return problem
    ratios = _ratios(form, dict(sizes))

    def grown(name: str) -> float:
        exponents = form.growth.get(name, ())
        return math.prod(ratio**power for ratio, power in zip(ratios, exponents, strict=False))

    work = {unit.name: _growth_of_work(graph, unit.operators, grown) for unit in graph.units}
    return msgspec.structs.replace(
        problem,
        operators=tuple(_operator(operator, work.get(operator.name, 1.0)) for operator in problem.operators),
        tensors=tuple(_tensor(tensor, grown(tensor.name)) for tensor in problem.tensors),
    )


def _ratios(form: OpenForm, shapes: Mapping[str, tuple[int, ...]]) -> list[float]:
    """Each open size over what is planned."""
    found: list[float] = []
    for size in form.sizes:
        asked = [shapes[entry][axis] for entry, axis in size.places if entry in shapes and axis < len(shapes[entry])]
        found.append(max(max(asked, default=size.planned), 1) / max(size.planned, 1))
    return found


def _growth_of_work(graph: ModelGraph, operators: tuple[str, ...], grown: Callable[[str], float]) -> float:
    """How the time of a unit grows: as the largest tensor of each operator, weighed by what that computes and makes."""
    total = work = 0.0
    for name in operators:
        operator = graph.operator[name]
        made = sum(graph.tensors[output].nbytes for output in operator.outputs if output in graph.tensors)
        weight = operator.flops + made + 1.0
        touched = (*operator.inputs, *operator.outputs)
        total += weight * max((grown(tensor) for tensor in touched), default=1.0)
        work += weight
    return total / work if work else 1.0


def _operator(operator: Operator, ratio: float) -> Operator:
    quantized = operator.quantized_time_s
    return msgspec.structs.replace(
        operator,
        time_s=_times(operator.time_s, ratio),
        quantized_time_s=None if quantized is None else _times(quantized, ratio),
        flops=operator.flops * ratio,
    )


def _tensor(tensor: Tensor, ratio: float) -> Tensor:
    quantized = tensor.quantized_bytes
    return msgspec.structs.replace(
        tensor,
        bytes=tensor.bytes * ratio,
        quantized_bytes=None if quantized is None else quantized * ratio,
        codecs=None if tensor.codecs is None else tuple(_codec(codec, ratio) for codec in tensor.codecs),
    )


def _codec(codec: CodecOption, ratio: float) -> CodecOption:
    return msgspec.structs.replace(
        codec,
        bytes=codec.bytes * ratio,
        encode_s=_times(codec.encode_s, ratio),
        decode_s=_times(codec.decode_s, ratio),
    )


def _times(times_s: Mapping[str, float], ratio: float) -> dict[str, float]:
    return {node: time_s * ratio for node, time_s in times_s.items()}
