"""On every signed topic of the table: what is not rightly signed says nothing, is counted, and leaves the right message as it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgesplit.control.plan_messages import DESIRED
from edgesplit.control.registration_messages import CONTROLLER_STATUS, NODE_STATUS, ControllerStatus
from edgesplit.control.trust_messages import REVOCATIONS
from edgesplit.mqtt.signed import message_security
from edgesplit.mqtt.signed.counter_memory import CounterMemory
from edgesplit.mqtt.signed.message_security import MessageSecurity
from edgesplit.mqtt.signed.refusals import Refusal
from edgesplit.mqtt.topic import Topic
from edgesplit.operations.operation import OPERATION_REQUEST
from edgesplit.topic_table import TABLE, signed_rows
from edgesplit.trust.signing import Signer
from tests.trust.signers import MadeFleet, forgeries
from tests.waiting import let_others_run, until

MESSAGE = b'{"said":  1}'
every_signed_row = pytest.mark.parametrize("row", signed_rows(), ids=lambda row: row.pattern)


@pytest.fixture(scope="module")
def fleet() -> Iterator[MadeFleet]:
    made = MadeFleet()
    yield made
    made.close()


def topic_of(row: Topic[Any]) -> str:
    return row.of(*(f"{name}-1" for name in row.placeholders))


def reader_of(row: Topic[Any], fleet: MadeFleet) -> MessageSecurity:
    return fleet.security({"agent": "node", "splitctl": "operator", "controller": "controller"}[row.readers[0]])  # type: ignore[arg-type]


def shifted(by_s: float) -> float:
    """A clock that is off."""
    return time.time() + by_s


def message_of(security: MessageSecurity, topic: str, payload: bytes) -> bytes | None:
    said = security.opened(topic, payload)
    return None if said is None else said.message


def test_whatever_a_program_alone_decides_and_others_obey_is_signed_by_it() -> None:
    decided = {row.pattern for row in TABLE if row.writers == ("controller",) and set(row.readers) - {"controller"}}
    assert {row.pattern for row in TABLE if row.signer == "controller"} == decided
    assert [row for row in TABLE if row.signer == "operator"] == [OPERATION_REQUEST]
    assert {row.writers for row in signed_rows() if row.signer == "controller"} == {("controller",)}
    assert OPERATION_REQUEST.writers == ("splitctl",)


@every_signed_row
def test_what_its_signer_says_is_heard_and_nothing_else_is(row: Topic[Any], fleet: MadeFleet) -> None:
    topic, reader = topic_of(row), reader_of(row, fleet)
    told: list[Refusal] = []
    reader.on_refused = told.append
    assert row.signer is not None
    made = forgeries(fleet, row.signer, topic, MESSAGE, row.limit_bytes)
    for number, (what, payload) in enumerate(made.items(), 1):
        assert reader.opened(topic, payload) is None, what
        assert reader.refused == {row.pattern: number}, what
        assert told[-1].reason, what
        assert topic in told[-1].sentence, what
    assert reader.opened(topic, b"") is None  # that the broker forgets a message is nobody's word
    assert reader.refused == {row.pattern: len(made)}
    signer = fleet.security(row.signer)
    said = reader.opened(topic, signer.sealed(topic, MESSAGE))
    assert said is not None
    assert said.message == MESSAGE
    assert said.signer is not None
    assert said.signer.subject == signer.subject


@every_signed_row
def test_an_old_message_is_refused_when_it_is_sent_again(row: Topic[Any], fleet: MadeFleet) -> None:
    topic, reader = topic_of(row), reader_of(row, fleet)
    assert row.signer is not None
    signer = fleet.security(row.signer)
    old, new = signer.sealed(topic, b"1"), signer.sealed(topic, b"2")
    assert [message_of(reader, topic, payload) for payload in (old, new)] == [b"1", b"2"]
    assert reader.opened(topic, old) is None
    assert reader.refused == {row.pattern: 1}


@every_signed_row
def test_a_revoked_certificate_signs_nothing_that_counts(row: Topic[Any], fleet: MadeFleet) -> None:
    topic, reader = topic_of(row), reader_of(row, fleet)
    assert row.signer is not None
    credentials = fleet.credentials(row.signer)
    payload = Signer(credentials).sign(topic, MESSAGE, now_s=time.time())
    reader.revoke({credentials.facts.serial})
    assert reader.opened(topic, payload) is None
    assert reader.refused == {row.pattern: 1}


def test_the_brokers_repetition_of_state_is_heard_again(fleet: MadeFleet) -> None:
    topic, agent = DESIRED.of("device", "m"), fleet.security("node")
    payload = fleet.security("controller").sealed(topic, MESSAGE)
    assert [message_of(agent, topic, payload) for _ in range(3)] == [MESSAGE] * 3
    assert agent.refused == {}


async def test_what_was_heard_is_remembered_over_a_restart(fleet: MadeFleet, tmp_path: Path) -> None:
    path, topic, controller = (
        tmp_path / "cache" / "counters.json",
        DESIRED.of("device", "m"),
        fleet.security("controller"),
    )
    old, new = controller.sealed(topic, b"1"), controller.sealed(topic, b"2")
    before = fleet.security("node", counters=path)
    assert message_of(before, topic, new) == b"2"
    await before.close()
    assert path.stat().st_mode & 0o777 == 0o600
    again = MessageSecurity(fleet.credentials("node"), signed_rows(), counters=CounterMemory(path))
    assert again.opened(topic, old) is None
    assert message_of(again, topic, new) == b"2"
    await again.close()


async def test_a_folder_that_takes_no_writes_is_tried_once_a_message(
    fleet: MadeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(message_security, "SAVE_AFTER_S", 0.0)
    (tmp_path / "folder").write_text("in the way")
    path, topic, controller = (
        tmp_path / "folder" / "counters.json",
        DESIRED.of("device", "m"),
        fleet.security("controller"),
    )
    agent = fleet.security("node", counters=path)
    for number in (1, 2):
        assert message_of(agent, topic, controller.sealed(topic, MESSAGE)) == MESSAGE
        await until(lambda number=number: len(caplog.records) == number and agent._due is None)  # type: ignore[misc]
    for _ in range(20):
        await let_others_run()
    assert len(caplog.records) == 2
    (tmp_path / "folder").unlink()
    await agent.close()
    assert path.is_file()


def test_what_is_taken_back_is_said_by_the_signer_alone(fleet: MadeFleet) -> None:
    topic, agent, controller = DESIRED.of("device", "m"), fleet.security("node"), fleet.security("controller")
    said = controller.sealed(topic, MESSAGE)
    taken_back = controller.removal(topic)
    assert message_of(agent, topic, said) == MESSAGE
    assert message_of(agent, topic, taken_back) == b""
    assert agent.opened(topic, said) is None  # and stays so
    assert fleet.security("node").removal(topic) == b""


def test_what_an_earlier_run_left_is_taken_back_and_what_others_left_just_goes(fleet: MadeFleet) -> None:
    topic, earlier, now = DESIRED.of("device", "m"), fleet.security("controller"), fleet.security("controller")
    left = now.left_over(topic, earlier.sealed(topic, MESSAGE))
    assert message_of(fleet.security("node"), topic, left) == b""
    removal = earlier.removal(topic)
    assert now.left_over(topic, removal) == removal
    assert now.left_over(topic, MESSAGE) == b""
    assert now.left_over(NODE_STATUS.of("device"), MESSAGE) == b""


def test_topics_without_a_signer_pass_as_they_are(fleet: MadeFleet) -> None:
    topic, controller = NODE_STATUS.of("device"), fleet.security("controller")
    assert controller.sealed(topic, MESSAGE) == MESSAGE
    assert message_of(controller, topic, MESSAGE) == MESSAGE
    assert message_of(controller, topic, b"") == b""


def test_a_last_will_counts_though_it_was_signed_before_what_was_said_since(fleet: MadeFleet) -> None:
    topic, agent, controller = CONTROLLER_STATUS.of(), fleet.security("node"), fleet.security("controller")

    def status(*, online: bool, artifacts: str) -> bytes:
        said = ControllerStatus(online=online, protocol=1, version="1", instance="i", artifacts=artifacts)
        return controller.sealed(topic, msgspec.json.encode(said))

    will, first, second = (
        status(online=False, artifacts=""),
        status(online=True, artifacts="a"),
        status(online=True, artifacts="b"),
    )
    heard = [agent.opened(topic, payload) is not None for payload in (first, second, will, first, second)]
    assert heard == [True, True, True, False, True]


def test_a_renewed_certificate_signs_what_stays_on_the_broker_anew(fleet: MadeFleet) -> None:
    topic, agent, controller = REVOCATIONS.of(), fleet.security("node"), fleet.security("controller")
    before = controller.sealed(topic, MESSAGE)
    controller.take(fleet.credentials("controller"))
    after = controller.renewed(topic, before)
    assert msgspec.json.decode(after)["certificate"] != msgspec.json.decode(before)["certificate"]
    assert message_of(agent, topic, after) == MESSAGE
    assert agent.opened(topic, before) is None
    assert controller.renewed(topic, b"") == b""
    assert controller.renewed(NODE_STATUS.of("device"), MESSAGE) == MESSAGE


def test_a_request_whose_clock_is_an_hour_off_is_told_both_times(fleet: MadeFleet) -> None:
    topic, told = OPERATION_REQUEST.of("splitctl-1"), list[Refusal]()
    for off_s in (-3600.0, 3600.0):
        controller = fleet.security("controller")
        controller.on_refused = told.append
        off = MessageSecurity(fleet.credentials("operator"), signed_rows(), clock=partial(shifted, off_s))
        assert controller.opened(topic, off.sealed(topic, MESSAGE)) is None
        assert "by the clock of operator anna, and the clock here says" in told[-1].reason
        assert told[-1].reason.count(" UTC") == 2


def test_what_was_believed_counts_after_a_restart_whatever_the_clock_says_now(fleet: MadeFleet) -> None:
    topic, heard_s = DESIRED.of("device", "m"), time.time() - 40 * 86_400.0
    ended = fleet.credentials("controller", begins=timedelta(days=-60), ends=timedelta(days=-30))
    payload = Signer(ended).sign(topic, MESSAGE, now_s=heard_s)
    for clock in (time.time, lambda: 0.0, lambda: 4e9):
        agent = MessageSecurity(fleet.credentials("node"), signed_rows(), clock=clock)
        assert agent.opened(topic, payload) is None  # from a broker it would not count any more
        said = agent.recalled(topic, payload, heard_s)
        assert said is not None
        assert said.message == MESSAGE


@every_signed_row
def test_nothing_else_counts_after_a_restart(row: Topic[Any], fleet: MadeFleet) -> None:
    topic, agent = topic_of(row), fleet.security("node")
    assert row.signer is not None
    made = forgeries(fleet, row.signer, topic, MESSAGE, row.limit_bytes)
    del made["oversized"]  # it was not read when it came
    for what, payload in made.items():
        assert agent.recalled(topic, payload, time.time()) is None, what
    assert agent.refused == {row.pattern: len(made)}


def test_a_signer_that_was_revoked_meanwhile_does_not_count_after_a_restart(fleet: MadeFleet) -> None:
    topic, agent = DESIRED.of("device", "m"), fleet.security("node")
    credentials = fleet.credentials("controller")
    payload = Signer(credentials).sign(topic, MESSAGE, now_s=time.time())
    agent.revoke({credentials.facts.serial})
    assert agent.recalled(topic, payload, time.time()) is None


def test_what_is_recalled_lets_no_older_message_in_and_is_let_in_though_a_newer_one_was_heard(
    fleet: MadeFleet, tmp_path: Path
) -> None:
    topic, controller = DESIRED.of("device", "m"), fleet.security("controller")
    first, second, third = (controller.sealed(topic, message) for message in (b"1", b"2", b"3"))
    agent = fleet.security("node")
    said = agent.recalled(topic, second, time.time())
    assert said is not None
    assert message_of(agent, topic, first) is None
    assert message_of(agent, topic, second) == b"2"  # as the broker repeats it
    # The power went after the counter of the third was written and before its message was.
    counters = CounterMemory()
    counters.take(topic, msgspec.json.decode(third)["counter"], third)
    agent = MessageSecurity(fleet.credentials("node"), signed_rows(), counters=counters)
    said = agent.recalled(topic, second, time.time())
    assert said is not None
    assert message_of(agent, topic, second) is None
    assert message_of(agent, topic, third) == b"3"
