from __future__ import annotations

import math
import random

import pytest

from edgesplit.estimation import ChangeChart, Level, Scatter


def test_of_a_new_level_every_sample_counts_in_full() -> None:
    level = Level(drift_per_s=0.0)
    for at_s, value in enumerate((4.0, 6.0, 5.0, 9.0)):
        level.observe(value, 1.0, at_s)
    assert level.mean == pytest.approx(6.0)
    assert level.error == pytest.approx(0.5)


def test_an_observation_counts_by_its_variance() -> None:
    level = Level(drift_per_s=0.0)
    level.observe(0.0, 1.0, 0.0)
    level.observe(1.0, 9.0, 1.0)
    assert level.mean == pytest.approx(0.1)
    assert level.variance == pytest.approx(0.9)


def test_a_long_steady_history_averages_noise_away_and_a_long_pause_makes_the_next_sample_count() -> None:
    level = Level(drift_per_s=1e-4)
    for second in range(1000):
        level.observe(1.0, 1.0, second)
    assert level.error < 0.15
    soon = Level(drift_per_s=1e-4)
    soon.restart(level.mean, level.variance, level.at_s)
    soon.observe(2.0, 1.0, 1000.0)
    level.observe(2.0, 1.0, 1000.0 + 1e5)
    assert soon.mean < 1.02
    assert level.mean > 1.9


def test_an_outlier_says_that_it_is_one_not_how_far_away_the_level_is() -> None:
    near, far = Level(0.0), Level(0.0)
    for level, outlier in ((near, 3.0), (far, 1e6)):
        for at_s in range(10):
            level.observe(0.0, 1.0, at_s)
        level.observe(outlier, 1.0, 10.0, within=2.0)
    assert near.mean == far.mean
    assert 0 < far.mean < 0.25


def test_a_clock_that_goes_back_adds_no_certainty() -> None:
    level = Level(drift_per_s=1.0)
    level.observe(0.0, 1.0, 100.0)
    level.observe(0.0, 1.0, 50.0)
    assert level.variance == pytest.approx(0.5)
    assert level.at_s == 100.0


def scatter_of(values: list[float]) -> float:
    scatter = Scatter(remembered=50, guess=0.05, guess_worth=3, least=0.001)
    for value in values:
        scatter.take(value)
    return math.sqrt(scatter.variance)


def noise(deviation: float, count: int, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(0.0, deviation) for _ in range(count)]


@pytest.mark.parametrize("deviation", [0.01, 0.05, 0.3])
def test_scatter_is_the_standard_deviation_whatever_was_guessed(deviation: float) -> None:
    assert scatter_of(noise(deviation, 400)) == pytest.approx(deviation, rel=0.3)


def test_a_step_or_an_outlier_is_hardly_scatter() -> None:
    values = noise(0.03, 200)
    stepped = [value + (1.0 if index > 180 else 0.0) for index, value in enumerate(values)]
    outlying = [value + (5.0 if index == 180 else 0.0) for index, value in enumerate(values)]
    assert scatter_of(stepped) < 0.045
    assert scatter_of(outlying) < 0.05


def test_scatter_never_is_less_than_the_least() -> None:
    assert scatter_of([1.0] * 500) == pytest.approx(0.001)


def chart() -> ChangeChart:
    return ChangeChart(change=0.08, lasts_s=8.0, large=0.25, limit=6.0, certain=4.0)


def found_after(values: list[float], deviation: float, every_s: float = 1.0) -> float | None:
    """When the first change is found in values around 0. [s]"""
    changes = chart()
    for number, value in enumerate(values):
        if changes.take(value, 0.0, deviation, number * every_s) is not None:
            return number * every_s
    return None


def test_a_small_change_is_found_once_it_has_lasted() -> None:
    for seed in range(20):
        after_s = found_after([0.1 + value for value in noise(0.03, 100, seed)], 0.03)
        assert after_s is not None
        assert 8.0 <= after_s <= 20.0


def test_a_change_that_was_found_comes_with_the_mean_since_it_began() -> None:
    changes, found = chart(), None
    for second, value in enumerate([*noise(0.03, 200), *(value - 0.1 for value in noise(0.03, 100, 2))]):
        found = found or changes.take(value, 0.0, 0.03, second)
    assert found is not None
    assert found.mean == pytest.approx(-0.1, abs=0.03)
    assert found.count >= 8
    assert changes.height < 1.0 or found.lasted_s >= 8.0


def test_noise_an_outlier_and_what_passes_soon_are_no_change() -> None:
    for seed in range(20):
        assert found_after(noise(0.05, 500, seed), 0.05) is None
    values = noise(0.05, 500)
    values[100] += 10.0
    for second in range(300, 306):
        values[second] += 0.15
    assert found_after(values, 0.05) is None


def test_a_large_change_beside_large_scatter_need_not_last() -> None:
    after_s = found_after([0.7 + value for value in noise(0.3, 100)], 0.3, every_s=0.004)
    assert after_s is not None
    assert after_s < 0.08


def test_how_near_a_change_is_shows_and_can_be_forgotten() -> None:
    changes = chart()
    assert changes.height == 0.0
    changes.take(0.2, 0.0, 0.03, 0.0)
    assert 0.3 < changes.height < 1.0
    changes.clear()
    assert changes.height == 0.0
