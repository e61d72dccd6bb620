"""Noise that is read off a curve: what it means, what a bound allows, and plans against brute force."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.errors import InvalidProblem
from edgesplit.planning.noise_curve import NoiseCurve
from edgesplit.planning.problem import (
    CodecOption,
    Constraints,
    Link,
    Node,
    NoiseModel,
    NoiseTerm,
    Operator,
    Problem,
    Tensor,
)
from edgesplit.planning.problem_validation import validate
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.planner.meaning.costs import costs_of
from edgesplit_controller.stating.noise_tightening import tightened
from edgesplit_controller.storage.deployment_state import Tightening
from tests.planner.brute_force import random_problem
from tests.planner.claims import wrong_claims
from tests.planner.curves import noise_at
from tests.planner.extremes import extreme_problem
from tests.planner.test_solve import assert_optimal

FLAT_THEN_STEEP = NoiseCurve(levels=(-1.0, 0.0, 2.0, 3.0), noises=(0.0, 0.01, 0.01, 0.5))


@st.composite
def curves(draw: st.DrawFn) -> NoiseCurve:
    count = draw(st.integers(1, 6))
    numbers = st.integers(-8000, 8000).map(lambda number: number / 8)  # steeper ones a problem file must not have
    levels = sorted(draw(st.sets(numbers, min_size=count, max_size=count)))
    noises = sorted(draw(st.lists(st.floats(0, 1e3), min_size=count, max_size=count)))
    return NoiseCurve(levels=tuple(levels), noises=tuple(noises))


@settings(max_examples=200, deadline=None)
@given(curves(), st.floats(-2e3, 2e3))
def test_noise_is_linear_between_points_and_exact(curve: NoiseCurve, level: float) -> None:
    exact = noise_at(curve, Fraction(level), Fraction)
    assert curve.at(Fraction(level)) == exact
    assert curve.near(level) == pytest.approx(float(exact), rel=1e-9, abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(curves(), st.floats(0, 2e3))
def test_reach_is_the_highest_level_within_a_bound(curve: NoiseCurve, bound: float) -> None:
    if bound < curve.noises[0]:
        with pytest.raises(ValueError, match="every level has more noise"):
            curve.reach(Fraction(bound))
        return
    reach = curve.reach(Fraction(bound))
    if reach is None:
        assert curve.at(Fraction(10**9)) <= bound
    else:
        assert curve.at(reach) <= bound < curve.at(reach + Fraction(1, 10**6))


@settings(max_examples=200, deadline=None)
@given(curves(), st.floats(-2e3, 2e3), st.floats(0, 2e3))
def test_the_incline_is_nowhere_above_the_noise(curve: NoiseCurve, low: float, width: float) -> None:
    high = low + width
    slope = curve.incline(low, high)
    levels = np.linspace(low, high, 50)
    assert (
        slope * (levels - low) <= np.array([curve.near(level) for level in levels.tolist()]) * (1 + 1e-9) + 1e-9
    ).all()


def chain(count: int, *, curve: NoiseCurve | None, max_noise: float, codec_noise: float = 0.0) -> Problem:
    """Operators in a row that int8 makes twice as fast; each adds 1 to the level."""
    names = [f"q{index}" for index in range(count)]
    half = CodecOption(name="half", bytes=1e4, noise=codec_noise, encode_s={"d": 0, "e": 0}, decode_s={"d": 0, "e": 0})
    size = 5e6
    return Problem(
        model="m",
        source="d",
        nodes=tuple(Node(name=name, compute_power_w=1.0, transmit_power_w=1.0) for name in "de"),
        links=tuple(
            Link(source=a, target=b, bandwidth_bytes_per_s=1e6, latency_s=0.0) for a, b in (("d", "e"), ("e", "d"))
        ),
        operators=(
            Operator(name="in", time_s={"d": 0.0, "e": 0.0}, role="input"),
            *(
                Operator(
                    name=name,
                    time_s={"d": 10.0, "e": 1.0},
                    quantizable=True,
                    quantized_time_s={"d": 9.0, "e": 0.5},
                )
                for name in names
            ),
        ),
        tensors=(
            Tensor(name="x", bytes=size, producer="in", consumers=(names[0],), codecs=(half,) if codec_noise else None),
            *(
                Tensor(name=f"t{index}", bytes=size, producer=a, consumers=(b,))
                for index, (a, b) in enumerate(itertools.pairwise(names))
            ),
        ),
        noise_model=NoiseModel(
            intercept=0.0, terms=tuple(NoiseTerm(operators=(name,), coefficient=1.0) for name in names), curve=curve
        ),
        constraints=Constraints(max_noise=max_noise),
    )


LOG = NoiseCurve(levels=(1.0, 5.0, 10.0, 20.0), noises=(1e-6, 1e-4, 1e-2, 0.5))


@pytest.mark.parametrize("count", [10, 20])
@pytest.mark.parametrize(("bound", "quantized"), [(0.0, 0), (9e-7, 0), (1.1e-6, 1), (1e-4, 5), (9.9e-3, 9), (1e-2, 10)])
def test_a_bound_on_the_noise_is_one_on_the_level(count: int, bound: float, quantized: int) -> None:
    """With a table of patterns and without: as many operators run in int8 as the curve allows, none where none fits."""
    solution = solve(chain(count, curve=LOG, max_noise=bound), time_limit_s=30.0)
    assert solution.status == "optimal"
    assert solution.assignment is not None and solution.evaluation is not None
    assert len(solution.assignment.quantized) == quantized
    assert solution.evaluation.noise <= bound
    assert solution.evaluation.noise == pytest.approx(LOG.near(quantized) if quantized else 0.0)


@pytest.mark.parametrize("count", [10, 15])
def test_codecs_take_of_the_noise_that_the_curve_leaves(count: int) -> None:
    """The codec saves 4.99 s, an operator in int8 0.5 s: operators make room for it while it fits at all."""

    def outcome(noise: float, bound: float) -> tuple[int, int]:
        solution = solve(chain(count, curve=LOG, max_noise=bound, codec_noise=noise), time_limit_s=30.0)
        assert solution.status == "optimal"
        assert solution.assignment is not None and solution.evaluation is not None
        assert solution.evaluation.noise <= bound
        return len(solution.assignment.quantized), len(solution.assignment.codecs)

    assert outcome(1e-9, 1e-2) == (9, 1)  # what is next to nothing still takes the tenth operator's place
    assert outcome(5e-3, 1e-2) == (7, 1)
    assert outcome(9.95e-3, 1e-2) == (2, 1)
    assert outcome(1.1e-2, 1e-2) == (10, 0)


@pytest.mark.parametrize(
    ("model", "operators", "seeds"),
    [("sum", 3, range(60)), ("sum", 5, range(60, 140)), ("critical-path", 3, range(30))],
)
def test_no_plan_is_better(model: Literal["sum", "critical-path"], operators: int, seeds: range) -> None:
    for seed in seeds:
        assert_optimal(random_problem(seed, operators=operators, model=model, curved=True))


@pytest.mark.parametrize("seed", range(100))
def test_without_a_table_the_lines_of_the_curve_bound_noise(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("edgesplit_controller.planner.bounds.noise_patterns.MAX_TABLE", 0)
    assert_optimal(random_problem(seed, operators=4, curved=True))


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("seed", range(60))
def test_every_claim_holds_at_extreme_figures(monkeypatch: pytest.MonkeyPatch, seed: int, table: bool) -> None:
    if not table:
        monkeypatch.setattr("edgesplit_controller.planner.bounds.noise_patterns.MAX_TABLE", 0)
    problem = extreme_problem(seed, curved=True)
    assert wrong_claims(problem, solve(problem, time_limit_s=30.0)) == []


@pytest.mark.parametrize("seed", range(40))
def test_the_linear_bound_is_nowhere_above_the_noise(seed: int) -> None:
    costs = costs_of(random_problem(seed, operators=5, curved=True))
    for size in range(len(costs.quantizable) + 1):
        for chosen in itertools.combinations(costs.quantizable, size):
            least = costs.noise.offset + float(costs.noise.slopes[list(chosen)].sum())
            assert least <= costs.noise.of(frozenset(chosen)) + 1e-12


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        (NoiseCurve(levels=(), noises=()), "does not rise"),
        (NoiseCurve(levels=(1.0, 1.0), noises=(0.0, 1.0)), "does not rise"),
        (NoiseCurve(levels=(0.0, 1.0), noises=(1.0, 0.5)), "does not rise"),
        (NoiseCurve(levels=(0.0, 1.0), noises=(1.0,)), "does not rise"),
        (NoiseCurve(levels=(0.0,), noises=(-1.0,)), "noises of the noise_model's curve hold -1"),
        (NoiseCurve(levels=(float("nan"),), noises=(1.0,)), "levels of the noise_model's curve hold nan"),
        (NoiseCurve(levels=(0.0, 1e-300), noises=(0.0, 1e200)), "noise may add up to inf"),
    ],
)
def test_a_curve_that_is_none_is_refused(curve: NoiseCurve, said: str) -> None:
    with pytest.raises(InvalidProblem, match=said):
        validate(chain(3, curve=curve, max_noise=1.0))


def test_a_tightened_curve_predicts_that_many_times_the_noise() -> None:
    problem = chain(4, curve=LOG, max_noise=1.0)
    solution = solve(problem)
    assert solution.assignment is not None
    factor = Tightening(
        factor=3.0,
        float_only=False,
        breaches=1,
        epoch=1,
        samples=3,
        predicted=0.1,
        measured=0.3,
        bound=0.2,
        at_unix_s=0.0,
    )
    before, after = (evaluate(p, solution.assignment).noise for p in (problem, tightened(problem, factor)))
    assert after == pytest.approx(3 * before)


def test_a_problem_without_a_curve_is_written_without_the_key() -> None:
    assert b"curve" not in msgspec.json.encode(chain(2, curve=None, max_noise=1.0))
