"""Figures of every size: what is claimed holds whatever the magnitudes, and a limit means what it says."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Literal

import msgspec
import pytest
from ortools.sat.python import cp_model

from edgesplit.errors import InvalidProblem, SolverRefused
from edgesplit.planning.plan import Assignment, Solution
from edgesplit.planning.problem import (
    CodecOption,
    Constraints,
    Link,
    Node,
    NoiseModel,
    NoiseTerm,
    Objective,
    Operator,
    Problem,
    Tensor,
)
from edgesplit.planning.problem_validation import validate
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.planner.cpsat.search import run_solver
from tests.planner.claims import wrong_claims
from tests.planner.exact_sums import exact_sums
from tests.planner.extremes import extreme_problem

Role = Literal["input", "output"]


def node(name: str, *, memory_bytes: float | None = None) -> Node:
    return Node(name=name, compute_power_w=1.0, transmit_power_w=1.0, memory_bytes=memory_bytes)


def links(*nodes: str, bandwidth: float = 1e6, latency_s: float = 0.0) -> tuple[Link, ...]:
    return tuple(
        Link(source=a, target=b, bandwidth_bytes_per_s=bandwidth, latency_s=latency_s)
        for a in nodes
        for b in nodes
        if a != b
    )


def operator(
    name: str, *times: float, role: Role | None = None, weight: float = 0.0, int8: float | None = None
) -> Operator:
    """Times on d, e and c; `int8` is the quantized time on every node as a factor."""
    time_s = dict(zip("dec", times, strict=False))
    quantized = None if int8 is None else {n: seconds * int8 for n, seconds in time_s.items()}
    return Operator(
        name=name,
        time_s=time_s,
        role=role,
        weight_bytes=weight,
        quantizable=int8 is not None,
        quantized_time_s=quantized,
    )


def tensor(
    name: str, size: float, producer: str, *consumers: str, codecs: tuple[CodecOption, ...] | None = None
) -> Tensor:
    return Tensor(name=name, bytes=size, producer=producer, consumers=consumers, codecs=codecs)


def assert_claims(problem: Problem) -> Solution:
    solution = solve(problem, time_limit_s=30.0)
    assert wrong_claims(problem, solution) == []
    return solution


@pytest.mark.parametrize("seed", [*range(60), 167, 191, 223, 267, 735, 1011, 1937, 4421, 4910, 5451, 12215])
def test_every_claim_holds_at_extreme_figures(seed: int) -> None:
    assert_claims(extreme_problem(seed))


@pytest.mark.parametrize("slowness", [1e3, 6e3, 1e5, 1e9, 1e15])
def test_a_source_far_slower_than_the_others_is_no_overflow(slowness: float) -> None:
    """Two operators side by side on two fast nodes; the horizon is the slow source's."""
    problem = Problem(
        model="m",
        source="d",
        nodes=(node("d"), node("e"), node("c")),
        links=links("d", "e", "c", bandwidth=1e7, latency_s=1e-5),
        operators=(
            operator("in", 0.0, 0.0, 0.0, role="input"),
            operator("a", 0.01 * slowness, 0.01, 0.01),
            operator("b", 0.01 * slowness, 0.01, 0.01),
            operator("out", 0.0, 0.0, 0.0, role="output"),
        ),
        tensors=(tensor("i", 1e3, "in", "a", "b"), tensor("x", 1e3, "a", "out"), tensor("y", 1e3, "b", "out")),
        objective=Objective(latency_model="critical-path"),
    )
    solution = solve(problem, time_limit_s=30.0)
    assert solution.status == "optimal"
    assert solution.evaluation is not None
    assert solution.evaluation.latency_s == pytest.approx(0.01022, rel=1e-9)


