"""The embedded broker keeps what the control plane relies on: retained state, last wills, QoS 1."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from demo.ports import free_port
from edgesplit.errors import BrokerUnreachable, InvalidConfiguration
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.paho_client import KEEP_ALIVE_S
from edgesplit.mqtt.topic import Topic
from edgesplit_controller.broker.embedded_broker import EmbeddedBroker


class Note(msgspec.Struct, frozen=True):
    text: str


NOTE = Topic("{name}", Note)
STATE = Topic("{name}", Note, retained=True)
ALL = Topic("#", Note)
STATUS = Topic("nodes/{node}/status", Note, retained=True)
REQUESTS, REPLIES, OWN = Topic("requests/{client}", Note), Topic("replies/{client}", Note), Topic("own/{client}", Note)


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}") as running:
        yield running


def halted_client(broker: EmbeddedBroker, will: bytes) -> mqtt.Client:
    """As a stopped process: the connection stays open, nothing is sent any more."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="halted", protocol=mqtt.MQTTv311)
    client.will_set("edgesplit/1/will", will, qos=1, retain=True)
    host, _, port = broker.url.removeprefix("mqtt://").rpartition(":")
    client.connect(host, int(port), keepalive=KEEP_ALIVE_S)
    while not client.is_connected():
        client.loop(0.1)
    return client


async def received(queue: asyncio.Queue[tuple[str, Note | None]]) -> tuple[str, Note | None]:
    async with asyncio.timeout(10):
        return await queue.get()


async def listening(
    broker: EmbeddedBroker, client_id: str
) -> tuple[MessageBus, asyncio.Queue[tuple[str, Note | None]]]:
    queue: asyncio.Queue[tuple[str, Note | None]] = asyncio.Queue()
    bus = MessageBus(broker.url, client_id=client_id)
    bus.subscribe(ALL, lambda topic, note: queue.put_nowait((topic, note)))
    await bus.connect(5)
    return bus, queue


async def test_a_retained_message_reaches_who_comes_later_until_it_is_cleared(broker: EmbeddedBroker) -> None:
    writer = MessageBus(broker.url, client_id="writer")
    await writer.connect(5)
    writer.publish(STATE, Note("kept"), "kept")
    writer.publish(STATE, Note("gone"), "cleared")
    writer.clear(STATE, "cleared")
    await writer.close()  # which waits until the broker has all
    writer = MessageBus(broker.url, client_id="writer")
    await writer.connect(5)
    reader, queue = await listening(broker, "reader")
    assert await received(queue) == ("edgesplit/1/kept", Note("kept"))
    writer.publish(NOTE, Note("end"), "last")
    assert await received(queue) == ("edgesplit/1/last", Note("end"))
    await writer.close()
    await reader.close()


async def test_the_last_will_of_a_client_that_vanishes_is_published_and_retained(broker: EmbeddedBroker) -> None:
    reader, queue = await listening(broker, "reader")
    mortal = halted_client(broker, b'{"text": "gone"}')
    transport = mortal.socket()
    assert isinstance(transport, socket.socket)
    transport.shutdown(socket.SHUT_RDWR)
    transport.close()
    assert await received(queue) == ("edgesplit/1/will", Note("gone"))
    late, late_queue = await listening(broker, "late")
    assert await received(late_queue) == ("edgesplit/1/will", Note("gone"))
    await reader.close()
    await late.close()


async def test_an_orderly_goodbye_publishes_no_will(broker: EmbeddedBroker) -> None:
    reader, queue = await listening(broker, "reader")
    polite = MessageBus(broker.url, client_id="polite", will=("edgesplit/1/will", Note("gone")))
    await polite.connect(5)
    polite.publish(NOTE, Note("hello"), "hello")
    await polite.close()
    topics: list[str] = []
    topics.append((await received(queue))[0])
    await reader.close()
    assert topics == ["edgesplit/1/hello"]


async def test_many_messages_arrive_in_order(broker: EmbeddedBroker) -> None:
    reader, queue = await listening(broker, "reader")
    writer = MessageBus(broker.url, client_id="writer")
    await writer.connect(5)
    for number in range(300):
        writer.publish(NOTE, Note(str(number)), "count")
    texts = [(await received(queue))[1] for _ in range(300)]
    assert texts == [Note(str(number)) for number in range(300)]
    await writer.close()
    await reader.close()


async def test_a_client_that_falls_silent_is_declared_dead(broker: EmbeddedBroker) -> None:
    reader, queue = await listening(broker, "reader")
    mute = halted_client(broker, b'{"text": "silent"}')
    async with asyncio.timeout(30):
        assert await queue.get() == ("edgesplit/1/will", Note("silent"))
    assert isinstance(mute.socket(), socket.socket)  # it never closed it
    await reader.close()


async def test_clients_that_come_and_go_do_not_disturb_each_other(broker: EmbeddedBroker) -> None:
    server = MessageBus(broker.url, client_id="server")

    def answer(topic: str, note: Note | None) -> None:
        server.publish(REPLIES, note or Note(""), *REQUESTS.names(topic))

    server.subscribe(REQUESTS, answer)
    await server.connect(5)
    for number in range(20):
        server.publish(STATUS, Note("x" * 200), str(number))

    async def ask(number: int) -> None:
        queue: asyncio.Queue[Note | None] = asyncio.Queue()
        bus = MessageBus(broker.url, client_id=f"client-{number}")
        bus.subscribe(STATUS, lambda _topic, _note: None)
        bus.subscribe(OWN, lambda _topic, _note: None, str(number))
        bus.subscribe(REPLIES, lambda _topic, note: queue.put_nowait(note), str(number))
        await bus.connect(10)
        bus.publish(REQUESTS, Note(str(number)), str(number))
        async with asyncio.timeout(15):
            assert await queue.get() == Note(str(number))
        await bus.close()

    for start in range(0, 40, 8):
        await asyncio.gather(*(ask(number) for number in range(start, start + 8)))
    await server.close()


def test_a_used_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(BrokerUnreachable, match=f"cannot listen at mqtt://127.0.0.1:{port}"):
            EmbeddedBroker(f"mqtt://127.0.0.1:{port}").start()


def test_tls_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="neither TLS nor passwords"):
        EmbeddedBroker("mqtts://127.0.0.1:8883")
