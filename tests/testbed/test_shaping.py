from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.testbed.links import ShapedWire
from lab.testbed.shaping import PacketLane, Shape


def test_a_packet_takes_its_time_on_the_link_and_arrives_a_delay_later() -> None:
    lane = PacketLane(Shape(1e6, 0.05))
    assert lane.arrival(50_000, 10.0) == pytest.approx(10.1)
    assert lane.arrival(50_000, 10.0) == pytest.approx(10.15)
    assert lane.arrival(50_000, 20.0) == pytest.approx(20.1)
    assert lane.passed_bytes == 150_000


def test_a_full_queue_drops_and_a_drained_one_takes_again() -> None:
    lane = PacketLane(Shape(1e6, 0.0))
    admitted = sum(lane.arrival(65_000, 10.0) is not None for _ in range(20))
    assert admitted == 5
    assert lane.dropped == 15
    assert lane.arrival(65_000, 11.0) is not None


def test_nothing_passes_a_cut_link_until_it_is_restored() -> None:
    lane = PacketLane(Shape(1e6, 0.01))
    lane.shape = lane.shape.changed(up=False)
    assert lane.arrival(1000, 1.0) is None
    lane.shape = lane.shape.changed(up=True)
    assert lane.arrival(1000, 2.0) == pytest.approx(2.011)


def test_a_changed_rate_counts_from_the_next_packet() -> None:
    lane = PacketLane(Shape(1e6, 0.0))
    assert lane.arrival(100_000, 0.0) == pytest.approx(0.1)
    lane.shape = lane.shape.changed(rate_bytes_per_s=5e5)
    assert lane.arrival(100_000, 0.0) == pytest.approx(0.3)


@given(
    st.lists(
        st.tuples(st.floats(0, 0.05), st.integers(1, 65_550), st.floats(1e4, 1e9), st.floats(0, 0.2)),
        max_size=40,
    )
)
@settings(max_examples=200, deadline=None)
def test_packets_keep_their_order_whatever_changes(packets: list[tuple[float, int, float, float]]) -> None:
    lane, now, last = PacketLane(Shape(1e6, 0.1)), 0.0, 0.0
    for pause_s, nbytes, rate, delay_s in packets:
        now += pause_s
        lane.shape = Shape(rate, delay_s)
        arrival = lane.arrival(nbytes, now)
        if arrival is not None:
            assert arrival >= max(last, now + delay_s)
            last = arrival


@pytest.mark.parametrize(("rate", "delay_s"), [(0.0, 0.1), (-1.0, 0.1), (float("nan"), 0.1), (1e6, -0.1)])
def test_an_impossible_link_is_refused(rate: float, delay_s: float) -> None:
    with pytest.raises(ValueError, match="a link's"):
        Shape(rate, delay_s)


def test_a_wire_survives_its_way_to_the_forwarder() -> None:
    import json

    wire = ShapedWire(
        ("edgesplit-a", "edgesplit-b"), ("10.78.0.1", "10.78.0.2"), Shape(5e6, 0.005), Shape(2e7, 0.01, up=False)
    )
    assert ShapedWire.from_json(json.loads(wire.to_json())) == wire
