"""Limits on device energy: labels prove what prices leave open, and agree with trying everything and with search."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import numpy as np
import pytest

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
from edgesplit.planning.problem_file import problem_from_json, problem_to_json
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.planner.bounds.labels.dominance import undominated
from edgesplit_controller.planner.bounds.labels.labelling import Labelling
from edgesplit_controller.planner.cpsat.minimisation import SolveOutcome
from edgesplit_controller.planner.meaning.measures import SumLimit, WeightedSum
from edgesplit_controller.planner.solving.session import Session
from tests.planner.brute_force import all_assignments, best_score, exact_costs, random_problem

NODES = ("device", "edge", "cloud", "hub")
SPEED = {"device": 1.0, "edge": 0.45, "cloud": 0.12, "hub": 0.3}
POWER_W = {"device": (2.9, 3.5), "edge": (5.8, 2.3), "cloud": (35.0, 0.01), "hub": (9.0, 1.5)}
FIRST_HOP_BYTES_PER_S = {"edge": 4.7e6, "cloud": 4.4e6, "hub": 4.6e6}


def long_network(
    *, operators: int = 120, nodes: int = 3, limit_j: float | None, weights: tuple[float, float], codecs: bool = False
) -> Problem:
    """A long network with shortcuts; its input reaches the cloud through the edge at less of the device's energy."""
    draw = random.Random(17)
    names = NODES[:nodes]
    ops = [Operator(name="in", time_s=dict.fromkeys(names, 0.0), role="input")]
    for index in range(operators):
        work = draw.uniform(0.5, 1.5) * 3.0 / operators
        times = {name: work * SPEED[name] * draw.uniform(0.9, 1.1) for name in names}
        half = {name: time * 0.6 for name, time in times.items()} if index % 12 == 5 else None
        ops.append(Operator(name=f"o{index}", time_s=times, quantizable=half is not None, quantized_time_s=half))
    ops.append(Operator(name="out", time_s=dict.fromkeys(names, 0.0), role="output"))
    tensors: list[Tensor] = []
    for index, op in enumerate(ops[:-1]):
        readers = {ops[index + 1].name}
        if index % 7 == 3 and index + 5 < len(ops):
            readers.add(ops[index + 5].name)
        # Whatever lies between is larger than the input, so that cutting later does not pay.
        size = {0: 4.9e6, operators: 1e5}.get(index, draw.uniform(5e6, 12e6))
        coding_s = dict.fromkeys(names, 0.01)
        codec = CodecOption(name="fp16", bytes=size / 2, noise=0.01, encode_s=coding_s, decode_s=coding_s)
        tensors.append(
            Tensor(
                name=f"t{index}",
                bytes=size,
                producer=op.name,
                consumers=tuple(sorted(readers)),
                codecs=(codec,) if codecs and index % 3 == 0 else None,
            )
        )
    links = tuple(
        Link(
            source=a,
            target=b,
            bandwidth_bytes_per_s=FIRST_HOP_BYTES_PER_S[b] if a == "device" else 17e6,
            latency_s=0.05 if "cloud" in (a, b) else 0.005,
        )
        for a in names
        for b in names
        if a != b
    )
    terms = [NoiseTerm(operators=(op.name,), coefficient=draw.uniform(0.003, 0.02)) for op in ops if op.quantizable]
    problem = Problem(
        model="long",
        source="device",
        nodes=tuple(Node(name=n, compute_power_w=POWER_W[n][0], transmit_power_w=POWER_W[n][1]) for n in names),
        links=links,
        operators=tuple(ops),
        tensors=tuple(tensors),
        noise_model=NoiseModel(intercept=0.005, terms=tuple(terms)),
        objective=Objective(latency_weight=weights[0], energy_weight=weights[1], latency_model="sum"),
        constraints=Constraints(max_noise=0.06, device_energy_limit_j=limit_j),
    )
    return problem_from_json(problem_to_json(problem))


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("limit_j", [3.68, 3.8, 3.95])
@pytest.mark.parametrize("nodes", [3, 4])
def test_a_device_energy_limit_on_a_long_network_is_proven_without_search(
    nodes: int, limit_j: float, weights: tuple[float, float]
) -> None:
    solution = solve(long_network(nodes=nodes, limit_j=limit_j, weights=weights))
    assert solution.status == "optimal"
    assert solution.evaluation is not None and not solution.evaluation.violations
    assert solution.gap is not None and solution.gap <= 1e-6
    assert solution.timings.solve_s == 0.0, "the solver was asked"