@pytest.mark.parametrize("slowness", [1.0, 1e3, 3e3])
def test_times_rounded_to_ticks_prove_no_plan_that_is_not_the_best(slowness: float) -> None:
    """Chains whose times on the two fast nodes differ in the fifth digit."""
    times = {
        "a0": (1.4248652516259452, 1.4249291719044196e-3, 1.4249211680894965e-3),
        "a1": (0.5835506768306837, 0.5835560470857373e-3, 0.5835462271055302e-3),
        "b0": (0.944573573873013, 0.9445472239704948e-3, 0.9445693264051362e-3),
        "b1": (0.5247669674895685, 0.5247452302819085e-3, 0.5247779880262076e-3),
    }
    problem = Problem(
        model="m",
        source="d",
        nodes=(node("d"), node("e"), node("c")),
        links=links("d", "e", "c", latency_s=1e-5),
        operators=(
            operator("in", 0.0, 0.0, 0.0, role="input"),
            *(operator(name, slowness * d / 1e3, e, c) for name, (d, e, c) in times.items()),
            operator("out", 0.0, 0.0, 0.0, role="output"),
        ),
        tensors=(
            tensor("i", 100.0, "in", "a0", "b0"),
            *(tensor(f"t{a}", 100.0, a, b) for a, b in (("a0", "a1"), ("a1", "out"), ("b0", "b1"), ("b1", "out"))),
        ),
        objective=Objective(latency_model="critical-path"),
    )
    assert_claims(problem)


@pytest.mark.parametrize(("nodes", "readers"), [("d", 70), ("d", 100), ("de", 70), ("dec", 100)])
@pytest.mark.parametrize("latency_model", ["sum", "critical-path"])
def test_a_tensor_may_have_very_many_readers(
    nodes: str, readers: int, latency_model: Literal["sum", "critical-path"]
) -> None:
    names = [f"r{index}" for index in range(readers)]
    problem = Problem(
        model="m",
        source="d",
        nodes=tuple(node(name) for name in nodes),
        links=links(*nodes),
        operators=(operator("a", *[1.0] * len(nodes)), *(operator(name, *[1.0] * len(nodes)) for name in names)),
        tensors=(tensor("t", 1e6, "a", *names),),
        objective=Objective(latency_model=latency_model),
        constraints=Constraints(pins=dict.fromkeys(names, (nodes[-1],))),
    )
    solution = solve(problem, time_limit_s=30.0)
    assert solution.status == "optimal"
    assert solution.evaluation is not None
    assert solution.evaluation.latency_s == pytest.approx(1.0 + readers)


@pytest.mark.parametrize("readers", [70, 100])
def test_very_many_readers_with_a_choice_are_planned_to_the_optimum(readers: int) -> None:
    """Half of them are faster elsewhere by more than the one transfer costs."""
    names = [f"r{index}" for index in range(readers)]
    problem = Problem(
        model="m",
        source="d",
        nodes=(node("d"), node("e")),
        links=links("d", "e"),
        operators=(
            operator("a", 1.0, 50.0),
            *(operator(name, 1.0, 0.5 if index % 2 else 2.0) for index, name in enumerate(names)),
        ),
        tensors=(tensor("t", 1e6, "a", *names),),
    )
    solution = solve(problem, time_limit_s=30.0)
    assert solution.status == "optimal"
    assert solution.evaluation is not None
    assert solution.evaluation.latency_s == pytest.approx(1.0 + 1.0 + 0.75 * readers)


def two_sides(time_s: float, *, limit_j: float | None = None, memory_bytes: float | None = None) -> Problem:
    """One operator slow on the source and fast elsewhere; sending costs the source energy."""
    return Problem(
        model="m",
        source="d",
        nodes=(node("d"), node("e", memory_bytes=memory_bytes)),
        links=links("d", "e"),
        operators=(
            operator("in", 0.0, 0.0, role="input"),
            operator("a", time_s, time_s / 10, weight=68719476742.0),
            operator("b", time_s / 3, time_s / 30),
        ),
        tensors=(tensor("x", 1e3, "in", "a"), tensor("t", 1e3, "a", "b")),
        constraints=Constraints(device_energy_limit_j=limit_j),
    )


