"""The planner against brute force, against proven optima, and at its limits."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.errors import PlanningTimedOut
from edgesplit.planning.problem import Constraints, Node, NoiseModel, NoiseTerm, Operator, Problem, Tensor
from edgesplit.planning.problem_file import load_problem
from edgesplit_controller.cli.solution_document import solution_document
from edgesplit_controller.planner import evaluate, score, solve
from edgesplit_controller.planner.cpsat.search import SolverAnswer
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


@pytest.mark.parametrize(
    ("model", "operators", "seeds"),
    [
        ("sum", 2, range(100)),
        ("sum", 3, range(100, 200)),
        ("sum", 4, range(200, 300)),
        ("sum", 5, range(300, 400)),
        ("sum", 6, range(400, 425)),
        ("critical-path", 2, range(500, 580)),
        ("critical-path", 3, range(600, 680)),
        ("critical-path", 4, range(700, 730)),
    ],
)
def test_no_plan_is_better(model: Literal["sum", "critical-path"], operators: int, seeds: range) -> None:
    for seed in seeds:
        assert_optimal(random_problem(seed, operators=operators, model=model))


@pytest.mark.parametrize(
    ("model", "operators", "seeds"),
    [("sum", 3, range(80)), ("sum", 5, range(80, 160)), ("critical-path", 3, range(40))],
)
def test_codecs_for_one_precision_alone_are_used_with_it_alone(
    model: Literal["sum", "critical-path"], operators: int, seeds: range
) -> None:
    for seed in seeds:
        assert_optimal(random_problem(seed, operators=operators, model=model, precisions=True))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, operators=st.integers(1, 5), model=st.sampled_from(["sum", "critical-path"]))
def test_no_plan_is_better_whatever_the_seed(seed: int, operators: int, model: Literal["sum", "critical-path"]) -> None:
    assert_optimal(random_problem(seed, operators=operators if model == "sum" else min(operators, 3), model=model))


@pytest.mark.parametrize("seed", range(40))
def test_better_starts_change_the_way_and_not_the_answer(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("edgesplit_controller.planner.solving.session.MANY_FLOWS", -1)
    assert_optimal(random_problem(seed, operators=5))


@pytest.mark.parametrize("seed", range(40))
def test_without_a_table_of_patterns_the_polynomial_itself_bounds_noise(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("edgesplit_controller.planner.bounds.noise_patterns.MAX_TABLE", 0)
    assert_optimal(random_problem(seed, operators=4))


@pytest.mark.parametrize("seed", range(30))
def test_a_relaxation_that_leaves_much_out_costs_time_only(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("edgesplit_controller.planner.bounds.relaxation.MAX_ENTRIES", 90.0 if seed % 2 else 1.0)
    monkeypatch.setattr("edgesplit_controller.planner.solving.session.MANY_NODES", 1)
    assert_optimal(random_problem(seed, operators=4))


@pytest.mark.parametrize("seed", [196, 320, 360, 489, 497])
def test_contradicting_pins_and_links_are_infeasible(seed: int) -> None:
    assert_optimal(random_problem(1000 + seed))


def with_held_weights(problem: Problem, seed: int) -> Problem:
    """The same, with little memory, on nodes that hold some weights whatever the plan is."""
    draw = random.Random(f"held {seed}")
    names = [node.name for node in problem.nodes]

    def some() -> tuple[str, ...]:
        return tuple(name for name in names if draw.random() < 0.4)

    return msgspec.structs.replace(
        problem,
        nodes=tuple(msgspec.structs.replace(node, memory_bytes=float(draw.randint(0, 120))) for node in problem.nodes),
        operators=tuple(
            msgspec.structs.replace(operator, held_on=some(), quantized_held_on=some())
            for operator in problem.operators
        ),
    )


@pytest.mark.parametrize("model", ["sum", "critical-path"])
def test_no_plan_is_better_where_nodes_hold_weights_already(model: Literal["sum", "critical-path"]) -> None:
    possible = 0
    for seed in range(900, 945):
        problem = with_held_weights(random_problem(seed, operators=3, model=model), seed)
        assert_optimal(problem)
        possible += solve(problem).assignment is not None
        bare = tuple(msgspec.structs.replace(o, held_on=(), quantized_held_on=()) for o in problem.operators)
        if solve(msgspec.structs.replace(problem, operators=bare)).assignment is not None:
            possible -= 1
    assert possible > 5, "what is held makes room for plans"


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


@pytest.mark.parametrize("limit_j", [1e-12, 1e-9, 1e-6, 1e-3])
def test_a_limit_far_below_every_price_is_proven_out_of_reach(limit_j: float) -> None:
    problem = random_problem(3, operators=4, model="sum")
    constraints = msgspec.structs.replace(problem.constraints, device_energy_limit_j=limit_j)
    limited = msgspec.structs.replace(problem, constraints=constraints)
    assert best_score(limited) is None
    solution = solve(limited)
    assert solution.status == "infeasible"
    assert "device_energy_limit_j" in solution.reason


def test_memory_that_holds_nothing_is_refused_with_what_would() -> None:
    problem = random_problem(3)
    heavy = tuple(
        msgspec.structs.replace(o, weight_bytes=1000.0, quantizable=False, quantized_time_s=None)
        for o in problem.operators
    )
    tight = tuple(msgspec.structs.replace(n, memory_bytes=100.0) for n in problem.nodes)
    problem = msgspec.structs.replace(problem, operators=heavy, nodes=tight, constraints=Constraints())
    solution = solve(problem)
    assert solution.status == "infeasible"
    assert "The memory of 'device', 100 B" in solution.reason
    needed = float(re.findall(r"the least that gives a plan is (\d+) B", solution.reason)[0])
    assert needed == 1000.0 * len(heavy)
    roomy = tuple(msgspec.structs.replace(n, memory_bytes=needed) if n.name == "device" else n for n in tight)
    assert solve(msgspec.structs.replace(problem, nodes=roomy)).status == "optimal"


def test_noise_that_memory_makes_necessary_is_refused_with_the_least_that_suffices() -> None:
    problem = noisy_and_tight(max_noise=0.1)
    solution = solve(problem)
    assert solution.status == "infeasible"
    assert "The memory of 'device', 125 B" in solution.reason
    assert "raise max_noise from 0.1 to 0.3" in solution.reason
    assert solve(noisy_and_tight(max_noise=0.3)).status == "optimal"


def noisy_and_tight(*, max_noise: float) -> Problem:
    """Two operators of 100 B for 125 B of memory: one must be quantized, the second less noisily than the first."""
    time_s = {"device": 1.0}
    operators = tuple(
        Operator(name=name, time_s=time_s, weight_bytes=100.0, quantizable=True, quantized_time_s=time_s)
        for name in ("a", "b")
    )
    return Problem(
        model="m",
        source="device",
        nodes=(Node(name="device", compute_power_w=1.0, transmit_power_w=1.0, memory_bytes=125.0),),
        links=(),
        operators=operators,
        tensors=(Tensor(name="t", bytes=1.0, producer="a", consumers=("b",)),),
        noise_model=NoiseModel(
            intercept=0.1,
            terms=(NoiseTerm(operators=("a",), coefficient=0.5), NoiseTerm(operators=("b",), coefficient=0.2)),
        ),
        constraints=Constraints(max_noise=max_noise),
    )


def test_running_out_of_time_without_a_plan_is_no_proof_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> SolverAnswer:
        return SolverAnswer(values=None, bound=-float("inf"), proven=False, seconds=0.0)

    monkeypatch.setattr("edgesplit_controller.planner.cpsat.minimisation.run_solver", interrupted)
    monkeypatch.setattr("edgesplit_controller.planner.solving.session.relax", lambda *_: None)
    monkeypatch.setattr("edgesplit_controller.planner.flows.flow_program.FlowProgram.plan", lambda *_: None)
    with pytest.raises(PlanningTimedOut, match="none was proven impossible"):
        solve(noisy_and_tight(max_noise=0.3))


def test_running_out_of_time_with_the_source_alone_as_a_plan_returns_it() -> None:
    problem = random_problem(11, operators=5)
    solution = solve(problem, time_limit_s=0.0)
    assert solution.status in ("feasible", "optimal")
    assert solution.evaluation is not None
    assert not solution.evaluation.violations


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


def test_without_time_a_plan_comes_back_whose_gap_the_best_plan_confirms() -> None:
    problem = random_problem(11, operators=12, model="critical-path")
    solution = solve(problem, time_limit_s=0.05)
    assert solution.status in ("optimal", "feasible")
    assert solution.score is not None
    assert solution.gap is not None
    assert solution.evaluation is not None
    assert not solution.evaluation.violations
    best = solve(problem).evaluation
    assert best is not None
    assert score(problem, best, solution.ranges) >= solution.score - solution.gap - 1e-9


def test_the_document_has_the_fixed_keys_and_is_json() -> None:
    problem = random_problem(5)
    document = solution_document(problem, solve(problem), load_s=0.1)
    decoded = json.loads(msgspec.json.encode(document))
    fixed = "status latency_s energy_j device_energy_j noise score bound gap assignment quantized codecs components"
    assert {*fixed.split(), "timeline", "timings", "reason"} <= decoded.keys()
    assert decoded["timings"].keys() == {"load_s", "build_s", "solve_s", "total_s"}
    assert decoded["assignment"].keys() == {o.name for o in problem.operators}
    assert all(entry.keys() <= {"id", "node", "operators", "inputs", "outputs"} for entry in decoded["components"])
    transfers = [entry for entry in decoded["timeline"] if entry["kind"] == "transfer"]
    assert all({"from", "to", "tensor", "start_s", "end_s"} <= entry.keys() for entry in transfers)
