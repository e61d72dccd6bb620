"""The planner against brute force, against proven optima, and at its limits."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.plan import solution_to_document
from edgesplit.problem import Constraints, Problem, load_problem
from edgesplit_controller.planner import evaluate, score, solve
from tests.planner.brute_force import best_score, random_problem

SHARED = Path(__file__).resolve().parents[3] / "shared" / "problems"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the reference problems are not beside this checkout")
SEEDS = st.integers(0, 1_000_000)


def assert_optimal(problem: Problem) -> None:
    expected = best_score(problem)
    solution = solve(problem)
    if expected is None:
        assert solution.status == "infeasible"
        assert solution.reason
        return
    assert solution.status == "optimal"
    assert solution.assignment is not None
    assert solution.score == pytest.approx(expected, abs=2e-6)
    checked = evaluate(problem, solution.assignment)
    assert checked == solution.evaluation
    assert not checked.violations
    assert score(problem, checked, solution.ranges) == pytest.approx(solution.score, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, operators=st.integers(1, 5))
def test_no_plan_is_better_under_sum(seed: int, operators: int) -> None:
    assert_optimal(random_problem(seed, operators=operators))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, operators=st.integers(1, 3))
def test_no_plan_is_better_under_critical_path(seed: int, operators: int) -> None:
    assert_optimal(random_problem(seed, operators=operators, model="critical-path"))


@pytest.mark.parametrize("seed", range(40))
def test_without_a_table_of_patterns_the_polynomial_itself_bounds_noise(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("edgesplit_controller.planner.noise.MAX_TABLE", 0)
    assert_optimal(random_problem(seed, operators=4))


@pytest.mark.parametrize("seed", range(30))
def test_a_relaxation_that_leaves_much_out_costs_time_only(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("edgesplit_controller.planner.factors.MAX_ENTRIES", 90.0 if seed % 2 else 1.0)
    monkeypatch.setattr("edgesplit_controller.planner.session.MANY_NODES", 1)
    assert_optimal(random_problem(seed, operators=4))


@pytest.mark.parametrize("seed", [196, 320, 360, 489, 497])
def test_contradicting_pins_and_links_are_infeasible(seed: int) -> None:
    assert_optimal(random_problem(1000 + seed))


@needs_shared
@pytest.mark.parametrize(
    "name",
    [
        "yolo11x-seg-device-noise0.1",
        "yolo11x-seg-device-edge-balanced-noise0.2",
        "yolo11x-seg-device-edge-energy-limit",
        "yolo11x-seg-device-edge-energy-noise0.05",
        "yolo11x-seg-device-edge-latency-noise0.05",
        "yolo11x-seg-device-edge-cloud-balanced-noise0.1",
        "yolo11x-seg-device-edge-cloud-codecs-noise0.05",
        "random-1142-6nodes",
        "random-300-4nodes-mixed",
        "random-60-3nodes-codecs",
        "random-60-3nodes-pins-nolink-memory",
    ],
)
def test_proven_optima_are_reached(name: str) -> None:
    problem = load_problem(SHARED / f"{name}.json.gz")
    expected = json.loads((SHARED / "expected.json").read_text())[name]
    solution = solve(problem)
    assert solution.status == "optimal"
    assert solution.evaluation is not None
    assert not solution.evaluation.violations
    assert solution.score == pytest.approx(expected["score"], abs=1e-6)
    if problem.objective.latency_weight:
        assert solution.ranges.best_latency_s == pytest.approx(expected["best_latency_s"], rel=2e-6)


@needs_shared
def test_an_unreachable_energy_limit_is_refused_with_the_nearest_one() -> None:
    problem = load_problem(SHARED / "yolo11x-seg-infeasible-energy-limit.json.gz")
    solution = solve(problem)
    assert solution.status == "infeasible"
    assert "device energy limit of 0.5 J" in solution.reason
    assert "3.65772 J" in solution.reason
    limits = msgspec.structs.replace(problem.constraints, device_energy_limit_j=3.65772)
    assert solve(msgspec.structs.replace(problem, constraints=limits)).status == "optimal"


def test_memory_that_holds_nothing_is_named() -> None:
    problem = random_problem(3)
    heavy = tuple(msgspec.structs.replace(o, weight_bytes=1000.0) for o in problem.operators)
    tight = tuple(msgspec.structs.replace(n, memory_bytes=100.0) for n in problem.nodes)
    solution = solve(msgspec.structs.replace(problem, operators=heavy, nodes=tight, constraints=Constraints()))
    assert solution.status == "infeasible"
    assert "memory" in solution.reason


@pytest.mark.parametrize("seed", range(8))
def test_a_hint_changes_the_way_and_not_the_answer(seed: int) -> None:
    problem = random_problem(seed)
    first = solve(problem)
    if first.assignment is not None:
        again = solve(problem, hint=first.assignment)
        assert again.score == pytest.approx(first.score, abs=1e-9)


def test_quantization_that_gains_nothing_is_left_out() -> None:
    problem = random_problem(3)
    useless = tuple(
        msgspec.structs.replace(o, quantizable=o.role is None, quantized_time_s=o.time_s) for o in problem.operators
    )
    tensors = tuple(msgspec.structs.replace(t, quantized_bytes=None) for t in problem.tensors)
    limits = Constraints(max_noise=None)
    solution = solve(msgspec.structs.replace(problem, operators=useless, tensors=tensors, constraints=limits))
    assert solution.assignment is not None
    assert solution.assignment.quantized == frozenset()


def test_a_hint_for_another_model_is_ignored() -> None:
    hint = solve(random_problem(3, operators=2)).assignment
    assert solve(random_problem(4, operators=5), hint=hint).status == "optimal"


def test_without_time_a_plan_comes_back_with_its_gap() -> None:
    problem = random_problem(11, operators=12, model="critical-path")
    solution = solve(problem, time_limit_s=0.05)
    assert solution.status in ("optimal", "feasible")
    assert solution.gap is not None
    assert solution.gap >= 0
    assert solution.evaluation is not None
    assert not solution.evaluation.violations


def test_the_document_has_the_fixed_keys_and_is_json() -> None:
    problem = random_problem(5)
    document = solution_to_document(problem, solve(problem))
    decoded = json.loads(json.dumps(document))
    fixed = "status latency_s energy_j device_energy_j noise score bound gap assignment quantized codecs components"
    assert {*fixed.split(), "timeline", "timings", "reason"} <= decoded.keys()
    assert decoded["timings"].keys() == {"build_s", "solve_s", "total_s"}
    assert decoded["assignment"].keys() == {o.name for o in problem.operators}
    assert all(entry.keys() <= {"id", "node", "operators", "inputs", "outputs"} for entry in decoded["components"])
    transfers = [entry for entry in decoded["timeline"] if entry["kind"] == "transfer"]
    assert all({"from", "to", "tensor", "start_s", "end_s"} <= entry.keys() for entry in transfers)
