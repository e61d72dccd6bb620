"""The MQTT connection: typed delivery, retained state after a broker's restart, malformed payloads."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import msgspec
import pytest

from demo.ports import free_port
from edgesplit.errors import BrokerUnreachable, InvalidConfiguration, MalformedMessage
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.topic import Topic
from edgesplit_controller.broker.embedded_broker import EmbeddedBroker
from tests.brokers import publish_bytes, start_mosquitto
from tests.waiting import until, until_answered


class Note(msgspec.Struct, frozen=True):
    text: str


NOTE = Topic("t/{letter}", Note, retained=True)


@pytest.mark.parametrize("url", ["http://host", "mqtt://", "mqtt://host:99999", "host:1883"])
def test_a_url_that_names_no_broker_is_refused(url: str) -> None:
    with pytest.raises(InvalidConfiguration, match="broker URL"):
        BrokerAddress.parse(url)


def test_a_url_may_carry_user_and_password() -> None:
    assert BrokerAddress.parse("mqtts://me:p%40ss@broker") == BrokerAddress("broker", 8883, True, "me", "p@ss")


async def test_messages_arrive_typed_and_a_cleared_one_as_none() -> None:
    got: list[tuple[str, Note | None]] = []
    with EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}") as broker:
        bus = MessageBus(broker.url, client_id="one")
        bus.subscribe(NOTE, lambda topic, note: got.append((topic, note)))
        await bus.connect(10)
        bus.publish(NOTE, Note("hello"), "a")
        await until(lambda: len(got) == 1)
        bus.clear(NOTE, "a")
        await until(lambda: len(got) == 2)
        await bus.close()
    assert got == [("edgesplit/1/t/a", Note("hello")), ("edgesplit/1/t/a", None)]


async def test_a_malformed_payload_is_reported_and_the_next_one_arrives() -> None:
    got: list[Note | None] = []
    malformed: list[tuple[str, MalformedMessage]] = []
    with EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}") as broker:
        bus = MessageBus(
            broker.url, client_id="one", on_malformed=lambda topic, error: malformed.append((topic, error))
        )
        bus.subscribe(NOTE, lambda _topic, note: got.append(note))
        await bus.connect(10)
        for payload in (b"{broken", b"\xff", b'{"text": 5}', b'{"text": "fine"}'):
            await asyncio.to_thread(publish_bytes, broker.url, NOTE.of("a"), payload)
        await until(lambda: len(got) == 1)
        await bus.close()
    assert got == [Note("fine")]
    assert len(malformed) == 3
    assert {topic for topic, _ in malformed} == {NOTE.of("a")}
    assert all("the payload on edgesplit/1/t/a was ignored" in str(error) for _, error in malformed)


async def test_a_broker_that_is_away_is_named_in_the_error() -> None:
    bus = MessageBus("mqtt://127.0.0.1:1", client_id="one")
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
        await bus.connect(1.0)


async def test_what_is_kept_on_another_programs_topics_is_there_again_at_a_broker_that_forgot(tmp_path: Path) -> None:
    port = free_port()
    broker = start_mosquitto(port, tmp_path)
    bus = MessageBus(f"mqtt://127.0.0.1:{port}", client_id="one")

    async def only_one_is_kept() -> bool:
        return await bus.retained("home/#") == {"home/a"}

    try:
        await bus.connect(10)
        for topic, payload in (("home/a", b"1"), ("home/b", b"2"), ("home/b", b"")):
            bus.keep(topic, payload)
        await until_answered(only_one_is_kept, "one message kept, one taken back")
        broker.terminate()
        broker.wait(10)
        await until(lambda: not bus.connected)
        broker = start_mosquitto(port, tmp_path)
        await until(lambda: bus.connected)
        await until_answered(only_one_is_kept, "the same at the new broker")
        await bus.close()
    finally:
        broker.terminate()
        broker.wait(10)


async def test_two_that_seek_the_same_at_once_both_find_it_and_leave_nothing() -> None:
    with EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}") as broker:
        bus = MessageBus(broker.url, client_id="one")
        await bus.connect(10)
        bus.keep("home/a", b"1")

        async def later() -> frozenset[str]:
            await asyncio.sleep(0.3)
            return await bus.retained("home/#")

        first, second = await asyncio.gather(bus.retained("home/#"), later())
        assert first == second == {"home/a"}
        assert await bus.retained("home/#") == {"home/a"}
        await bus.close()


async def test_what_was_subscribed_to_while_a_name_is_claimed_and_later_arrives_and_what_was_given_up_does_not() -> (
    None
):
    got: list[str] = []
    with EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}") as broker:
        bus = MessageBus(broker.url, client_id="one", on_accepted=lambda: bus.subscribe(NOTE, heard, "early"))

        def heard(_topic: str, note: Note | None) -> None:
            got.append(note.text if note is not None else "")

        await bus.connect(10)
        bus.publish(NOTE, Note("kept"), "late")
        bus.publish(NOTE, Note("at once"), "early")
        await until(lambda: got == ["at once"])
        bus.subscribe(NOTE, heard, "late")
        await until(lambda: got == ["at once", "kept"])
        bus.unsubscribe(NOTE, "late")
        bus.publish(NOTE, Note("unheard"), "late")
        bus.publish(NOTE, Note("heard"), "early")
        await until(lambda: len(got) > 2)
        await bus.close()
    assert got == ["at once", "kept", "heard"]


async def test_fleets_with_other_paths_in_their_urls_share_a_broker_and_hear_nothing_of_each_other() -> None:
    got: dict[str, list[tuple[str, Note | None]]] = {"a": [], "b/c": [], "": []}

    def heard(path: str, topic: str, note: Note | None) -> None:
        got[path].append((topic, note))

    with EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}") as broker:
        buses = {path: MessageBus(f"{broker.url}/{path}", client_id=f"of-{path}") for path in got}
        for path, bus in buses.items():
            bus.subscribe(NOTE, partial(heard, path))
            await bus.connect(10)
        for path, bus in buses.items():
            bus.publish(NOTE, Note(f"of {path}"), "x")
        await until(lambda: all(got.values()))
        assert got == {path: [(NOTE.of("x"), Note(f"of {path}"))] for path in got}
        assert await buses["b/c"].retained("edgesplit/1/t/#") == {NOTE.of("x")}
        for bus in buses.values():
            await bus.close()


@pytest.mark.parametrize("path", ["a b", "a//b", "+", "a/#x", "$SYS", "a" * 65])
def test_a_path_that_cannot_stand_above_topics_is_refused(path: str) -> None:
    with pytest.raises(InvalidConfiguration, match="broker URL"):
        BrokerAddress.parse(f"mqtt://host/{path}")


def test_a_path_stands_above_topics() -> None:
    assert BrokerAddress.parse("mqtt://host:1883/fleets/home/").prefix == "fleets/home/"
    assert BrokerAddress.parse("mqtt://host/").prefix == ""
