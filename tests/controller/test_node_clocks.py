"""Clocks that differ, or are set, are told once and change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from edgesplit.control.figure_messages import LinkMetrics, LinkState, NodeMetrics
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.daemon.clock_watch import ClockSteps, read_clocks, step_text, watch_clock
from edgesplit.release import PROTOCOL
from edgesplit_controller.answering.fleet_answers import counted_links, link_rows
from edgesplit_controller.fleet.node_clocks import NodeClocks
from edgesplit_controller.fleet.registry import Registry


class Fleet:
    """A controller and one node, each with a wall clock of its own; the node speaks every other second."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.controller_set_s = self.node_set_s = 0.0
        self.clocks = NodeClocks(lambda: self.now_s, lambda: 1e9 + self.now_s + self.controller_set_s)

    def hear(self, count: int = 8, *, instance: str = "1", late_s: float = 0.1) -> list[str]:
        """Kinds of what is told."""
        kinds: list[str] = []
        for _ in range(count):
            self.now_s += 2.0
            metrics = NodeMetrics(
                node="edge",
                instance=instance,
                at_unix_s=1e9 + self.now_s + self.node_set_s - late_s,
                cpu_percent=0.0,
                memory_available_bytes=0,
                compute_w=0.0,
                transmit_w=0.0,
                power_origin="configured",
            )
            kinds += [change.kind for change in self.clocks.hear("edge", metrics)]
        return kinds


def test_clocks_that_agree_are_no_news_even_where_single_messages_come_late() -> None:
    fleet = Fleet()
    assert fleet.hear() == []
    assert fleet.hear(1, late_s=100.0) == []
    assert fleet.hear() == []
    offset_s = fleet.clocks.offset_s("edge")
    assert offset_s is not None
    assert abs(offset_s) < 1.0


def test_a_difference_is_told_once_and_so_is_its_end() -> None:
    fleet = Fleet()
    fleet.node_set_s = -3600.0
    assert fleet.hear(20) == ["clock-differs"]
    assert fleet.hear(20, instance="restarted") == []
    fleet.node_set_s = 30.0
    assert fleet.hear(20, instance="restarted") == ["clock-differs"]
    fleet.node_set_s = 0.0
    assert fleet.hear(20, instance="restarted") == ["clock-agrees"]
    assert fleet.hear(20, instance="restarted") == []


def test_a_message_from_before_the_controller_started_is_no_difference() -> None:
    fleet = Fleet()
    assert fleet.hear(1, late_s=86_400.0) == []
    assert fleet.hear() == []


def test_the_controllers_own_step_is_not_told_again_of_each_node() -> None:
    fleet = Fleet()
    assert fleet.hear() == []
    fleet.controller_set_s = 500.0
    fleet.clocks.own_clock_stepped(500.0)
    assert fleet.hear(20) == []
    fleet.controller_set_s = 0.0
    fleet.clocks.own_clock_stepped(-500.0)
    assert fleet.hear(20) == []


def test_a_step_is_what_the_wall_clock_moved_against_one_that_is_never_set() -> None:
    steps = ClockSteps()
    assert steps.look(1e9, 5.0) == 0.0
    assert steps.look(1e9 + 1.0005, 6.0) == 0.0  # steered
    assert steps.look(1e9 + 7200.0, 7200.0 + 5.0) == 0.0  # the machine slept
    assert abs(steps.look(1e9 + 7201.0 - 60.0, 7200.0 + 6.0) + 60.0) < 1e-6
    assert steps.look(1e9 + 7202.0 - 60.0, 7200.0 + 7.0) == 0.0
    assert step_text("node edge", -60.0).startswith("the clock of node edge was set back by 60 s")


async def test_a_step_is_told_once_with_whose_and_how_much() -> None:
    readings = iter([(100.0, 1.0), (101.0, 2.0), (3702.0, 3.0), None, (3704.0, 5.0)])
    told: list[tuple[str, float]] = []

    def read() -> tuple[float, float] | None:
        return next(readings)

    def tell(kind: str, text: str, data: Mapping[str, float]) -> None:
        assert "node edge" in text
        told.append((kind, data["step_s"]))

    watching = asyncio.create_task(watch_clock("node edge", tell, read, every_s=0.0))
    await asyncio.wait({watching}, timeout=10)
    assert watching.exception() is not None  # there was nothing more to read
    assert told == [("clock-stepped", 3600.0)]


def test_this_machine_has_both_clocks() -> None:
    assert any(read_clocks() is not None for _ in range(50))


def test_the_age_of_a_link_is_what_its_sender_said_and_what_passed_since() -> None:
    now_s = 50.0
    registry = Registry(lambda: now_s)
    for name in ("a", "b"):
        status = NodeStatus(node=name, online=True, protocol=PROTOCOL, version="", instance="", advertise="127.0.0.1:1")
        registry.set_status(name, status)
    # Both wall clocks are years off: nobody looks.
    link = LinkState(to="b", up=True, bandwidth_bytes_per_s=1.0, latency_s=0.1, measured_at_unix_s=4e9, age_s=2.0)
    registry.set_links("a", LinkMetrics(node="a", instance="", links=(link,)))
    now_s = 53.0
    ages = {
        (row.from_, row.to): row.age_s for row in link_rows(registry, counted_links(registry, lambda _: frozenset()))
    }
    assert ages["a", "b"] == 5.0
