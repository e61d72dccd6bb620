"""When checked requests show that noise is above its bound."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.noise_messages import LEAST_CHECKED, MOST_IN_DOUBT, exceeds, in_doubt, least_mean


def judged(noises: list[float], bound: float) -> bool:
    deviation = statistics.stdev(noises) if len(noises) > 1 else 0.0
    return exceeds(len(noises), statistics.fmean(noises), deviation, bound)


@pytest.mark.parametrize(
    ("noises", "verdict"),
    [
        ([], False),
        ([9.0], False),
        ([9.0, 9.0], False),
        ([0.15, 0.16, 0.14], True),
        ([0.05, 0.05, 9.0], False),
        ([0.05] * 9 + [9.0], False),
        ([0.09, 0.08, 0.099], False),
        ([0.2, 0.2, 0.2], True),
    ],
)
def test_a_mean_well_above_the_bound_is_a_breach_and_one_outlier_is_none(noises: list[float], verdict: bool) -> None:
    assert (judged(noises, 0.1) if noises else exceeds(0, None, 0.0, 0.1)) is verdict


def test_without_a_bound_nothing_breaks_it() -> None:
    assert not exceeds(10, 1e9, 0.0, None)
    assert not in_doubt(10, 1e9, None)


@given(
    st.lists(st.floats(0.0, 10.0), min_size=LEAST_CHECKED, max_size=40), st.floats(0.01, 10.0), st.floats(0.001, 1000.0)
)
def test_the_verdict_has_no_unit_and_needs_a_mean_above_the_bound(
    noises: list[float], bound: float, factor: float
) -> None:
    mean, deviation = statistics.fmean(noises), statistics.stdev(noises)
    assert least_mean(len(noises), mean, deviation) <= mean
    if judged(noises, bound):
        assert mean > bound
    if abs(least_mean(len(noises), mean, deviation) - bound) > 1e-6 * bound:
        assert judged(noises, bound) == judged([factor * noise for noise in noises], factor * bound)


def test_looking_after_every_request_rarely_condemns_a_plan_that_keeps_its_bound() -> None:
    random = np.random.default_rng(7)
    condemned = 0
    for _ in range(500):
        noises = random.gamma(4.0, 0.9 / 4.0, MOST_IN_DOUBT).tolist()  # mean 0.9, skewed as noise is
        condemned += any(judged(noises[:count], 1.0) for count in range(LEAST_CHECKED, MOST_IN_DOUBT + 1))
    assert condemned <= 10


def test_noise_half_above_its_bound_is_found_before_doubt_ends() -> None:
    random = np.random.default_rng(8)
    found = 0
    for _ in range(200):
        noises = random.gamma(4.0, 1.5 / 4.0, MOST_IN_DOUBT).tolist()
        found += any(judged(noises[:count], 1.0) for count in range(LEAST_CHECKED, MOST_IN_DOUBT + 1))
    assert found >= 180
