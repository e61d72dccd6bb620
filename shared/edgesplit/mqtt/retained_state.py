"""The retained messages that one program published, and putting right what others publish in their place.

Owns: the payload that should be on each topic, and the timers of corrections. Its rule: nothing is put right before the
program may speak, and whoever insists is answered ever later (`mqtt/topic_ownership.py`). Not here: the connection
(`mqtt/bus.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from edgesplit.mqtt.topic_ownership import REMEMBERED, Ownership

__all__ = ["OnForeign", "RetainedState"]

OnForeign = Callable[[str, bytes], None]
"""Told of topic and payload of a message that somebody else published on an own topic."""


class RetainedState:
    """What one program keeps on the broker.

    Args:
        publish: Publishes a payload, retained.
        speaks: Whether the program may say anything now.
    """

    def __init__(self, publish: Callable[[str, bytes], object], speaks: Callable[[], bool]) -> None:
        self._publish, self._speaks = publish, speaks
        self._loop = asyncio.get_running_loop()
        self._payloads: dict[str, bytes] = {}
        self._owned = Ownership()
        self._leave_retained = False
        self._on_foreign: OnForeign = _nobody
        self._unknown: set[str] = set()
        self._putting_right: dict[str, asyncio.TimerHandle] = {}

    @property
    def payloads(self) -> Mapping[str, bytes]:
        """By topic; empty for one that is to be cleared."""
        return self._payloads

    @property
    def filters(self) -> Iterable[str]:
        """Topic filters of what only this program writes."""
        return self._owned.filters

    def own(
        self, filters: Iterable[str], *, remove_unknown: bool, leave_retained: bool, on_foreign: OnForeign | None
    ) -> None:
        """See `MessageBus.own`."""
        self._owned.filters |= dict.fromkeys(filters, remove_unknown)
        self._leave_retained = self._leave_retained or leave_retained
        self._on_foreign = on_foreign or self._on_foreign

    def owns(self, topic: str) -> bool:
        """Whether only this program writes a topic."""
        return self._owned.owns(topic)

    def set(self, topic: str, payload: bytes) -> None:
        """This should be on a topic; empty: nothing should."""
        self._payloads[topic] = payload

    def forget(self, topic: str) -> None:
        """What is on a topic is not this program's any more."""
        self._payloads.pop(topic, None)

    def published(self, topic: str, payload: bytes) -> None:
        """A retained message leaves now; it will come back where it is read."""
        self._owned.publishes(topic, payload)

    def put_unknown_right(self) -> None:
        """All payloads were published over this connection: remove what was found that nobody remembers."""
        for topic in sorted(self._unknown):
            self._on_foreign(topic, b"")
            self._put_right(topic)
        self._unknown.clear()

    def disconnected(self) -> None:
        """What was under way may never come back."""
        self._owned.disconnected()

    def close(self) -> None:
        """End the timers."""
        for timer in self._putting_right.values():
            timer.cancel()

    def hear(self, topic: str, payload: bytes, retained: bool) -> None:
        """A message came on an own topic."""
        wanted = self._payloads.get(topic)
        if wanted is None and retained and self._leave_retained:
            return
        if not self._speaks():
            # What is remembered is published as soon as that may be; what nobody remembers waits until then too.
            if wanted is None and payload and self._owned.removes_unknown(topic) and len(self._unknown) < REMEMBERED:
                self._unknown.add(topic)
            return
        if topic not in self._putting_right and self._owned.is_foreign(topic, payload, wanted):
            self._on_foreign(topic, payload)
            pause_s = self._owned.pause_s(topic, self._loop.time())
            if pause_s > 0.0 and len(self._putting_right) < REMEMBERED:
                self._putting_right[topic] = self._loop.call_later(pause_s, self._put_right, topic)
            else:
                self._put_right(topic)

    def _put_right(self, topic: str) -> None:
        self._putting_right.pop(topic, None)
        if self._speaks():
            self._publish(topic, self._payloads.get(topic, b""))


def _nobody(_topic: str, _payload: bytes) -> None:
    """Nobody wants to be told."""
