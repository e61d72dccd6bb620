"""What strangers may write to the broker takes bounded room and work at the controller."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from edgesplit.control.event_messages import Event
from edgesplit.control.figure_messages import Usage
from edgesplit.control.plan_messages import OBSERVED, Observed
from edgesplit.control.registration_messages import NODE_STATUS, NodeStatus
from edgesplit.operations.operation import OPERATION_REQUEST, OperationRequest, Reply
from edgesplit.release import PROTOCOL
from edgesplit_controller import rate_limited_events
from edgesplit_controller.answering import inbox
from edgesplit_controller.answering.inbox import Inbox
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet import traffic
from edgesplit_controller.fleet.plausibility import MOST_NODES, MOST_STRANGE_MODELS, Plausibility
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.fleet.traffic import Traffic
from edgesplit_controller.rate_limited_events import EventFlood


def usage(**changes: Any) -> Usage:
    """Of one request."""
    whole = Usage(
        node="edge", model="m", epoch=1, requests=1, failed=0, compute_s=1.0, transmit_s=0.0, energy_j=2.0,
        energy_origin="measured", counted_since_unix_s=1.0,
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


def test_models_that_nobody_added_are_few_and_those_that_were_are_always_believed() -> None:
    plausible = Plausibility(lambda _: 0, lambda: ("edge",), lambda name: name == "yolo")

    def doubt(model: str) -> str:
        said = Observed(node="edge", instance="i", model=model, epochs=(), serving=None)
        return plausible.doubt(OBSERVED, OBSERVED.of("edge", model), said)

    doubted = [doubt(f"model-{number}") for number in range(100_000)]
    assert sum(not reason for reason in doubted) == MOST_STRANGE_MODELS
    assert "is no model here" in doubted[-1]
    assert doubt("yolo") == ""
    assert doubt("model-0") == ""


def test_a_hundred_thousand_nodes_leave_a_fleet_and_nodes_that_are_known_go_on() -> None:
    registry = Registry()
    plausible = Plausibility(lambda _: 0, registry.names)
    refused = 0
    for number in range(100_000):
        name = f"node-{number}"
        status = NodeStatus(node=name, online=True, protocol=PROTOCOL, version="", instance="i", advertise="10.0.0.1:1")
        if plausible.doubt(NODE_STATUS, NODE_STATUS.of(name), status):
            refused += 1
        else:
            registry.set_status(name, status)
    assert (len(registry.names()), refused) == (MOST_NODES, 100_000 - MOST_NODES)
    known = registry.node("node-0").status
    assert known is not None
    offline = msgspec.structs.replace(known, online=False)
    assert plausible.doubt(NODE_STATUS, NODE_STATUS.of("node-0"), offline) == ""


def test_reports_within_a_window_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MOST_REPORTS", 8)
    lately, now_s = Traffic(lambda: now_s), 0.0
    for _ in range(1000):
        lately.add(usage())
    now_s = 10.0
    assert lately.requests_per_s("edge", "m") == pytest.approx(8 / 10)


def test_events_of_agents_are_bounded_by_origin_and_those_of_strangers_together() -> None:
    now_s = 0.0
    flood = EventFlood(lambda: now_s)
    assert sum(flood.allows("edge", known=True) for _ in range(1000)) == EventFlood.MOST_OF_ONE
    assert sum(flood.allows(f"stranger-{number}", known=False) for number in range(1000)) == EventFlood.MOST_OF_ONE
    assert flood.allows("cloud", known=True)
    allowed = sum(flood.allows(f"node-{number}", known=True) for number in range(100_000))
    assert allowed == EventFlood.MOST_OF_ALL - 2 * EventFlood.MOST_OF_ONE - 1
    now_s = 60.0
    assert flood.allows("edge", known=True)


def test_an_agents_event_is_no_longer_than_an_honest_one() -> None:
    log = EventLog(None, lambda _: None)
    long = "x" * 60_000
    log.collect(
        Event(
            at_unix_s=1.0,
            origin="edge",
            kind=long,
            text=long,
            model=long,
            node=long,
            data={f"{number} {long}": long for number in range(100)},
        )
    )
    assert [len(msgspec.json.encode(event)) < 32_000 for event in log.last(10)] == [True]
    honest = Event(at_unix_s=1.0, origin="edge", kind="peer-back", text="edge is back", node="edge", data={"losses": 2})
    log.collect(honest)
    assert msgspec.structs.replace(log.last(1)[0], heard_unix_s=honest.heard_unix_s) == honest


def test_the_memory_of_origins_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limited_events, "REMEMBERED", 5)
    flood = EventFlood(lambda: 0.0)
    for number in range(100):
        flood.allows(f"node-{number}", known=True)
    assert len(flood._of) == 5


async def test_requests_under_way_are_bounded_and_more_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MOST_REQUESTS", 3)
    replies: list[Reply] = []
    never = asyncio.Event()

    async def perform(_operation: object, _progress: object, _asker: object) -> None:
        await never.wait()

    def send(_client: str, reply: Reply) -> bool:
        replies.append(reply)
        return True

    answering = Inbox(perform, send, "1")
    for number in range(5):
        request = OperationRequest(id=str(number), protocol=PROTOCOL, operation=msgspec.Raw(b'{"type":"list-nodes"}'))
        answering.receive(OPERATION_REQUEST.of("client"), request)
    assert [(reply.id, reply.code) for reply in replies if reply.kind == "failure"] == [
        ("3", "overloaded"),
        ("4", "overloaded"),
    ]
    assert len(answering._tasks) == 3
    await answering.close()
