"""Unit times are believed as far as profiles say something: noise is taken back, real differences stay."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping

import msgspec
import pytest

from bench.equal_nodes import equal_nodes
from bench.robustness import compare
from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit_controller.fleet.believing.believed_unit_times import as_believed, beliefs

UNITS = 120
SEEDS = 20


def believed(profiles: Mapping[str, ExecutionProfile]) -> dict[str, ExecutionProfile]:
    found = beliefs(profiles)
    return {name: as_believed(profile, found.get(name)) for name, profile in profiles.items()}


def errors(profile: ExecutionProfile, truth: Mapping[str, float]) -> float:
    """How far units are from the truth, relative. [1]"""
    return statistics.pstdev(math.log(profile.time_s[unit] / truth[unit]) for unit in profile.time_s)


@pytest.mark.parametrize("seed", range(3))
def test_equal_nodes_agree_and_are_nearer_to_the_truth(seed: int) -> None:
    nodes = equal_nodes(UNITS, spread=0.1, seed=seed)
    found = believed(nodes.profiles)
    truth = {unit.name: unit.time_s["device"] for unit in nodes.truth.operators}
    for name, profile in found.items():
        assert errors(profile, truth) < 0.8 * errors(nodes.profiles[name], truth)
    apart = [math.log(found["edge"].time_s[unit] / found["cloud"].time_s[unit]) for unit in found["edge"].time_s]
    assert statistics.pstdev(apart) < 0.04


def test_what_a_node_takes_as_a_whole_stays() -> None:
    nodes = equal_nodes(UNITS, seed=1, slower={"edge": 3.0}, deviation=0.3)
    for name, profile in believed(nodes.profiles).items():
        before = nodes.profiles[name]
        assert sum(profile.time_s.values()) == pytest.approx(sum(before.time_s.values()))
        assert profile.whole_s == before.whole_s


def test_real_differences_between_kernels_are_kept() -> None:
    nodes = equal_nodes(UNITS, spread=0.03, seed=2, slower={"cloud": 0.2}, deviation=0.5)
    found = believed(nodes.profiles)["cloud"]
    for unit, seconds in nodes.profiles["cloud"].time_s.items():
        assert found.time_s[unit] == pytest.approx(seconds, rel=0.08)


def test_a_node_of_another_kind_does_not_spoil_what_equal_ones_lend_each_other() -> None:
    nodes = equal_nodes(UNITS, spread=0.1, seed=3, slower={"cloud": 0.2}, deviation=0.5)
    found = believed(nodes.profiles)
    apart = [math.log(found["edge"].time_s[unit] / found["device"].time_s[unit]) for unit in found["edge"].time_s]
    assert statistics.pstdev(apart) < 0.05


def test_without_spreads_nothing_is_moved() -> None:
    nodes = equal_nodes(UNITS, seed=4)
    silent = {name: msgspec.structs.replace(one, unit_spreads={}) for name, one in nodes.profiles.items()}
    assert believed(silent) == silent
    one_speaks = silent | {"edge": nodes.profiles["edge"]}
    assert believed(one_speaks) == one_speaks


def test_few_units_say_nothing_of_how_nodes_differ() -> None:
    nodes = equal_nodes(5, seed=4)
    assert believed(nodes.profiles) == nodes.profiles


def test_int8_times_are_believed_by_their_own_spreads() -> None:
    chosen, nodes = random.Random(6), equal_nodes(UNITS, seed=6)
    profiles = {
        name: msgspec.structs.replace(
            one,
            quantized_time_s={
                unit: 0.4 * seconds * chosen.lognormvariate(0, 0.1) for unit, seconds in one.time_s.items()
            },
            integer_time_s={unit: 0.3 * seconds for unit, seconds in one.time_s.items()},
            quantized_unit_spreads=dict.fromkeys(one.time_s, 0.15),
        )
        for name, one in nodes.profiles.items()
    }
    for name, profile in believed(profiles).items():
        before = profiles[name]
        assert sum(profile.quantized_time_s.values()) == pytest.approx(sum(before.quantized_time_s.values()))
        for unit, seconds in profile.quantized_time_s.items():
            moved = seconds / before.quantized_time_s[unit]
            assert profile.integer_time_s[unit] == pytest.approx(before.integer_time_s[unit] * moved)
        assert any(
            abs(profile.quantized_time_s[unit] / before.quantized_time_s[unit] - 1) > 0.05 for unit in before.time_s
        )


def test_nodes_by_the_dozen_are_each_near_the_truth() -> None:
    nodes = equal_nodes(UNITS, spread=0.1, seed=7)
    many = {f"n{index}": equal_nodes(UNITS, spread=0.1, seed=7).profiles["edge"] for index in range(3)}
    chosen = random.Random(8)
    truth = {unit.name: unit.time_s["edge"] for unit in nodes.truth.operators if unit.time_s["edge"] > 0}
    for index in range(16):
        seen = {unit: seconds * chosen.lognormvariate(0, 0.1) for unit, seconds in truth.items()}
        many[f"n{index}"] = msgspec.structs.replace(many["n0"], time_s=seen)
    for profile in believed(many).values():
        assert errors(profile, truth) < 0.06


def test_three_equal_nodes_get_one_component_and_lose_nothing() -> None:
    """The figure of issue 16 on a small model; `python -m bench.robustness` shows it on larger ones."""
    for seed in range(SEEDS):
        found = compare(equal_nodes(30, spread=0.1, seed=seed), 0.02)
        assert found.robust.components <= 2
        assert found.robust.true_s <= found.exact.true_s * (1 + 1e-9)
