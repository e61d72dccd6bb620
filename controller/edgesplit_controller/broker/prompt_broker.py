"""amqtt's broker without three stalls that lose or delay messages; overrides private parts of amqtt.

Owns: every use of what amqtt does not promise. Its rule: tried with the versions of `TRIED`; with any other the broker is
amqtt's own, which works and stalls now and then. Not here: its thread and its address (`broker/embedded_broker.py`).
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any, Protocol

import structlog
from amqtt.broker import Broker

from edgesplit.private_parts import TriedWith

__all__ = ["TRIED", "MqttBroker", "make_broker"]

TRIED = TriedWith("amqtt", "0.11", "0.13")


class MqttBroker(Protocol):
    """What is used of `amqtt.broker.Broker`."""

    async def start(self) -> None:
        """Listen."""

    async def shutdown(self) -> None:
        """Disconnect everybody and stop."""


class _PromptBroker(Broker):  # type: ignore[misc]  # amqtt's types are not followed
    """amqtt's broker without three stalls.

    * It iterates over its subscriptions for every new client and suspends meanwhile: another client that
      subscribes then makes the iteration fail, and the new client's session dies.
    * It waits for the acknowledgement of every retained message before it looks at a client's next packet, and an
      acknowledgement that comes very fast is overlooked until a time-out of 5 s.
    * A client that falls silent is never declared dead, so that its last will is not published.
    """

    async def _publish_retained_messages_for_subscription(self, subscription: tuple[str, int], session: Any) -> None:
        # Never suspends: see the first two stalls.
        topic_filter, qos = subscription
        handler = self._get_handler(session)
        if handler is None or all(known is not session for known, _ in self._subscriptions.get(topic_filter, [])):
            return
        for topic, retained in tuple(self._retained_messages.items()):
            if self._matches(topic, topic_filter):
                sending = handler.mqtt_publish(topic, retained.data, min(qos, retained.qos or qos), retain=True)
                self._tasks_queue.append(asyncio.ensure_future(sending))

    async def _initialize_client_session(self, reader: Any, writer: Any, remote_address: str, remote_port: int) -> Any:
        handler, session = await super()._initialize_client_session(reader, writer, remote_address, remote_port)
        closing: set[asyncio.Task[None]] = set()
        handler.handle_read_timeout = lambda: closing.add(asyncio.ensure_future(handler.handle_connection_closed()))
        return handler, session


def make_broker(configuration: dict[str, Any], *, installed: str | None = None) -> MqttBroker:
    """A broker, not started.

    Args:
        configuration: amqtt's.
        installed: amqtt's version; None: it is asked.
    """
    found = version("amqtt") if installed is None else installed
    if TRIED.covers(found):
        prompt: MqttBroker = _PromptBroker(configuration)
        return prompt
    structlog.get_logger(part="broker").warning(
        "broker-unadjusted", text=f"{TRIED.text(found)}: the embedded broker may delay messages by some seconds"
    )
    plain: MqttBroker = Broker(configuration)
    return plain