@pytest.mark.parametrize(("room", "held"), [(68719476742.0, True), (68719476741.75, False), (68719476736.0, False)])
def test_memory_is_kept_to_the_byte(room: float, held: bool) -> None:
    solution = assert_claims(two_sides(1.0, memory_bytes=room))
    assert solution.assignment is not None
    assert (solution.assignment.node_of["a"] == "e") == held


@pytest.mark.parametrize("size", [2.0**52, 2.0**63, 1e30])
def test_memory_beyond_64_bits_is_only_a_number(size: float) -> None:
    problem = two_sides(1.0, memory_bytes=size)
    heavy = tuple(msgspec.structs.replace(o, weight_bytes=size) if o.name in "ab" else o for o in problem.operators)
    solution = assert_claims(msgspec.structs.replace(problem, operators=heavy))
    assert solution.assignment is not None
    assert solution.assignment.node_of["a"] == "e"
    assert solution.assignment.node_of["b"] == "d"


@pytest.mark.parametrize("time_s", [1e-9, 1e-3, 0.1, 1e6])
@pytest.mark.parametrize(("factor", "kept"), [(1.0, True), (1 + 1e-9, True), (1 - 1e-9, False), (1 - 1e-12, False)])
def test_a_limit_at_a_plans_own_value_admits_it_and_one_below_does_not(
    time_s: float, factor: float, kept: bool
) -> None:
    free = two_sides(time_s)
    source = Assignment(dict.fromkeys(("in", "a", "b"), "d"))
    away = Assignment({"in": "d", "a": "e", "b": "e"})
    frugal = min((source, away), key=lambda plan: evaluate(free, plan).device_energy_j)
    value_j = evaluate(free, frugal).device_energy_j
    solution = assert_claims(two_sides(time_s, limit_j=value_j * factor))
    assert (solution.status == "optimal") == kept
    if solution.evaluation is not None:
        assert solution.evaluation.device_energy_j <= value_j * factor


def test_a_limit_in_decimals_admits_the_sum_of_its_decimals() -> None:
    """0.1 + 0.2 is a little above 0.3 in binary, whatever the order of adding."""
    problem = Problem(
        model="m",
        source="d",
        nodes=(node("d"),),
        links=(),
        operators=tuple(operator(name, 0.1 * (index + 1)) for index, name in enumerate("ab")),
        tensors=(tensor("t", 1.0, "a", "b"),),
        constraints=Constraints(device_energy_limit_j=0.3),
    )
    assert Fraction(0.1) + Fraction(0.2) > Fraction(0.3)
    solution = assert_claims(problem)
    assert solution.evaluation is not None
    assert solution.evaluation.device_energy_j <= 0.3


def noisy(coefficients: list[float], max_noise: float, *, codec: bool = False, int8: float = 0.5) -> Problem:
    names = [f"q{index}" for index in range(len(coefficients))]
    half = CodecOption(name="half", bytes=1e4, noise=0.55, encode_s={"d": 0.0, "e": 0.0}, decode_s={"d": 0.0, "e": 0.0})
    return Problem(
        model="m",
        source="d",
        nodes=(node("d"), node("e")),
        links=links("d", "e", bandwidth=1e5),
        operators=(
            operator("in", 0.0, 0.0, role="input"),
            *(operator(name, 0.6, 0.1, int8=int8) for name in names),
        ),
        tensors=(
            tensor("x", 1e6, "in", names[0], codecs=(half,) if codec else None),
            *(tensor(f"t{index}", 1e6, a, b) for index, (a, b) in enumerate(itertools.pairwise(names))),
        ),
        noise_model=NoiseModel(
            intercept=0.0,
            terms=tuple(NoiseTerm(operators=(n,), coefficient=c) for n, c in zip(names, coefficients, strict=True)),
        ),
        constraints=Constraints(max_noise=max_noise),
    )


