"""Clocks are brought together within what is said of it, and no effect is ever shown before its cause."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit_controller.answering.inspection.clock_alignment import Alignment, ClockBound, align

NODES = ("device", "edge", "cloud", "far")


class Sent(NamedTuple):
    start: str
    end: str
    at_s: float
    takes_s: float


SENT = st.builds(
    Sent,
    st.sampled_from(NODES),
    st.sampled_from(NODES),
    st.floats(0.0, 100.0),
    st.floats(1e-5, 0.3),
).filter(lambda sent: sent.start != sent.end)


@given(st.lists(st.floats(-1e5, 1e5), min_size=4, max_size=4), st.lists(SENT, max_size=30))
def test_every_clock_lies_within_its_bounds_and_the_order_holds(offsets: list[float], messages: list[Sent]) -> None:
    ahead_s = dict(zip(NODES, [0.0, *offsets[1:]], strict=True))
    bounds = [
        ClockBound(sent.start, sent.end, ahead_s[sent.end] - ahead_s[sent.start] + sent.takes_s) for sent in messages
    ]
    found = align("device", bounds)
    assert found is not None
    assert found["device"].ahead_s == pytest.approx(0.0, abs=1e-6)
    for node, alignment in found.items():
        if alignment.uncertain_s is not None:
            assert abs(alignment.ahead_s - ahead_s[node]) <= alignment.uncertain_s + 1e-6
    placed = {node for node, alignment in found.items() if alignment.uncertain_s is not None}
    for sent in messages:
        if {sent.start, sent.end} <= placed:
            left_s = sent.at_s + ahead_s[sent.start] - found[sent.start].ahead_s
            came_s = sent.at_s + sent.takes_s + ahead_s[sent.end] - found[sent.end].ahead_s
            assert came_s >= left_s - 1e-6


def test_the_middle_of_what_is_left_is_taken() -> None:
    found = align("device", [ClockBound("device", "edge", 7.0), ClockBound("edge", "device", -5.0)])
    assert found == {"device": Alignment(0.0, 0.0), "edge": Alignment(6.0, 1.0)}


def test_a_way_over_a_third_node_bounds_too() -> None:
    found = align(
        "device",
        [
            ClockBound("device", "edge", 1.0),
            ClockBound("edge", "device", 1.0),
            ClockBound("edge", "cloud", 10.0),
            ClockBound("cloud", "edge", -9.0),
        ],
    )
    assert found is not None
    assert found["cloud"] == Alignment(9.5, 1.5)


def test_what_is_bounded_on_one_side_says_so() -> None:
    assert align("device", [ClockBound("device", "edge", 3.0)]) == {
        "device": Alignment(0.0, 0.0),
        "edge": Alignment(3.0, None),
    }


def test_a_contradiction_is_none() -> None:
    assert align("device", [ClockBound("device", "edge", 1.0), ClockBound("edge", "device", -2.0)]) is None
