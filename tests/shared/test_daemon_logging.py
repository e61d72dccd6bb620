"""Both daemons log in one form."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog
from click.testing import CliRunner

from edgesplit.daemon.logs import MOST_EVENTS, EventLimit, set_up_logging
from edgesplit_agent.main import main as agent
from edgesplit_controller.main import main as controller


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """What is configured here is for here."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def line(environment: dict[str, str]) -> str:
    out = io.StringIO()
    set_up_logging("info", program="edgesplit-agent", stream=out, environment=environment)
    log = structlog.get_logger(part="planner")
    log.debug("unseen")
    log.warning("replan-failed", model="yolo", reason="no node is online")
    return out.getvalue()


def test_a_line_is_logfmt_with_level_part_and_event_in_front() -> None:
    assert line({"JOURNAL_STREAM": "8:1"}) == (
        'level=warning part=planner event=replan-failed model=yolo reason="no node is online"\n'
    )


def test_the_time_stands_in_front_unless_journald_stamps_lines() -> None:
    stamp, rest = line({}).split(" ", 1)
    assert stamp.startswith("timestamp=20")
    assert rest.startswith("level=warning part=planner")


def test_what_libraries_log_takes_the_same_form() -> None:
    out = io.StringIO()
    set_up_logging("info", program="edgesplit-agent", stream=out, environment={"JOURNAL_STREAM": "8:1"})
    logging.getLogger("aiohttp.server").error("Error handling %s", "request")
    logging.getLogger("aiohttp.server").info("unseen")
    assert out.getvalue() == 'level=error part=aiohttp.server event=library-message text="Error handling request"\n'


def test_both_daemons_answer_to_h_with_an_example() -> None:
    for command in (agent, controller):
        short, long = (CliRunner().invoke(command, [option]) for option in ("-h", "--help"))
        assert short.exit_code == 0
        assert short.output == long.output
        assert "Example: edgesplit-" in short.output


def test_an_event_that_comes_without_end_takes_so_many_lines_and_others_pass() -> None:
    now_s = 0.0
    limit = EventLimit(lambda: now_s)

    def passes(event: str) -> int | None:
        try:
            return int(limit(None, "info", {"event": event}).get("dropped_before", 0))
        except structlog.DropEvent:
            return None

    told = [passes("peer-lost") for _ in range(5000)]
    assert told.count(0) == 1000
    assert told.count(None) == 4000
    assert passes("peer-connected") == 0
    # Names that strangers chose share one count.
    assert sum(passes(f"stranger-{number}") == 0 for number in range(100_000)) <= MOST_EVENTS + 1000
    now_s = 60.0
    assert passes("peer-lost") == 4000
    assert passes("peer-lost") == 0
