"""What a plan of their own would save the requests of some sizes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgesplit.control.figure_messages import LinkState
from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.deciding.changes.shape_worth import gain, gain_at, problem_at
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.models.intake.variants import variant
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.stating.problem_statement import Candidate, build_problem
from tests.controller.test_planning_shapes import LARGE, SMALL, records

SMALL_SIZES, LARGE_SIZES = (("image", SMALL),), (("image", LARGE),)


def stated(graph: ModelGraph, *, seconds: float = 1e-3, latency_s: float = 0.01) -> Problem:
    """A slow device and an edge ten times as fast, some milliseconds away.

    Args:
        graph: The model's.
        seconds: Each unit takes on the device. [s]
        latency_s: Of the link. [s]
    """

    def candidate(name: str, factor: float) -> Candidate:
        times = {unit.name: seconds * factor for unit in graph.units}
        profile = ExecutionProfile(
            time_s=times,
            quantized_time_s={},
            whole_s=sum(times.values()),
            runs=1,
            provider="none",
            threads=1,
            runtime="none",
            origin="modelled",
        )
        return Candidate(name, 1.0, 1.0, None, profile)

    def link(to: str) -> LinkState:
        return LinkState(
            to=to, up=True, bandwidth_bytes_per_s=20e6, latency_s=latency_s, measured_at_unix_s=0.0, origin="modelled"
        )

    return build_problem(
        "tiny",
        graph,
        quantizable=(),
        noise=None,
        source="device",
        candidates=[candidate("device", 1.0), candidate("edge", 0.1)],
        links=[("device", link("edge")), ("edge", link("device"))],
        goals=Goals(latency_weight=1.0, energy_weight=0.0),
    )


def best(problem: Problem) -> Assignment:
    found = solve(problem).assignment
    assert found is not None
    return found


def test_bytes_and_work_at_other_sizes_are_those_of_the_model_at_these(tmp_path: Path) -> None:
    first, blobs = records(tmp_path)
    there, known = (
        problem_at(stated(first.graph), first.graph, LARGE_SIZES),
        stated(variant(first, "tiny@2", {"image": LARGE}, blobs).graph),
    )
    assert [tensor.bytes for tensor in there.tensors] == [tensor.bytes for tensor in known.tensors]
    assert [operator.flops for operator in there.operators] == pytest.approx([one.flops for one in known.operators])
    assert there.operators[1].time_s == pytest.approx({"device": 8e-3, "edge": 8e-4})
    assert problem_at(stated(first.graph), first.graph, SMALL_SIZES) == stated(first.graph)


def test_a_plan_of_their_own_saves_requests_that_are_worth_sending_elsewhere(tmp_path: Path) -> None:
    first, _ = records(tmp_path)
    problem = stated(first.graph)
    serving = best(problem)
    assert set(serving.node_of.values()) == {"device"}
    there = problem_at(problem, first.graph, LARGE_SIZES)
    saved = 1 - evaluate(there, best(there)).latency_s / evaluate(there, serving).latency_s
    assert saved > 0.1
    assert gain_at(problem, first.graph, LARGE_SIZES, serving, time_limit_s=30.0) == pytest.approx(saved)


def test_where_the_same_plan_is_best_nothing_is_saved_however_far_the_sizes_are(tmp_path: Path) -> None:
    first, _ = records(tmp_path)
    problem = stated(first.graph, latency_s=10.0)
    assert gain_at(problem, first.graph, LARGE_SIZES, best(problem), time_limit_s=30.0) == pytest.approx(0.0)


def test_a_plan_that_breaks_a_limit_saves_nothing_and_one_that_keeps_it_everything(tmp_path: Path) -> None:
    first, _ = records(tmp_path)
    problem = stated(first.graph)
    kept = evaluate(problem, best(problem))
    broken = msgspec.structs.replace(kept, violations=("too much",))
    pairs = ((broken, kept), (kept, broken), (broken, broken))
    assert [gain(before, after, problem.objective) for before, after in pairs] == [1.0, 0.0, 0.0]
