"""Times at several moments and ratios taken in turn, on simulated machines that are never steady."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit_agent.profiling.timing.robust_statistics import location, spread, standard_error
from edgesplit_agent.profiling.timing.whole_timer import WholeTimer, series
from tests.agent.noisy_machine import RESTED, NoisyMachine, SimulatedRuns

SEEDS = range(150)
FLOAT_S, INT8_S, PARTS_S = 0.4, 0.1, (0.15, 0.3, 0.2, 0.25)
POSITIVE = st.floats(1e-6, 1e6)


@dataclass(frozen=True)
class Figures:
    """What a profiling found out. [s, 1, 1]"""

    whole_s: float
    int8: float
    rested: float
    took_s: float
    rested_error: float = 0.0
    int8_error: float = 0.0
    spread: float = 0.0


async def one_series(seed: int) -> Figures:
    """As profiles were taken before: each figure of runs in a row, at its own time, the same parts at the end."""
    machine = NoisyMachine(seed)
    runs = SimulatedRuns(machine)

    async def measure(session: float) -> tuple[float, float]:
        seconds = [await runs.once(session, {}) for _ in range(1 + min(max(int(3.0 / session), 3), 40))][1:]
        rested: list[float] = []
        for _ in range(3):
            await runs.pause(min(0.5, 3 * statistics.median(seconds)))
            rested.append(await runs.once(session, {}))
        machine.advance(3.0 + session)  # watched runs
        return statistics.median(seconds), statistics.median(rested)

    whole_s, rested_s = await measure(FLOAT_S)
    int8_s, _ = await measure(INT8_S)
    for part_s in PARTS_S:
        for _ in range(4):
            machine.take(part_s)
            machine.take(FLOAT_S)
    return Figures(whole_s, int8_s / whole_s, rested_s / whole_s, machine.now_s)


async def moments(seed: int) -> Figures:
    """As they are taken now."""
    machine = NoisyMachine(seed)
    runs = SimulatedRuns(machine)
    whole = WholeTimer(runs, {}, FLOAT_S)
    ratios: list[float] = []

    async def compare() -> None:
        ratios.extend(await whole.ratios(INT8_S, {}, 1.0, 2))

    await whole.run()
    await whole.moment()
    await series(runs, FLOAT_S, {}, whole.moment)
    await whole.moment()
    await compare()
    await series(runs, INT8_S, {}, compare)
    await compare()
    for part_s in PARTS_S:
        await whole.ratios(part_s, {}, 1.2, 3)
    return Figures(
        location(whole.moments),
        location(ratios),
        location(whole.rested),
        machine.now_s,
        standard_error(whole.rested),
        standard_error(ratios),
        spread(whole.moments),
    )


def error(values: Sequence[float], truth: float) -> float:
    """Root of the mean square, relative. [1]"""
    return math.sqrt(statistics.fmean(math.log(value / truth) ** 2 for value in values))


async def test_several_moments_know_more_than_one_series_in_about_the_same_time() -> None:
    before, now = [await one_series(seed) for seed in SEEDS], [await moments(seed) for seed in SEEDS]
    whole_s = FLOAT_S * NoisyMachine(0).mean_slowness

    def both(figure: str, truth: float) -> tuple[float, float]:
        return error([getattr(found, figure) for found in before], truth), error(
            [getattr(found, figure) for found in now], truth
        )

    of_whole, of_int8, of_rested = both("whole_s", whole_s), both("int8", INT8_S / FLOAT_S), both("rested", RESTED)
    assert of_whole[1] < 0.8 * of_whole[0]
    assert of_int8[1] < 0.4 * of_int8[0]
    assert of_rested[1] < 0.5 * of_rested[0]
    assert statistics.fmean(found.took_s for found in now) < 1.2 * statistics.fmean(found.took_s for found in before)
    # What is neither clipped nor compared across time is not biased.
    for figure, truth in (("int8", INT8_S / FLOAT_S), ("rested", RESTED)):
        bias = statistics.fmean(math.log(getattr(found, figure) / truth) for found in now)
        assert abs(bias) < 0.01


async def test_standard_errors_are_as_large_as_errors_are() -> None:
    found = [await moments(seed) for seed in SEEDS]
    for figure, truth, said in (("rested", RESTED, "rested_error"), ("int8", INT8_S / FLOAT_S, "int8_error")):
        typical = math.sqrt(statistics.fmean(getattr(one, said) ** 2 for one in found))
        assert typical == pytest.approx(error([getattr(one, figure) for one in found], truth), rel=0.5)
    assert statistics.median(one.spread for one in found) == pytest.approx(0.1, abs=0.03)


@given(st.lists(POSITIVE, min_size=1, max_size=9), POSITIVE)
def test_the_location_lies_among_the_values_and_scales_with_them(values: list[float], factor: float) -> None:
    found = location(values)
    assert min(values) * (1 - 1e-9) <= found <= max(values) * (1 + 1e-9)
    assert location([factor * value for value in values]) == pytest.approx(factor * found)
    assert spread([factor * value for value in values]) == pytest.approx(spread(values), abs=1e-9)
    assert location([1 / value for value in values]) == pytest.approx(1 / found)


@given(st.lists(st.floats(0.98, 1.02), min_size=7, max_size=20), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_two_wild_values_do_not_move_the_location_beyond_the_others(
    values: list[float], one: float, other: float
) -> None:
    assert 0.98 * (1 - 1e-9) <= location([*values, one, other]) <= 1.02 * (1 + 1e-9)


def test_of_one_value_no_spread_is_known_and_a_thousand_take_no_time() -> None:
    assert [location([3.0]), spread([3.0]), standard_error([3.0])] == pytest.approx([3.0, 0.0, 0.0])
    machine = NoisyMachine(1)
    assert location([machine.take(1.0) for _ in range(1000)]) == pytest.approx(machine.mean_slowness, rel=0.1)