@pytest.mark.parametrize("count", [12, 15, 40])
@pytest.mark.parametrize("level", [1e-9, 1e-5, 1e3])
def test_noise_far_from_1_is_added_up_exactly(count: int, level: float) -> None:
    """All may be quantized: the limit is their sum, however small each term."""
    problem = noisy([level * 0.6661] * count, float(sum([Fraction(level * 0.6661)] * count)))
    solution = solve(problem, time_limit_s=30.0)
    assert solution.status == "optimal"
    assert solution.assignment is not None
    assert len(solution.assignment.quantized) == count
    under = solve(noisy([level * 0.6661] * count, level * 0.6661 * count * (1 - 1e-12)), time_limit_s=30.0)
    assert under.assignment is not None
    assert len(under.assignment.quantized) == count - 1


@pytest.mark.parametrize("count", [10, 15, 20])
def test_negative_noise_makes_room_for_a_codec_however_many_operators_there_are(count: int) -> None:
    """Quantizing the first one costs time and takes more noise away than the codec adds."""
    problem = noisy([-0.6] + [0.01] * (count - 1), 0.0, codec=True, int8=1.5)
    solution = solve(problem, time_limit_s=30.0)
    assert solution.status == "optimal"
    assert solution.assignment is not None
    assert solution.assignment.quantized == {"q0"}
    assert solution.evaluation is not None
    assert solution.evaluation.latency_s == pytest.approx(0.1 + 0.15 + 0.1 * (count - 1))


@pytest.mark.parametrize("size", [1e12, 1e15, 1e100])
def test_no_value_is_too_large_to_be_a_plans(size: float) -> None:
    problem = Problem(
        model="m",
        source="d",
        nodes=(node("d"), node("e")),
        links=links("d", "e", bandwidth=1.0)[:1],
        operators=(operator("a", 0.0, 0.0, role="input"), operator("b", 1.0, 1.0)),
        tensors=(tensor("t", size, "a", "b"),),
        constraints=Constraints(pins={"b": ("e",)}),
    )
    solution = assert_claims(problem)
    assert solution.evaluation is not None
    assert solution.evaluation.latency_s == size + 1.0


def test_a_weight_of_nearly_nothing_keeps_its_proof() -> None:
    problem = two_sides(1.0)
    frugal = tuple(msgspec.structs.replace(n, compute_power_w=0.0, transmit_power_w=0.0) for n in problem.nodes)
    objective = Objective(latency_weight=1e-9, energy_weight=1.0)
    assert_claims(msgspec.structs.replace(problem, nodes=frugal, objective=objective))


def test_what_the_solver_refuses_is_an_error_with_its_message() -> None:
    model = cp_model.CpModel()
    parts = [model.new_int_var(0, 2**40, "") for _ in range(4)]
    model.minimize(cp_model.LinearExpr.weighted_sum(parts, [2**40] * 4))
    with pytest.raises(SolverRefused, match="overflow"):
        run_solver(model, 1.0)


def test_exact_sums_of_the_check_and_of_the_planner_agree() -> None:
    for seed in range(40):
        problem = extreme_problem(seed)
        solution = solve(problem, time_limit_s=30.0)
        if solution.assignment is not None and solution.evaluation is not None:
            sums = exact_sums(problem, solution.assignment)
            assert solution.evaluation.energy_j == float(sums.energy_j)
            assert solution.evaluation.noise == pytest.approx(float(sums.noise), rel=1e-14)


@pytest.mark.parametrize("time_s", [1e290, 1.7e308])
def test_sums_beyond_the_range_of_doubles_are_refused_with_a_sentence(time_s: float) -> None:
    with pytest.raises(InvalidProblem, match="times or energies may add up to"):
        validate(two_sides(time_s))


@pytest.mark.parametrize("time_s", [0.0, 1e-300, 1e-100, 1e250])
@pytest.mark.parametrize("latency_model", ["sum", "critical-path"])
def test_times_at_the_ends_of_the_range_of_doubles_are_planned(
    time_s: float, latency_model: Literal["sum", "critical-path"]
) -> None:
    problem = msgspec.structs.replace(two_sides(time_s), objective=Objective(latency_model=latency_model))
    assert_claims(problem)
