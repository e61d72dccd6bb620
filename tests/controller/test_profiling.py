"""What the controller makes of nodes that profile, fail and try again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from edgesplit.control.plan_messages import EpochState, Observed
from edgesplit.control.profile_messages import ExecutionProfile, ProfileReport, ProfileRequest
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.errors import UnknownNode
from edgesplit.release import PROTOCOL
from edgesplit.retrying import Retrying
from edgesplit_controller.fleet.profiling_progress import Profiling, failing_rows, profiling_rows
from edgesplit_controller.fleet.registry import Registry
from tests.waiting import until

PROFILE = ExecutionProfile(
    time_s={"u": 1.0}, quantized_time_s={}, whole_s=1.0, runs=1, provider="", threads=1, runtime=""
)
RETRY = Retrying(attempts=3, failing_s=7.0, next_try_s=4.0)


@dataclass
class Record:
    """As much of a model as is asked for."""

    name: str = "m"
    sha256: str = "s"
    offered: str = ""
    graph: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(open=None))


@dataclass
class Fleet:
    """A registry under a clock of its own, and the requests that nodes got."""

    now_s: float = 100.0
    asked: dict[str, ProfileRequest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.registry = Registry(lambda: self.now_s)
        self.profiling = Profiling(self.registry, self, silence_s=0.05)

    def ask_profile(self, node: str, request: ProfileRequest) -> None:
        """Note it."""
        self.asked[node] = request

    def join(self, *nodes: str, online: bool = True) -> None:
        """Register nodes."""
        for node in nodes:
            status = NodeStatus(
                node=node, online=online, protocol=PROTOCOL, version="0", instance="1", advertise="127.0.0.1:1"
            )
            self.registry.set_status(node, status)

    def report(self, node: str, state: str, **more: Any) -> list[str]:
        """A node says where it stands; kinds and levels of what follows."""
        values = {"node": node, "instance": "1", "model": "m", "sha256": "s", "state": state, "fraction": 1.0}
        made = msgspec.structs.replace(msgspec.convert(values, ProfileReport), **more)
        changes = self.registry.set_profile(node, "m", made)
        return [f"{change.level or 'info'}: {change.text}" for change in changes]


RECORD: Any = Record()


def test_tries_that_fail_in_a_row_are_told_once_and_so_is_their_end() -> None:
    fleet = Fleet()
    fleet.join("edge")
    (told,) = fleet.report("edge", "failed", detail="no route", retry=RETRY)
    assert told == "warning: node edge could not profile m: no route; it is tried again in 4 s"
    for _ in range(3):
        assert fleet.report("edge", "running", retry=RETRY) == []
        assert fleet.report("edge", "failed", detail="no route, again", retry=RETRY) == []
    (told,) = fleet.report("edge", "done", profile=PROFILE, retry=RETRY)
    assert told == "info: node edge profiled m: 1 s, after 3 tries that failed within 7 s"
    (told,) = fleet.report("edge", "failed", detail="refused")
    assert told == "warning: node edge could not profile m: refused"


def test_since_when_it_fails_and_when_it_is_tried_next_go_on_by_the_clock_of_whoever_was_told() -> None:
    fleet = Fleet()
    fleet.join("edge", "cloud", "device")
    fleet.report("edge", "failed", detail="no route", retry=RETRY)
    fleet.report("cloud", "done", profile=PROFILE)
    state = EpochState(epoch=2, state="failed", detail="disk full", retry=RETRY)
    fleet.registry.set_observed("edge", "m", Observed(node="edge", instance="1", model="m", epochs=(state,)))
    fleet.now_s += 3.0
    rows = {row.node: row for row in profiling_rows(RECORD, fleet.registry)}
    assert {name: row.state for name, row in rows.items()} == {"edge": "retrying", "cloud": "done", "device": "waiting"}
    assert (rows["edge"].failing_s, rows["edge"].next_try_s, rows["edge"].attempts) == (10.0, 1.0, 3)
    failing = failing_rows(fleet.registry.node("edge"), fleet.registry.clock())
    assert [(row.what, row.reason, row.failing_s, row.next_try_s) for row in failing] == [
        ("profiling m", "no route", 10.0, 1.0),
        ("preparing epoch 2 of m", "disk full", 10.0, 1.0),
    ]
    assert failing_rows(fleet.registry.node("cloud"), fleet.registry.clock()) == ()


async def test_nobody_waits_for_a_node_that_tries_again_by_itself() -> None:
    fleet = Fleet()
    fleet.join("edge", "cloud")
    fleet.report("cloud", "done", profile=PROFILE)
    fleet.report("edge", "failed", detail="no route", retry=RETRY)
    async with asyncio.timeout(5):
        (warning,) = await fleet.profiling.wait(RECORD, lambda _text, _fraction: None)
    assert "edge" in warning
    assert "no route" in warning
    assert "tries again in 4 s" in warning
    (row,) = fleet.profiling.failures(RECORD)
    assert (row.node, row.state) == ("edge", "retrying")


async def test_asked_again_each_node_says_what_came_of_it() -> None:
    fleet = Fleet()
    fleet.join("done", "failing", "refused", "silent")
    fleet.join("away", online=False)
    fleet.report("done", "done", profile=PROFILE)
    asking = asyncio.create_task(fleet.profiling.ask_again(RECORD, None, lambda _text, _fraction: None))
    await until(lambda: len(fleet.asked) == 4)
    (asked,) = {request.asked for request in fleet.asked.values()}
    # What was said before the request is no answer to it.
    assert fleet.registry.profile("done", "m", "s") == PROFILE
    newer = msgspec.structs.replace(PROFILE, whole_s=2.0)
    fleet.report("done", "running", profile=PROFILE, asked=asked)
    assert fleet.registry.profile("done", "m", "s") == PROFILE
    fleet.report("done", "done", profile=newer, asked=asked)
    fleet.report("failing", "failed", detail="no route", retry=RETRY, asked=asked)
    fleet.report("refused", "failed", detail="no such operator", asked=asked)
    async with asyncio.timeout(5):
        rows = {row.node: row for row in await asking}
    assert {name: row.state for name, row in rows.items()} == {
        "done": "done",
        "failing": "retrying",
        "refused": "failed",
        "silent": "silent",
    }
    assert (rows["done"].whole_s, rows["failing"].next_try_s, rows["refused"].reason) == (2.0, 4.0, "no such operator")


async def test_a_node_that_is_away_or_unknown_is_named_at_once() -> None:
    fleet = Fleet()
    fleet.join("away", online=False)
    (row,) = await fleet.profiling.ask_again(RECORD, "away", lambda _text, _fraction: None)
    assert (row.state, fleet.asked) == ("offline", {})
    with pytest.raises(UnknownNode, match="away"):
        await fleet.profiling.ask_again(RECORD, "nobody", lambda _text, _fraction: None)
