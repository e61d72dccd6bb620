"""Events reach journald with fields of their own, by its native protocol."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from edgesplit.daemon.logs import set_up_logging
from edgesplit.daemon.logs.journal import LONGEST


class Journal:
    """A datagram socket where journald's would be, and a file as standard error."""

    def __init__(self, folder: Path) -> None:
        self.path, self.stderr = folder / "socket", folder / "stderr"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(10)
        self.out = self.stderr.open("w+")

    @property
    def stream(self) -> str:
        """As the service manager names what it connected."""
        stat = os.fstat(self.out.fileno())
        return f"{stat.st_dev}:{stat.st_ino}"

    def set_up(self, stream: str = "") -> None:
        """Log as a daemon whose standard error the service manager connected."""
        environment = {"JOURNAL_STREAM": stream or self.stream}
        set_up_logging("debug", program="edgesplit-agent", stream=self.out, environment=environment, journal=self.path)

    def entry(self) -> dict[str, str]:
        """The next one, read as the protocol says."""
        left, fields = self.socket.recv(1 << 20), dict[str, str]()
        while left:
            line, _, rest = left.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                nbytes = int.from_bytes(rest[:8], "little")
                value, rest = rest[8 : 8 + nbytes], rest[8 + nbytes + 1 :]
            fields[name.decode()], left = value.decode(), rest
        return fields

    def lines(self) -> list[str]:
        """What standard error got."""
        self.out.flush()
        return self.stderr.read_text().splitlines()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    made = Journal(tmp_path)
    yield made
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    made.socket.close()
    made.out.close()


def test_an_event_has_a_field_for_every_key(journal: Journal) -> None:
    journal.set_up()
    structlog.get_logger(part="planner").warning("replan-failed", model="yolo", reason="no node is online", tries=3)
    assert journal.entry() == {
        "MESSAGE": 'part=planner event=replan-failed model=yolo reason="no node is online" tries=3',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "edgesplit-agent",
        "EDGESPLIT_PART": "planner",
        "EDGESPLIT_EVENT": "replan-failed",
        "EDGESPLIT_MODEL": "yolo",
        "EDGESPLIT_REASON": "no node is online",
        "EDGESPLIT_TRIES": "3",
    }
    assert journal.lines() == []


def test_priorities_are_those_of_syslog(journal: Journal) -> None:
    journal.set_up()
    log = structlog.get_logger()
    for tell in (log.debug, log.info, log.warning, log.error):
        tell("some-event")
    assert [journal.entry()["PRIORITY"] for _ in range(4)] == ["7", "6", "4", "3"]


def test_a_traceback_keeps_its_lines_and_forges_no_field(journal: Journal) -> None:
    journal.set_up()
    try:
        raise ValueError("a\nPRIORITY=0\nb")
    except ValueError:
        structlog.get_logger().exception("defect", text="one\nMESSAGE=two")
    entry = journal.entry()
    assert (entry["PRIORITY"], entry["EDGESPLIT_TEXT"]) == ("3", "one\nMESSAGE=two")
    assert entry["EDGESPLIT_EXCEPTION"].startswith("Traceback")
    assert entry["EDGESPLIT_EXCEPTION"].endswith("ValueError: a\nPRIORITY=0\nb")
    assert "\n" not in entry["MESSAGE"]


def test_what_strangers_name_makes_no_field_that_journald_would_refuse(journal: Journal) -> None:
    journal.set_up()
    structlog.get_logger().info("odd", **{"größe": 1, "k" * 90: 2}, text="ü" * LONGEST)
    assert set(journal.entry()) == {
        *("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "EDGESPLIT_EVENT", "EDGESPLIT_TEXT"),
        "EDGESPLIT_GR_SSE",
        "EDGESPLIT_" + "K" * 54,
    }


def test_what_journald_does_not_take_is_a_line_on_standard_error(journal: Journal) -> None:
    journal.set_up()
    journal.socket.close()
    structlog.get_logger(part="planner").error("replan-failed", model="yolo")
    assert journal.lines() == ["level=error part=planner event=replan-failed model=yolo"]


def test_a_stream_that_is_not_the_managers_gets_lines(journal: Journal) -> None:
    """As where somebody redirects a unit's standard error into a file."""
    journal.set_up(stream="8:123456")
    structlog.get_logger(part="planner").info("planned", model="yolo")
    assert journal.lines() == ["level=info part=planner event=planned model=yolo"]
