"""A program that did not run for a while may have lost its name meanwhile: it asks before it says anything."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import msgspec

from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.name_claim import Registered
from edgesplit.mqtt.name_registration import ANSWER_S, Claim
from edgesplit.mqtt.topic import Topic
from tests.brokers import Stranger, running_mosquitto
from tests.waiting import until


class Presence(msgspec.Struct, frozen=True):
    online: bool
    instance: str


STATUS = Topic("tests/status", Presence, retained=True)
CLAIM = Topic("tests/claim", Claim)
DECIDED = Topic("tests/decided", Presence, retained=True)


def holder(url: str, instance: str, refused: list[str]) -> MessageBus:
    """A program that wants the name and decides something once it has it."""
    bus = MessageBus(
        url,
        client_id=instance,
        registered=Registered(STATUS.of(), CLAIM.of(), instance, lambda _where: "another has the name"),
        on_refused=refused.append,
    )
    bus.own([STATUS, DECIDED])
    bus.publish(STATUS, Presence(True, instance))
    bus.publish(DECIDED, Presence(True, instance))
    return bus


async def test_who_stood_still_until_another_took_the_name_says_nothing_more(tmp_path: Path) -> None:
    with running_mosquitto(tmp_path) as url:
        stranger = Stranger(url)
        stranger.listen("edgesplit/1/tests/decided")
        refused: list[str] = []
        # The lower instance would win where both hold the name.
        first = holder(url, "a", refused)
        first.start()
        await until(lambda: first.connected)
        taken, done = threading.Event(), threading.Event()

        async def take() -> None:
            second = holder(url, "b", [])
            second.start()
            await until(lambda: second.connected)
            taken.set()
            while not done.is_set():
                await asyncio.sleep(0.01)
            await second.close()

        thread = threading.Thread(target=asyncio.run, args=(take(),))
        thread.start()
        try:
            # The whole loop of the first stands still, as that of a process that was stopped.
            started_s = time.monotonic()
            assert taken.wait(30)
            time.sleep(max(0.0, ANSWER_S + 0.1 - (time.monotonic() - started_s)))
            said = len(stranger.said)
            await until(lambda: bool(refused), "the first finds that another has the name")
            assert not first.connected
            decided = [msgspec.json.decode(payload, type=Presence).instance for _, payload in stranger.said[said:]]
            assert "a" not in decided
        finally:
            done.set()
            await asyncio.to_thread(thread.join)
            await first.close()
            stranger.close()
