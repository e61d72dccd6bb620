"""Bootstrap intervals cover what they should as often as they say, and pairing takes out what both share."""

from __future__ import annotations

import numpy as np
import pytest

from lab.comparing.intervals import RoundSpread, mean, median, paired_ratio, round_spread, share


def rounds(
    generator: np.random.Generator, ratio: float, *, count: int, shared: float, own: float = 0.0
) -> list[tuple[list[float], list[float]]]:
    """Of two methods whose requests differ by 3 % (standard deviations of logarithms, all of them).

    Args:
        generator: Draws.
        ratio: True one.
        count: Of rounds.
        shared: By which the host differs from round to round, for both methods.
        own: By which the ratio does.
    """
    found = []
    for _ in range(count):
        host = np.exp(generator.normal(0, shared))
        first = ratio * host * np.exp(generator.normal(0, own) + generator.normal(0, 0.03, 11))
        second = host * np.exp(generator.normal(0, 0.03, 11))
        found.append((list(first), list(second)))
    return found


@pytest.mark.parametrize(
    ("count", "own", "least"), [(1, 0.0, 0.93), (3, 0.0, 0.93), (6, 0.0, 0.93), (3, 0.01, 0.92), (5, 0.02, 0.88)]
)
def test_intervals_hold_the_true_ratio_as_often_as_their_module_says(count: int, own: float, least: float) -> None:
    """And not always: one that did would be too wide."""
    generator = np.random.default_rng(7)
    held = 0
    for seed in range(400):
        figures = rounds(generator, 0.8, count=count, shared=0.2, own=own)
        interval = paired_ratio(figures, resamples=600, seed=seed).interval
        assert interval is not None
        held += interval[0] <= 0.8 <= interval[1]
    assert least <= held / 400 < 1


def test_what_the_host_does_to_both_does_not_widen_a_paired_ratio() -> None:
    calm = paired_ratio(rounds(np.random.default_rng(1), 0.8, count=5, shared=0.0))
    restless = paired_ratio(rounds(np.random.default_rng(1), 0.8, count=5, shared=0.5))
    assert calm.interval is not None
    assert restless.interval is not None
    assert restless.interval[1] - restless.interval[0] < 1.5 * (calm.interval[1] - calm.interval[0])


def test_one_measurement_of_both_is_a_ratio_of_one() -> None:
    figures = [1.0, 1.1, 0.9]
    assert paired_ratio([(figures, figures)]).interval == (1.0, 1.0)


def test_the_same_figures_give_the_same_interval() -> None:
    figures = rounds(np.random.default_rng(3), 0.7, count=3, shared=0.1)
    assert paired_ratio(figures) == paired_ratio(figures)


def test_single_figures_of_one_round_have_no_interval() -> None:
    assert paired_ratio([([2.0], [4.0])]).interval is None
    assert paired_ratio([([2.0], [4.0])]).value == pytest.approx(0.5)
    assert median([[3.0]]).interval is None
    assert mean([3.0]).interval is None


@pytest.mark.parametrize("count", [4, 5, 11, 12])
def test_medians_of_resamples_are_those_of_drawing_again(count: int) -> None:
    """Drawn from their exact distribution, they agree with drawing figures one by one."""
    generator = np.random.default_rng(11)
    figures = list(np.exp(generator.normal(0, 0.4, count)))
    drawn = np.median(generator.choice(figures, size=(100_000, count)), axis=1)
    interval = median([figures], resamples=100_000).interval
    assert interval is not None
    assert interval == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), rel=0.02)


def test_a_share_has_wilsons_interval() -> None:
    estimate = share(9, 10)
    assert estimate.low == pytest.approx(0.5958, abs=1e-4)
    assert estimate.high == pytest.approx(0.9821, abs=1e-4)


def test_two_rounds_that_happen_to_agree_do_not_make_an_interval_narrow() -> None:
    """With what the rounds of 16 ratios differ by, the true ratio lies in it as often as it says."""
    generator = np.random.default_rng(11)
    alone = together = 0
    for seed in range(25):
        ratios = [rounds(generator, 0.8, count=2, shared=0.2, own=0.03) for _ in range(16)]
        spread = round_spread(ratios)
        assert spread is not None
        for figures in ratios:
            narrow = paired_ratio(figures, resamples=300, seed=seed).interval
            wide = paired_ratio(figures, spread=spread, resamples=300, seed=seed).interval
            assert narrow is not None
            assert wide is not None
            alone += narrow[0] <= 0.8 <= narrow[1]
            together += wide[0] <= 0.8 <= wide[1]
    assert alone / 400 < 0.9
    assert 0.93 <= together / 400 < 1


def test_what_was_measured_once_says_nothing_of_rounds() -> None:
    figures = [1.0, 1.1, 0.9]
    assert round_spread([[(figures, figures)] * 3, [([1.0], [2.0])]]) is None
    spread = RoundSpread(0.1, 5.0)
    assert paired_ratio([(figures, figures)] * 2, spread=spread).interval == (1.0, 1.0)


@pytest.mark.parametrize(("freedom", "quantile"), [(3, 3.182), (5, 2.571), (10, 2.228), (60, 2.000)])
def test_few_degrees_of_freedom_widen_an_interval(freedom: float, quantile: float) -> None:
    """Quantiles of Student's t, from the tables."""
    assert RoundSpread(1.0, freedom).half_width(1) == pytest.approx(quantile, rel=0.02)
