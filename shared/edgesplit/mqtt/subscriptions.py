"""Subscriptions: what is asked of the broker, until it has confirmed every filter, and how payloads are decoded.

Owns: one subscription's decoding within its limit, who reads a topic, and the round of questions after each connection. Its rule: whoever
subscribes is listening only once all filters are confirmed; what the broker denies is asked again, ever later. Not here: the
connection (`mqtt/bus.py`), what a filter matches (`mqtt/topic_filters.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from edgesplit.mqtt.signed.sealing import Said
from edgesplit.trust.envelope import in_envelope
from edgesplit.trust.subjects import PeerCertificate

__all__ = ["Deliveries", "Delivery", "Subscription", "SubscriptionRound"]

AGAIN_S = (2.0, 30.0)
"""First and longest pause before subscriptions that the broker refused are tried again. [s]"""
REMEMBERED = 1 << 15
"""Topics whose deliveries are remembered: some for each of a thousand nodes."""
REMEMBERED_CHARACTERS = 256
"""Longer topics are nobody's of the fleet."""


@dataclass(frozen=True)
class Subscription:
    """Messages that somebody wants.

    Attributes:
        limit_bytes: Larger payloads are malformed. [B]
        handler: Called with topic, message, None where one was cleared, and who signed it, None where nobody had to.
    """

    topic_filter: str
    decoder: msgspec.json.Decoder[Any]
    limit_bytes: int
    handler: Callable[[str, Any, PeerCertificate | None], None]

    def deliver(self, topic: str, said: Said) -> str:
        """Hand over what was said; returns what is wrong with it, or nothing."""
        if len(said.message) > self.limit_bytes:
            return f"it has {len(said.message)} bytes, and {self.limit_bytes} are the most that is read"
        try:
            message = self.decoder.decode(said.message) if said.message else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            if in_envelope(said.message) is not None:
                return "it is signed, and this program is of no fleet with an authority: let it join (edgesplit-agent join, splitctl login)"
            return str(error)
        self.handler(topic, message, said.signer)
        return ""


@dataclass(frozen=True)
class Delivery:
    """What becomes of messages on one topic.

    Attributes:
        readers: Subscriptions that they are for.
        is_owned: Whether only this program writes them.
        is_name: Whether they are about the name that this program holds.
    """

    readers: tuple[Subscription, ...]
    is_owned: bool
    is_name: bool


class Deliveries:
    """Those of all topics that come again and again: matching each message with every filter is most of what a message costs.

    Args:
        find: Works one out.
    """

    def __init__(self, find: Callable[[str], Delivery]) -> None:
        self._find = find
        self._known: dict[str, Delivery] = {}

    def of(self, topic: str) -> Delivery:
        """That of a topic."""
        delivery = self._known.get(topic)
        if delivery is None:
            delivery = self._find(topic)
            if len(topic) <= REMEMBERED_CHARACTERS:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[topic] = delivery
        return delivery

    def clear(self) -> None:
        """Subscriptions changed."""
        self._known.clear()


class SubscriptionRound:
    """Asks for topic filters over one connection after the other.

    Args:
        on_listening: Called once all are confirmed.
        on_denied: Called with those that the broker does not allow; they are asked for again.
    """

    def __init__(self, on_listening: Callable[[], None], on_denied: Callable[[list[str]], None]) -> None:
        self._on_listening, self._on_denied = on_listening, on_denied
        self._loop = asyncio.get_running_loop()
        self._awaited: dict[int, str] = {}
        self._denied: list[str] = []
        self._pause_s = AGAIN_S[0]
        self._later: asyncio.TimerHandle | None = None
        self._subscribe: Callable[[str], int | None] = _nothing

    def begin(self, topic_filters: list[str], subscribe: Callable[[str], int | None]) -> None:
        """A connection was accepted.

        Args:
            topic_filters: What to ask for.
            subscribe: Asks the broker; returns what its answer is known by, or None without a connection.
        """
        self._pause_s, self._subscribe = AGAIN_S[0], subscribe
        self._ask(topic_filters)

    def _ask(self, topic_filters: list[str]) -> None:
        self._denied = []
        asked = [(self._subscribe(name), name) for name in topic_filters]
        self._awaited = {identifier: name for identifier, name in asked if identifier is not None}
        if not self._awaited:
            self._on_listening()

    def answered(self, identifier: int, denied: bool) -> None:
        """The broker answered one question, perhaps of an earlier connection."""
        topic_filter = self._awaited.pop(identifier, None)
        if topic_filter is None:
            return
        if denied:
            self._denied.append(topic_filter)
        if self._awaited:
            return
        if not self._denied:
            self._on_listening()
            return
        self._on_denied(sorted(self._denied))
        self._later = self._loop.call_later(self._pause_s, self._ask, self._denied)
        self._pause_s = min(2 * self._pause_s, AGAIN_S[1])

    def end(self) -> None:
        """The connection is gone; nothing is asked again."""
        self._awaited = {}
        if self._later is not None:
            self._later.cancel()


def _nothing(_topic_filter: str) -> None:
    """There was no connection yet."""
