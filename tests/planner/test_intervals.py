"""Intervals of predictions: closed forms, a plain simulation of what could be, and what two plans have in common."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from statistics import NormalDist

import msgspec
import numpy as np
import pytest

from edgesplit.planning.plan import Assignment, Component
from edgesplit.planning.problem import CodecOption, Link, Node, Objective, Operator, Problem, Tensor
from edgesplit.planning.spreads import Spreads
from edgesplit_controller.planner import evaluate
from edgesplit_controller.planner.studies.sampling import gain_interval, prediction_interval, sampled
from tests.planner.brute_force import all_assignments, random_problem

NORMAL = NormalDist()
NODES = ("device", "edge", "cloud")


def problem_of(operators: dict[str, float], tensors: dict[str, tuple[str, tuple[str, ...]]]) -> Problem:
    """Operators that take as long everywhere, tensors of 1 MB over links of 100 MB/s and 2 ms."""
    ends = [Operator(name="in", time_s=dict.fromkeys(NODES, 0.0), role="input")]
    ends.append(Operator(name="out", time_s=dict.fromkeys(NODES, 0.0), role="output"))
    codec = CodecOption(
        name="half", bytes=5e5, encode_s=dict.fromkeys(NODES, 0.003), decode_s=dict.fromkeys(NODES, 0.002)
    )
    return Problem(
        model="m",
        source="device",
        nodes=tuple(Node(name=name, compute_power_w=5.0, transmit_power_w=2.0) for name in NODES),
        links=tuple(
            Link(source=a, target=b, bandwidth_bytes_per_s=1e8, latency_s=0.002)
            for a, b in itertools.permutations(NODES, 2)
        ),
        operators=(
            ends[0],
            *(Operator(name=name, time_s=dict.fromkeys(NODES, time_s)) for name, time_s in operators.items()),
            ends[1],
        ),
        tensors=tuple(
            Tensor(name=name, bytes=1e6, producer=producer, consumers=consumers, codecs=(codec,))
            for name, (producer, consumers) in tensors.items()
        ),
        objective=Objective(latency_model="critical-path"),
    )


CHAIN = problem_of({"a": 0.04, "b": 0.06}, {"x": ("in", ("a",)), "y": ("a", ("b",)), "z": ("b", ("out",))})
BRANCHES = problem_of(
    {"left": 0.1, "right": 0.1},
    {"x": ("in", ("left", "right")), "l": ("left", ("out",)), "r": ("right", ("out",))},
)


def on(problem: Problem, codecs: dict[str, str] | None = None, **node_of: str) -> Assignment:
    placed = {operator.name: "device" for operator in problem.operators} | node_of
    return Assignment(placed, codecs=codecs or {})


def quantiles(median: float, spread: float) -> tuple[float, float]:
    return median * math.exp(NORMAL.inv_cdf(0.05) * spread), median * math.exp(NORMAL.inv_cdf(0.95) * spread)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("model", ["sum", "critical-path"])
def test_certain_durations_give_what_the_referee_says(seed: int, model: str) -> None:
    problem = random_problem(seed, model="sum" if model == "sum" else "critical-path", operators=6)
    everything = list(itertools.islice(all_assignments(problem), 2000))
    random.Random(seed).shuffle(everything)
    for assignment in everything[:5]:
        evaluation = evaluate(problem, assignment)
        plan = sampled(problem, assignment, evaluation, Spreads())
        if not evaluation.timeline_s < float("inf"):
            assert plan is None
            continue
        assert plan is not None
        assert plan.timeline_s == pytest.approx(evaluation.timeline_s, rel=1e-9, abs=1e-12)
        assert plan.energy_j == pytest.approx(evaluation.energy_j, rel=1e-9, abs=1e-12)
        if model == "sum":
            assert plan.added_s == pytest.approx(evaluation.latency_s, rel=1e-9, abs=1e-12)


def test_of_one_component_on_one_node_independent_errors_add_up_as_squares() -> None:
    assignment = on(CHAIN)
    evaluation = evaluate(CHAIN, assignment)
    found = prediction_interval(
        CHAIN, assignment, evaluation, Spreads(nodes={"device": 0.009}, components={0: 0.012}, whole=0.036)
    )
    assert found is not None
    assert found.latency_s == pytest.approx(quantiles(0.1, 0.039), rel=0.005)
    assert found.energy_j == pytest.approx(quantiles(0.5, 0.039), rel=0.005)


@pytest.mark.parametrize("stretch", [0.5, 3.0])
def test_what_trials_taught_stretches_both_intervals_around_the_prediction_and_no_samples(stretch: float) -> None:
    assignment = on(CHAIN)
    evaluation = evaluate(CHAIN, assignment)
    spreads = Spreads(nodes={"device": 0.03})
    stretched = dataclasses.replace(spreads, stretch=stretch)
    found = prediction_interval(CHAIN, assignment, evaluation, stretched)
    assert found is not None
    assert found.latency_s == pytest.approx(quantiles(0.1, 0.03 * stretch), rel=0.005)
    assert found.energy_j == pytest.approx(quantiles(0.5, 0.03 * stretch), rel=0.005)
    one, other = (sampled(CHAIN, assignment, evaluation, each) for each in (spreads, stretched))
    assert one is not None and other is not None
    assert (one.timeline_s == other.timeline_s).all()


def test_a_transfer_errs_by_the_rate_of_its_link_and_by_its_latency() -> None:
    assignment = on(CHAIN, a="edge", b="edge")
    evaluation = evaluate(CHAIN, assignment)
    rate = prediction_interval(CHAIN, assignment, evaluation, Spreads(links={("device", "edge"): (0.3, 0.0)}))
    latency = prediction_interval(CHAIN, assignment, evaluation, Spreads(links={("edge", "device"): (0.0, 0.0005)}))
    assert rate is not None
    assert latency is not None
    certain_s = evaluation.timeline_s - 0.01
    assert rate.latency_s == pytest.approx([certain_s + end for end in quantiles(0.01, 0.3)], rel=0.005)
    spread_s = 0.0005 * NORMAL.inv_cdf(0.95)
    assert latency.latency_s == pytest.approx(
        (evaluation.timeline_s - spread_s, evaluation.timeline_s + spread_s), rel=0.005
    )


def test_of_two_branches_the_later_one_decides() -> None:
    assignment = on(BRANCHES, left="edge", right="cloud")
    evaluation = evaluate(BRANCHES, assignment)
    sides = {part.id for part in evaluation.components}
    found = prediction_interval(BRANCHES, assignment, evaluation, Spreads(components=dict.fromkeys(sides, 0.05)))
    assert found is not None
    # Both are on the way for as long; P(max <= x) is the square of P(one <= x).
    certain_s = evaluation.timeline_s - 0.1
    low, high = (certain_s + 0.1 * math.exp(0.05 * NORMAL.inv_cdf(math.sqrt(share))) for share in (0.05, 0.95))
    assert found.latency_s == pytest.approx((low, high), rel=0.005)


def test_an_interval_contains_its_prediction_where_almost_every_sample_is_later() -> None:
    names = [f"b{index}" for index in range(12)]
    problem = problem_of(
        dict.fromkeys(names, 0.1),
        {"x": ("in", tuple(names)), **{f"t{name}": (name, ("out",)) for name in names}},
    )
    nodes = [Node(name=name, compute_power_w=1.0, transmit_power_w=1.0) for name in ("device", *names)]
    places = [node.name for node in nodes]
    problem = msgspec.structs.replace(
        problem,
        nodes=tuple(nodes),
        links=tuple(
            Link(source=a, target=b, bandwidth_bytes_per_s=1e12, latency_s=0.0)
            for a, b in itertools.permutations(places, 2)
        ),
        operators=tuple(
            msgspec.structs.replace(o, time_s=dict.fromkeys(places, o.time_s["device"])) for o in problem.operators
        ),
    )
    assignment = Assignment({**on(problem).node_of, **{name: name for name in names}})
    evaluation = evaluate(problem, assignment)
    plan = sampled(problem, assignment, evaluation, spreads := Spreads(nodes=dict.fromkeys(names, 0.05)))
    found = prediction_interval(problem, assignment, evaluation, spreads)
    assert plan is not None
    assert found is not None
    assert np.quantile(plan.timeline_s, 0.05) > evaluation.timeline_s
    assert found.latency_s[0] == evaluation.timeline_s


def as_it_turns_out(
    problem: Problem, assignment: Assignment, parts: tuple[Component, ...], spreads: Spreads, r: random.Random
) -> tuple[float, float]:
    """Latency and energy of a machine drawn at random: the problem with other figures, given to the referee."""
    node = {name: math.exp(r.gauss(0, spread)) for name, spread in spreads.nodes.items()}
    coding = {(n, kind): math.exp(r.gauss(0, s)) for n, s in spreads.codings.items() for kind in ("encode", "decode")}
    own = {
        name: math.exp(error)
        for part in parts
        for error in [r.gauss(0, spreads.components[part.id])]
        for name in part.operators
    }
    links: list[Link] = []
    for link in problem.links:
        rate, latency_s = spreads.links[link.source, link.target]
        links.append(
            msgspec.structs.replace(
                link,
                bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * math.exp(-r.gauss(0, rate)),
                latency_s=max(0.0, link.latency_s + r.gauss(0, latency_s)),
            )
        )
    operators = tuple(
        msgspec.structs.replace(o, time_s={n: s * node[n] * own.get(o.name, 1.0) for n, s in o.time_s.items()})
        for o in problem.operators
    )
    tensors = tuple(
        msgspec.structs.replace(
            tensor,
            codecs=tuple(
                msgspec.structs.replace(
                    codec,
                    encode_s={n: s * node[n] * coding[n, "encode"] for n, s in codec.encode_s.items()},
                    decode_s={n: s * node[n] * coding[n, "decode"] for n, s in codec.decode_s.items()},
                )
                for codec in tensor.codecs or ()
            ),
        )
        for tensor in problem.tensors
    )
    drawn = msgspec.structs.replace(problem, links=tuple(links), operators=operators, tensors=tensors)
    evaluation, whole = evaluate(drawn, assignment), math.exp(r.gauss(0, spreads.whole))
    return evaluation.timeline_s * whole, evaluation.energy_j * whole


MIXED = problem_of(
    {"head": 0.05, "left": 0.1, "right": 0.07, "tail": 0.03},
    {
        "x": ("in", ("head",)),
        "h": ("head", ("left", "right")),
        "l": ("left", ("tail",)),
        "r": ("right", ("tail",)),
        "y": ("tail", ("out",)),
    },
)


def test_nine_of_ten_machines_as_unsure_as_stated_lie_in_the_interval() -> None:
    assignment = on(MIXED, {"h": "half", "l": "half"}, left="edge", right="cloud")
    evaluation = evaluate(MIXED, assignment)
    assert len(evaluation.components) == 4
    spreads = Spreads(
        nodes={"device": 0.02, "edge": 0.04, "cloud": 0.03},
        components={part.id: 0.05 if part.id % 2 else 0.02 for part in evaluation.components},
        codings=dict.fromkeys(NODES, 0.15),
        links={(link.source, link.target): (0.1, 0.0003) for link in MIXED.links},
        whole=0.015,
    )
    found = prediction_interval(MIXED, assignment, evaluation, spreads)
    assert found is not None
    truths = [
        as_it_turns_out(MIXED, assignment, evaluation.components, spreads, random.Random(seed)) for seed in range(1500)
    ]
    for (low, high), values in ((found.latency_s, [t for t, _ in truths]), (found.energy_j, [e for _, e in truths])):
        assert 0.88 <= np.mean([low <= value <= high for value in values]) <= 0.92
        # Neither end is bought by the other.
        assert 0.03 <= np.mean([value < low for value in values]) <= 0.07


def test_what_two_plans_have_in_common_leaves_their_gain_sure() -> None:
    slow, fast = on(CHAIN), on(CHAIN, {"y": "half"})
    quick = msgspec.structs.replace(
        CHAIN,
        operators=tuple(
            msgspec.structs.replace(o, time_s={n: s * 0.9 for n, s in o.time_s.items()}) for o in CHAIN.operators
        ),
    )
    spreads = Spreads(nodes={"device": 0.1}, components={0: 0.1}, whole=0.1)
    old = sampled(CHAIN, slow, evaluate(CHAIN, slow), spreads)
    new = sampled(quick, fast, evaluate(quick, fast), spreads)
    assert old is not None
    assert new is not None
    assert gain_interval(old.timeline_s, old.timeline_s, 0.0) == (0.0, 0.0)
    assert gain_interval(old.timeline_s, new.timeline_s, 0.1) == pytest.approx((0.1, 0.1), abs=1e-6)


def test_a_gain_by_another_node_is_as_unsure_as_both_nodes() -> None:
    here, there = on(CHAIN), on(CHAIN, a="edge", b="edge")
    spreads = Spreads(nodes={"device": 0.03, "edge": 0.04})
    free = msgspec.structs.replace(
        CHAIN,
        links=tuple(msgspec.structs.replace(k, bandwidth_bytes_per_s=1e15, latency_s=0.0) for k in CHAIN.links),
    )
    old = sampled(free, here, evaluate(free, here), spreads)
    new = sampled(free, there, evaluate(free, there), spreads)
    assert old is not None
    assert new is not None
    reach = NORMAL.inv_cdf(0.9) * 0.05
    low, high = gain_interval(old.timeline_s, new.timeline_s, 0.0)
    assert (low, high) == pytest.approx((1 - math.exp(reach), 1 - math.exp(-reach)), abs=0.005)


def test_components_err_alike_as_far_as_they_share_operators() -> None:
    whole, most = on(MIXED), on(MIXED, tail="edge")
    spreads = Spreads(components={0: 0.1, 1: 0.1})
    free = msgspec.structs.replace(
        MIXED,
        links=tuple(msgspec.structs.replace(k, bandwidth_bytes_per_s=1e15, latency_s=0.0) for k in MIXED.links),
    )
    old = sampled(free, whole, evaluate(free, whole), spreads)
    moved = evaluate(free, most)
    assert [part.node for part in moved.components] == ["device", "device", "edge"]
    new = sampled(free, most, moved, spreads)
    assert old is not None
    assert new is not None
    alike = np.corrcoef(np.log(old.timeline_s), np.log(new.timeline_s))[0, 1]
    assert alike > 0.95
