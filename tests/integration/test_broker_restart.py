"""Retained state survives a broker that lost everything."""

from __future__ import annotations

from pathlib import Path

import msgspec

from demo.ports import free_port
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.topic import Topic
from tests.brokers import start_mosquitto
from tests.waiting import until


class Note(msgspec.Struct, frozen=True):
    text: str


STATE = Topic("state/{name}", Note, retained=True)


async def test_state_comes_back_after_the_broker_lost_it(tmp_path: Path) -> None:
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"
    process = start_mosquitto(port, tmp_path)
    owner = MessageBus(url, client_id="owner")
    await owner.connect(10)
    owner.publish(STATE, Note("kept"), "x")
    process.kill()
    process.wait()
    await until(lambda: not owner.connected)
    assert owner.publish(Topic("other", Note), Note("lost")) is False
    process = start_mosquitto(port, tmp_path)
    try:
        await until(lambda: owner.connected)
        got: list[Note | None] = []
        reader = MessageBus(url, client_id="reader")
        reader.subscribe(STATE, lambda _topic, note: got.append(note))
        await reader.connect(10)
        await until(lambda: bool(got))
        await reader.close()
        await owner.close()
    finally:
        process.terminate()
        process.wait()
    assert got == [Note("kept")]
