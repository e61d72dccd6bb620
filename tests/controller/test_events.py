"""Histories of events: what pushes out what, for how long, and what is asked for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgesplit.control.event_kinds import EventSelection, history_of, level_of
from edgesplit.control.event_messages import Event
from edgesplit_controller.event_history import KEPT, KEPT_S, MOST, EventHistory
from edgesplit_controller.event_log import SLACK, EventLog
from edgesplit_controller.rate_limited_events import RateLimitedEvents


def event(kind: str, number: int = 0, *, node: str = "", model: str = "", at: float = 0.0) -> Event:
    return Event(at_unix_s=at, origin="controller", kind=kind, text=f"{kind} {number}", node=node, model=model)


def test_what_comes_often_does_not_push_out_what_comes_seldom() -> None:
    history = EventHistory()
    history.add(event("node-joined", node="edge"))
    history.add(event("goals-changed", model="yolo"))
    for number in range(20_000):
        history.add(event("link-changed", number))
        history.add(event("malformed-message", number))
    kinds = [found.kind for found in history]
    assert kinds[:2] == ["node-joined", "goals-changed"]
    assert kinds.count("link-changed") == KEPT["links"]
    assert len(history) == len(kinds) <= MOST


def test_a_node_that_comes_and_goes_pushes_out_its_own_past_only() -> None:
    history = EventHistory()
    for name in ("device", "edge", "cloud"):
        history.add(event("node-joined", node=name))
    for number in range(10_000):
        history.add(event("node-left" if number % 2 else "node-joined", number, node="flapping"))
    assert [found.node for found in history][:3] == ["device", "edge", "cloud"]
    assert len(history) == KEPT["nodes"]


def test_strangers_names_take_no_more_room_than_one() -> None:
    history = EventHistory()
    for number in range(30_000):
        history.add(event("node-joined", number, node=f"stranger-{number}"))
    assert len(history) == KEPT["nodes"]
    assert history.last(1, EventSelection())[0].text == "node-joined 29999"


def test_events_come_back_in_the_order_of_their_coming_whatever_history_they_are_of() -> None:
    history = EventHistory()
    told = [event(kind, node=node) for kind in ("planned", "link-changed", "node-left") for node in ("a", "b")]
    for one in told:
        history.add(one)
    assert list(history) == told


def test_a_month_is_remembered_across_restarts_and_no_more(tmp_path: Path) -> None:
    path, now = tmp_path / "events.jsonl", 100 * 86_400.0
    log = EventLog(path, lambda _event: None, clock=lambda: now - KEPT_S - 1)
    log.add("node-joined", "long ago", node="edge")
    log = EventLog(path, lambda _event: None, clock=lambda: now - KEPT_S + 60)
    log.add("node-left", "a month ago", node="edge")
    for number in range(5_000):
        log.add("link-changed", str(number))
    again = EventLog(path, lambda _event: None, clock=lambda: now)
    kept = again.last(MOST)
    assert kept[0].text == "a month ago"
    assert len(kept) == 1 + KEPT["links"]


def test_the_file_stays_bounded_and_a_damaged_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, lambda _event: None, clock=lambda: 1.0)
    for number in range(KEPT["links"] + 2 * SLACK + 10):
        log.add("link-changed", str(number))
    assert len(path.read_bytes().splitlines()) <= KEPT["links"] + SLACK
    with path.open("ab") as stream:
        stream.write(b'{"at_unix_s": 1.0, "ori')
    again = EventLog(path, lambda _event: None, clock=lambda: 1.0)
    assert [found.text for found in again.last(2)] == [str(KEPT["links"] + 2 * SLACK + number) for number in (8, 9)]


def test_a_file_of_a_release_without_levels_is_read_with_them(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(
        b'{"at_unix_s":1.0,"origin":"controller","kind":"node-left","text":"node edge left","node":"edge"}\n'
    )
    log = EventLog(path, lambda _event: None, clock=lambda: 1.0)
    log.collect(msgspec.structs.replace(event("fallback-engaged"), origin="device"))
    assert [found.level for found in log.last(2)] == ["warning", "warning"]


def test_a_kind_says_its_level_unless_the_event_does() -> None:
    published: list[Event] = []
    log = EventLog(None, published.append)
    log.add("node-refused", "another protocol")
    log.add("planned", "a plan")
    log.add("planned", "a plan under protest", level="warning")
    assert [one.level for one in published] == ["error", "info", "warning"]
    assert level_of("something-new") == "info"
    assert history_of("something-new") == "other"


@pytest.mark.parametrize(
    ("selection", "texts"),
    [
        (EventSelection(), ["joined", "changed", "planned", "left"]),
        (EventSelection(since_unix_s=2.5), ["planned", "left"]),
        (EventSelection(kinds=("planned",)), ["planned"]),
        (EventSelection(kinds=("nodes",)), ["joined", "left"]),
        (EventSelection(kinds=("nodes", "planned")), ["joined", "planned", "left"]),
        (EventSelection(models=("yolo",)), ["changed", "planned"]),
        (EventSelection(nodes=("edge",)), ["joined", "changed"]),
        (EventSelection(nodes=("agent",)), ["left"]),
        (EventSelection(level="warning"), ["left"]),
        (EventSelection(level="error"), []),
        (EventSelection(models=("yolo",), kinds=("links",)), ["changed"]),
    ],
)
def test_a_selection_takes_what_fits_all_of_it(selection: EventSelection, texts: list[str]) -> None:
    data: dict[str, str | float | int | bool | None] = {"from": "device", "to": "edge"}
    log = EventLog(None, lambda _event: None, clock=iter((1.0, 2.0, 3.0, 4.0)).__next__)
    log.add("node-joined", "joined", node="edge")
    log.add("link-changed", "changed", model="yolo", node="device", data=data)
    log.add("planned", "planned", model="yolo")
    log.collect(Event(at_unix_s=4.0, origin="agent", kind="node-left", text="left", node="cloud"))
    assert [found.text for found in log.last(10, selection)] == texts
    assert [found.text for found in log.last(1, selection)] == texts[-1:]
    assert log.last(0, selection) == []


def test_the_selection_survives_the_wire() -> None:
    selection = EventSelection(since_unix_s=1.0, kinds=("nodes",), nodes=("edge",), level="warning")
    assert msgspec.json.decode(msgspec.json.encode(selection), type=EventSelection) == selection


def test_events_of_a_node_whose_clock_is_off_are_selected_and_kept_by_when_they_were_heard() -> None:
    now_s = 1e9
    log = EventLog(None, lambda _event: None, clock=lambda: now_s)
    for at_unix_s in (0.0, 2e9):
        log.collect(Event(at_unix_s=at_unix_s, origin="edge", kind="peer-back", text=f"at {at_unix_s}"))
    now_s += 60.0
    log.collect(Event(at_unix_s=5.0, origin="edge", kind="peer-back", text="later"))
    assert len(log.last(10, EventSelection(since_unix_s=now_s - 90.0))) == 3
    assert [event.text for event in log.last(10, EventSelection(since_unix_s=now_s - 30.0))] == ["later"]


def test_the_same_is_told_once_in_a_while_and_not_everything_at_once() -> None:
    now_s = 0.0
    told: list[str] = []
    seldom = RateLimitedEvents(EventLog(None, lambda event: told.append(event.text)), lambda: now_s)
    for what in ("a", "a", "b"):
        seldom.add(what, "malformed-message", what)
    assert told == ["a", "b"]
    now_s = 601.0
    seldom.add("a", "malformed-message", "again")
    assert told == ["a", "b", "again"]
    for number in range(100_000):
        seldom.add(str(number), "malformed-message", "more")
    assert told.count("more") < 20
