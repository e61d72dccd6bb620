"""`splitctl events`: history and stream."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from edgesplit.control.event_kinds import EventSelection
from edgesplit.control.event_messages import Event
from edgesplit.operations.event_operations import ListEvents
from tests.cli.conftest import Run
from tests.cli.fakes import FakeController

PAST = Event(at_unix_s=1_700_000_000.25, origin="controller", kind="node-joined", text="edge joined", node="edge")
LIVE = Event(at_unix_s=1_700_000_001.0, origin="device", kind="fallback-engaged", text="edge was lost", model="yolo")


def test_history_is_one_document(run: Run, controller: FakeController) -> None:
    controller.answers[ListEvents] = lambda _operation: [PAST]
    told = run("events", "--limit", "5", "--json")
    assert [event["kind"] for event in told.document] == ["node-joined"]
    assert controller.operations == [ListEvents(limit=5)]
    assert "node-joined" in run("events").out


def test_a_selection_is_asked_of_the_controller(run: Run, controller: FakeController) -> None:
    controller.answers[ListEvents] = lambda _operation: []
    began_s = time.time()
    options = ("--since", "2h", "--kind", "planned", "--kind", "nodes", "--model", "yolo", "--node", "edge")
    told = run("events", *options, "--level", "warning")
    (asked,) = controller.operations
    assert isinstance(asked, ListEvents)
    assert asked.selection.since_unix_s == pytest.approx(began_s - 7200, abs=60)
    assert msgspec.structs.replace(asked.selection, since_unix_s=0.0) == EventSelection(
        kinds=("planned", "nodes"), models=("yolo",), nodes=("edge",), level="warning"
    )
    assert "nothing of that kind" in told.err


@pytest.mark.parametrize("age", ["yesterday", "-2h", "2w", "nan"])
def test_an_age_that_is_none_is_wrong_use(run: Run, age: str) -> None:
    assert run("events", "--since", age).status == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_streams_a_line_per_event_and_ends_cleanly(
    broker: str, controller: FakeController, number: signal.Signals
) -> None:
    controller.answers[ListEvents] = lambda _operation: [PAST]
    code = "import sys; from edgesplit_controller.cli.entry import main; sys.exit(main())"
    following = subprocess.Popen(
        [sys.executable, "-c", code, "events", "--follow", "--json", "--broker", broker],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    try:
        assert following.stdout is not None
        assert msgspec.json.decode(following.stdout.readline(), type=Event) == PAST
        controller.publish_event(PAST)  # what the history already told is not told again
        controller.publish_event(LIVE)
        assert msgspec.json.decode(following.stdout.readline(), type=Event) == LIVE
        following.send_signal(number)
        rest, complaints = following.communicate(timeout=20)
    finally:
        following.kill()
    assert (following.returncode, rest, complaints) == (0, "", "")


def test_a_reader_that_leaves_ends_following(broker: str, controller: FakeController) -> None:
    controller.answers[ListEvents] = lambda _operation: [PAST] * 3
    code = "import sys; from edgesplit_controller.cli.entry import main; sys.exit(main())"
    following = subprocess.Popen(
        [sys.executable, "-c", code, "events", "--follow", "--broker", broker],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert following.stdout is not None
        following.stdout.readline()
        following.stdout.close()
        while following.poll() is None:
            controller.publish_event(msgspec.structs.replace(LIVE, at_unix_s=LIVE.at_unix_s + 1))
    finally:
        following.kill()
    assert following.stderr is not None
    assert (following.returncode, following.stderr.read()) == (0, "")
