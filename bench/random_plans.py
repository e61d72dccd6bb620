"""Random and chosen assignments of a model to nodes, compiled as the controller would compile a plan.

Owns: making such plans and running them in one process. Its rule: the controller's own compilation is used, so that
what is proven here is what agents get. Not here: agents (`live_plans.py`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.differences import Arrays, relative_difference
from edgesplit.control.component_messages import ComponentSpec
from edgesplit.control.figure_messages import LinkState
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import Problem
from edgesplit_agent.serving.machine.execution import request_tensors
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.planner import evaluate
from edgesplit_controller.rollout.compilation import compile_plan
from edgesplit_controller.stating.problem_statement import Candidate, build_problem

__all__ = [
    "NODES",
    "PlacedPlan",
    "placed_plan",
    "placement_problem",
    "random_inputs",
    "random_plan",
    "relative_difference",
    "run_in_process",
]

NODES = ("device", "edge", "cloud")


@dataclass(frozen=True)
class PlacedPlan:
    """One compiled assignment.

    Attributes:
        specs: Node to its part.
        evaluation: The planner's, with the components and the timeline.
    """

    specs: Mapping[str, EpochSpec]
    evaluation: Evaluation

    @property
    def components(self) -> int:
        """How many components it has."""
        return len(self.evaluation.components)


def random_plan(
    graph: ModelGraph, blobs: BlobStore, seed: int, *, epoch: int = 1, addresses: Mapping[str, str] | None = None
) -> PlacedPlan:
    """Assign units to nodes at random and compile that.

    Even seeds draw every unit by itself (as many cuts as there can be); odd ones walk through the graph and change the
    node now and then (few large components, as real plans have).

    Args:
        graph: The model.
        blobs: Its blobs; receives the component graphs.
        seed: Of the assignment.
        epoch: Number the plan gets.
        addresses: Data-plane addresses; made up when the plan runs in one process.
    """
    draw = random.Random(seed)
    problem = placement_problem(graph, NODES)
    node_of: dict[str, str] = {}
    current = draw.choice(NODES)
    for operator in problem.operators:
        if seed % 2 == 0 or draw.random() < 0.1:
            current = draw.choice(NODES)
        node_of[operator.name] = current
    return placed_plan(graph, blobs, problem, node_of, epoch=epoch, addresses=addresses)


def placement_problem(graph: ModelGraph, nodes: Sequence[str]) -> Problem:
    """A problem over these nodes in which everything costs the same; the first is the source."""
    profile = ExecutionProfile(
        time_s={unit.name: 1e-3 for unit in graph.units},
        quantized_time_s={},
        whole_s=1e-3 * len(graph.units),
        runs=1,
        provider="none",
        threads=1,
        runtime="none",
        origin="modelled",
    )

    def link(to: str) -> LinkState:
        return LinkState(
            to=to, up=True, bandwidth_bytes_per_s=1e9, latency_s=1e-4, measured_at_unix_s=0.0, origin="modelled"
        )

    return build_problem(
        "placed",
        graph,
        quantizable=(),
        noise=None,
        source=nodes[0],
        candidates=[Candidate(name, 1.0, 1.0, None, profile) for name in nodes],
        links=[(a, link(b)) for a in nodes for b in nodes if a != b],
        goals=Goals(),
    )


def placed_plan(
    graph: ModelGraph,
    blobs: BlobStore,
    problem: Problem,
    node_of: Mapping[str, str],
    *,
    epoch: int = 1,
    addresses: Mapping[str, str] | None = None,
) -> PlacedPlan:
    """Compile one assignment.

    Args:
        graph: The model.
        blobs: Its blobs; receives the component graphs.
        problem: Of `placement_problem`, or one with the times that the evaluation is to use.
        node_of: Unit to node; who is not named, or bound to the source, runs on the source.
        epoch: Number the plan gets.
        addresses: Data-plane addresses; made up when the plan runs in one process.
    """
    source, pinned = problem.source, problem.constraints.pins or {}
    bound = {operator.name for operator in problem.operators if operator.role is not None or operator.name in pinned}
    assignment = Assignment(
        {
            operator.name: source if operator.name in bound else node_of.get(operator.name, source)
            for operator in problem.operators
        }
    )
    evaluation = evaluate(problem, assignment)
    specs = compile_plan(
        graph,
        blobs,
        {},
        assignment,
        evaluation,
        epoch=epoch,
        source=source,
        addresses=addresses or dict.fromkeys((node.name for node in problem.nodes), "127.0.0.1:1"),
    )
    return PlacedPlan(specs, evaluation)


def run_in_process(plan: PlacedPlan, blobs: BlobStore, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """Run a plan's components in one process; each node sees only what was routed to it.

    Raises:
        RuntimeError: Components wait for each other, or a tensor was routed to nobody.
    """
    source = plan.specs[NODES[0]]
    inputs = request_tensors(source, inputs)
    held: dict[str, dict[str, NDArray[Any]]] = {node: {} for node in plan.specs}
    held[source.source].update(inputs)
    for route in source.input_routes:
        for node in route.to:
            held[node][route.tensor] = inputs[route.tensor]
    waiting = [(node, component) for node, spec in plan.specs.items() for component in spec.components]
    while waiting:
        ready = [(n, c) for n, c in waiting if all(tensor.name in held[n] for tensor in c.inputs)]
        if not ready:
            raise RuntimeError(f"{len(waiting)} components wait for tensors that nobody sends")
        for node, component in ready:
            outputs = _run(component, blobs, held[node])
            held[node].update(outputs)
            for route in component.routes:
                for receiver in route.to:
                    held[receiver][route.tensor] = outputs[route.tensor]
        waiting = [entry for entry in waiting if entry not in ready]
    return {name: held[source.source][name] for name in source.outputs}


def random_inputs(
    graph: ModelGraph, seed: int, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, NDArray[Any]]:
    """Inputs in [0, 1), integers 0 or 1; of the planning shape where `shapes` says no other."""
    generator = np.random.default_rng(seed)
    inputs: dict[str, NDArray[Any]] = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        dtype = np.dtype(tensor.dtype)
        drawn = generator.random((shapes or {}).get(name, tensor.shape))
        inputs[name] = drawn.astype(dtype) if dtype.kind == "f" else (drawn > 0.5).astype(dtype)
    return inputs


def _run(component: ComponentSpec, blobs: BlobStore, held: Arrays) -> dict[str, NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(blobs.path(component.graph.digest)), options, providers=["CPUExecutionProvider"]
    )
    names = [tensor.name for tensor in component.outputs]
    results: Sequence[NDArray[Any]] = session.run(
        names, {tensor.name: held[tensor.name] for tensor in component.inputs}
    )
    return dict(zip(names, results, strict=True))