@pytest.mark.parametrize("codecs", [False, True])
@pytest.mark.parametrize("limit_j", [3.8, 3.95])
def test_labels_find_what_search_finds(monkeypatch: pytest.MonkeyPatch, limit_j: float, codecs: bool) -> None:
    problem = long_network(operators=40, limit_j=limit_j, weights=(0.6, 0.4), codecs=codecs)
    labelled = solve(problem)
    monkeypatch.setattr(Labelling, "suits", staticmethod(lambda *_: False))
    searched = solve(problem)
    assert labelled.status == searched.status == "optimal"
    assert labelled.score == pytest.approx(searched.score, abs=2e-6)


def test_the_gap_of_an_unproven_score_is_at_most_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    best = Session.best

    def loosely_bound(session: Session, objective: WeightedSum, *extra: SumLimit) -> SolveOutcome:
        outcome = best(session, objective, *extra)
        if min(objective.weights[:2]) == 0.0:
            return outcome
        session.proven = False
        return replace(outcome, bound=0.8 * outcome.bound, proven=False)

    monkeypatch.setattr(Session, "best", loosely_bound)
    solution = solve(long_network(limit_j=3.95, weights=(0.5, 0.5)))
    assert solution.status == "feasible"
    assert solution.gap is not None and solution.score is not None
    assert 0.0 < solution.gap <= solution.score + 1e-6


@pytest.mark.parametrize("seed", range(60))
def test_a_limit_at_a_plans_own_energy_agrees_with_trying_everything(seed: int) -> None:
    draw = random.Random(seed)
    drawn = random_problem(seed, operators=2 + seed % 3, precisions=seed % 4 == 0)
    free = msgspec.structs.replace(
        drawn, constraints=msgspec.structs.replace(drawn.constraints, device_energy_limit_j=None)
    )
    fitting = [assignment for assignment in all_assignments(free) if exact_costs(free, assignment)[2]]
    own_j = evaluate(free, draw.choice(fitting)).device_energy_j if fitting else 1.0
    limit_j = own_j * draw.choice([1.0 + 1e-8, 1.0 + 1e-7, 1.0 - 1e-7, 1.01])
    problem = msgspec.structs.replace(
        free,
        constraints=msgspec.structs.replace(free.constraints, device_energy_limit_j=limit_j),
        objective=msgspec.structs.replace(free.objective, latency_weight=draw.choice([0.5, 1.0]), energy_weight=0.5),
    )
    expected, solution = best_score(problem), solve(problem)
    assert solution.status == ("infeasible" if expected is None else "optimal")
    assert (solution.score or 0.0) == pytest.approx(expected or 0.0, abs=2e-6)


@pytest.mark.parametrize("measures", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_a_label_goes_only_for_one_that_is_nowhere_worse(seed: int, measures: int) -> None:
    draw = np.random.default_rng(seed)
    group = draw.integers(0, 4, 200)
    judged = draw.integers(0, 12, (measures, 200)).astype(np.float64)
    kept = undominated(group, judged)
    assert (np.diff(group[kept]) >= 0).all()
    for label in set(range(200)) - set(kept.tolist()):
        mine = kept[group[kept] == group[label]]
        assert (judged[:, mine] <= judged[:, [label]]).all(axis=0).any()
