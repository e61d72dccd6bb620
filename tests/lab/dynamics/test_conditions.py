from __future__ import annotations

from dataclasses import replace

import pytest

from lab.dynamics.conditions import Charge, Conditions, NodeCondition, Wanted, at_each_interval, deeds, slowness
from lab.dynamics.script import intervals, said, script_of
from lab.scenarios.scenario import (
    BatteryChange,
    Change,
    ContentionChange,
    DelayChange,
    GoalsChange,
    LinkCut,
    LinkRestored,
    NodeDies,
    NodeHangs,
    NodeReturns,
    QuotaChange,
    RateChange,
    SpeedChange,
)
from lab.testbed.shaping import Shape

FIRST = Conditions(
    links={("device", "cloud"): Shape(5e6, 0.05), ("cloud", "device"): Shape(100e6, 0.05)},
    nodes={"device": NodeCondition(slow_down=4.0), "cloud": NodeCondition()},
)
EACH: list[tuple[Change, str]] = [
    (RateChange(at_s=1, ends=("device", "cloud"), bytes_per_s=1e6), "device to cloud: 1 MB/s"),
    (RateChange(at_s=1, ends=("device", "cloud"), bytes_per_s=1e6, both=True), "device and cloud: 1 MB/s"),
    (DelayChange(at_s=1, ends=("cloud", "device"), delay_s=0.2), "cloud and device: 200 ms"),
    (LinkCut(at_s=1, ends=("device", "cloud")), "device and cloud: cut"),
    (NodeDies(at_s=1, node="cloud"), "cloud dies"),
    (NodeHangs(at_s=1, node="cloud"), "cloud hangs"),
    (QuotaChange(at_s=1, node="cloud", cores=0.5), "cloud has 0.5 of a core"),
    (ContentionChange(at_s=1, node="cloud", processes=2), "cloud shares its core with 2"),
    (SpeedChange(at_s=1, node="device", slow_down=8.0), "device computes 8 times slower than this machine"),
    (BatteryChange(at_s=1, node="device", fraction=0.3, holds_wh=5.0), "device has 30% of 5 Wh left, floor 20%"),
    (GoalsChange(at_s=1, weights=(0.5, 0.5), max_noise=0.1), "weights 0.5 for latency, 0.5 for energy, max noise 0.1"),
]


@pytest.mark.parametrize(("change", "words"), EACH, ids=[words for _, words in EACH])
def test_every_change_changes_something_and_says_so(change: Change, words: str) -> None:
    assert FIRST.after(change) != FIRST
    assert said(change) == words


@pytest.mark.parametrize("change", [change for change, _ in EACH], ids=[words for _, words in EACH])
def test_going_back_sets_what_was_set_and_nothing_else(change: Change) -> None:
    there, back = deeds(FIRST, FIRST.after(change)), deeds(FIRST.after(change), FIRST)
    assert there.links.keys() == back.links.keys()
    assert there.nodes.keys() == back.nodes.keys()
    assert all(back.links[pair] == FIRST.links[pair] for pair in back.links)
    assert all(back.nodes[name] == FIRST.nodes[name] for name in back.nodes)
    assert back.wanted in {None, FIRST.wanted}
    assert bool(there.links) + bool(there.nodes) + (there.wanted is not None) > 0


def test_a_rate_changes_one_direction_unless_both_are_named() -> None:
    one = FIRST.after(RateChange(at_s=0, ends=("device", "cloud"), bytes_per_s=1e6))
    assert one.links["device", "cloud"] == Shape(1e6, 0.05)
    assert one.links["cloud", "device"] == FIRST.links["cloud", "device"]
    both = FIRST.after(RateChange(at_s=0, ends=("device", "cloud"), bytes_per_s=1e6, both=True))
    assert {shape.rate_bytes_per_s for shape in both.links.values()} == {1e6}


def test_a_cut_link_keeps_its_figures_for_its_return() -> None:
    cut = FIRST.after(LinkCut(at_s=0, ends=("cloud", "device")))
    assert [shape.up for shape in cut.links.values()] == [False, False]
    assert cut.after(LinkRestored(at_s=1, ends=("device", "cloud"))) == FIRST


def test_a_node_that_returns_is_as_it_was() -> None:
    dead = FIRST.after(NodeDies(at_s=0, node="cloud"))
    assert dead.gone == {"cloud"}
    hung = FIRST.after(NodeHangs(at_s=0, node="cloud"))
    for harmed in (dead, hung):
        assert harmed.after(NodeReturns(at_s=1, node="cloud")) == FIRST


def test_a_battery_brings_its_floor() -> None:
    charged = FIRST.after(BatteryChange(at_s=0, node="device", fraction=0.3, holds_wh=5.0, floor=0.1))
    assert charged.nodes["device"].charge == Charge(0.3, 5.0)
    assert charged.wanted == replace(FIRST.wanted, min_battery=0.1)


def test_goals_that_are_not_named_stay() -> None:
    wanted = Wanted(max_noise=0.3, min_battery=0.1)
    assert wanted.after(GoalsChange(at_s=0, weights=(0.0, 1.0))) == Wanted(0.0, 1.0, 0.3, 0.1)


@pytest.mark.parametrize(
    ("node", "factor"),
    [
        (NodeCondition(), 1.0),
        (NodeCondition(cores=0.5), 2.0),
        (NodeCondition(cores=2.0), 1.0),
        (NodeCondition(competitors=1, cores=0.5), 4.0),
        (NodeCondition(slow_down=4.0), 4.0),
        (NodeCondition(slow_down=4.0, competitors=2), 4.0),
        (NodeCondition(slow_down=4.0, competitors=7), 8.0),
    ],
)
def test_a_stretched_node_hides_what_its_stretch_covers(node: NodeCondition, factor: float) -> None:
    assert slowness(node) == pytest.approx(factor)


def test_changes_of_one_moment_begin_one_interval() -> None:
    rise = RateChange(at_s=5, ends=("device", "cloud"), bytes_per_s=5e6)
    fall = RateChange(at_s=2, ends=("device", "cloud"), bytes_per_s=1e6)
    dies = NodeDies(at_s=5, node="cloud")
    script = script_of([rise, dies, fall], 9.0)
    spans = intervals(script)
    assert [(span.from_s, span.to_s) for span in spans] == [(0.0, 2.0), (2.0, 5.0), (5.0, 9.0)]
    assert [span.changes for span in spans] == [(), (fall,), (rise, dies)]
    states = at_each_interval(FIRST, script)
    assert states[0] == FIRST
    assert states[1].links["device", "cloud"].rate_bytes_per_s == 1e6
    assert states[2] == FIRST.after(dies)


def test_a_script_may_begin_with_a_change_and_have_none() -> None:
    dies = NodeDies(at_s=0, node="cloud")
    (only,) = intervals(script_of([dies], 4.0))
    assert (only.from_s, only.to_s, only.changes) == (0.0, 4.0, (dies,))
    (quiet,) = intervals(script_of([], 4.0))
    assert quiet.changes == ()


def test_a_change_that_nobody_would_see_is_refused() -> None:
    with pytest.raises(ValueError, match="not before the script's end"):
        script_of([NodeDies(at_s=4, node="cloud")], 4.0)
