"""The MQTT client library (paho) and its thread.

Owns: what the bus asks of a client, one client of paho with its settings, and the way from paho's thread to the event loop. Its
rule: callbacks run on the loop, and none comes once the client was ended; a prefix of topics is added and taken off here; only paho's
public interface is used. Not here: what connections and messages lead to (`mqtt/bus.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edgesplit.daemon_thread import in_daemon_thread
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.mqtt.broker_diagnosis import explain_no_connection
from edgesplit.mqtt.topic import QUALITY_OF_SERVICE, ROOT

__all__ = ["BrokerClient", "ClientEvents", "ClientMaker", "PahoClient"]

CONNECT_TIMEOUT_S = 4.0
"""Below the 5 s within which splitctl has to say that a broker is away (packets to it may just vanish)."""
KEEP_ALIVE_S = 5
"""A silent node's last will is published by the broker after 1.5 times this."""
AT_A_TURN = 64
"""Messages that are taken in before the loop turns to others."""
FLUSH_S = 2.0
"""Longest wait for the broker to have all that was published. [s]"""
STOP_S = 0.5
"""Longest wait for paho's thread to end. [s]"""


@dataclass(frozen=True)
class ClientEvents:
    """What is called, on the event loop, when something happens to the connection.

    Attributes:
        accepted: The broker accepted a connection.
        failed: No connection could be made.
        disconnected: A connection ended or was not accepted; told why.
        subscribed: The broker answered a subscription; told which, and whether it denies it.
        confirmed: The broker has a message; told which.
        message: A message came; told topic, payload, and whether the broker kept it from before.
    """

    accepted: Callable[[], None]
    failed: Callable[[], None]
    disconnected: Callable[[str], None]
    subscribed: Callable[[int, bool], None]
    confirmed: Callable[[int], None]
    message: Callable[[str, bytes, bool], None]


class BrokerClient(Protocol):
    """One connection to a broker, made again whenever it ends; `PahoClient` is the one over a network."""

    @property
    def broker_host(self) -> str:
        """The broker's numeric address on the present connection; empty without one."""
        ...

    def set_will(self, will: tuple[str, bytes] | None) -> None:
        """Another last will, from the next connection on."""

    def start(self) -> None:
        """Begin connecting, and reconnect for ever; returns at once."""

    def subscribe(self, topic_filter: str) -> int | None:
        """Ask for topics; returns what the answer is known by, or None without a connection."""
        ...

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for topics no more."""

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> tuple[int, bool]:
        """Send a message; returns what its confirmation is known by, and whether it is under way."""
        ...

    def explain(self, timeout_s: float, elsewhere: str) -> str:
        """Why there is no connection, in one sentence; empty where nothing is wrong now. Blocks, for so long at most. [s]"""
        ...

    async def end(self, *, flush: str = "") -> None:
        """Disconnect in order, after a last message on the topic `flush`; the last will is not sent."""

    def abandon(self) -> None:
        """End it with what it still holds, without waiting."""


ClientMaker: TypeAlias = Callable[
    [BrokerAddress, ssl.SSLContext | None, str, tuple[str, bytes] | None, ClientEvents], BrokerClient
]
"""Makes a client of a broker: whom to trust, client identifier, last will, and who is told what happens."""


class PahoClient:
    """One MQTT 3.1.1 client.

    Args:
        address: The broker.
        tls: Whom to trust; None for a connection without TLS.
        client_id: Unique per process.
        will: Topic and payload that the broker publishes, retained, when this side vanishes.
        events: Told what happens.
    """

    def __init__(
        self,
        address: BrokerAddress,
        tls: ssl.SSLContext | None,
        client_id: str,
        will: tuple[str, bytes] | None,
        events: ClientEvents,
    ) -> None:
        self._address, self._events = address, events
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._woken = False
        client = self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        if tls is not None:
            client.tls_set_context(tls)
        self.set_will(will)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.reconnect_delay_set(min_delay=1, max_delay=5)
        client.on_socket_open = _send_at_once
        client.on_connect = self._paho_connected
        client.on_connect_fail = self._paho_failed
        client.on_subscribe = self._paho_subscribed
        client.on_disconnect = self._paho_disconnected
        client.on_message = self._paho_message
        client.on_publish = self._paho_confirmed

    def set_will(self, will: tuple[str, bytes] | None) -> None:
        """Another last will, from the next connection on."""
        if will is not None:
            topic, payload = will
            self._client.will_set(self._above(topic), payload, qos=QUALITY_OF_SERVICE, retain=True)

    def start(self) -> None:
        """Begin connecting, and reconnect for ever; returns at once."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=KEEP_ALIVE_S)
        self._client.loop_start()

    @property
    def broker_host(self) -> str:
        """The broker's numeric address on the present connection; empty without one."""
        connection = self._client.socket()
        try:
            # TLS wraps the socket; a websocket, which edgesplit never asks for, would have none of its own.
            return str(connection.getpeername()[0]) if isinstance(connection, socket.socket) else ""
        except OSError:
            return ""  # it went away just now

    def subscribe(self, topic_filter: str) -> int | None:
        """Ask for topics; returns what the answer is known by, or None without a connection."""
        return self._client.subscribe(self._above(topic_filter), QUALITY_OF_SERVICE)[1]

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for topics no more."""
        self._client.unsubscribe(self._above(topic_filter))

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> tuple[int, bool]:
        """Send a message; returns what its confirmation is known by, and whether it is under way."""
        info = self._client.publish(self._above(topic), payload, qos=QUALITY_OF_SERVICE, retain=retain)
        return info.mid, info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def explain(self, timeout_s: float, elsewhere: str) -> str:
        """See `BrokerClient`."""
        return explain_no_connection(self._address, timeout_s, elsewhere)

    async def end(self, *, flush: str = "") -> None:
        """Disconnect in order; the last will is not sent.

        Args:
            flush: A topic for a last message: once the broker confirms it, it has all that was published before.
        """
        self._ended = True
        if flush:
            info = self._client.publish(self._above(flush), b"", qos=QUALITY_OF_SERVICE)
            with contextlib.suppress(ValueError, RuntimeError):
                await asyncio.to_thread(info.wait_for_publish, FLUSH_S)
        self._client.disconnect()
        # Its thread may be waiting for a name server, for half a minute and more.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await in_daemon_thread(self._client.loop_stop, "mqtt-stop")

    def _above(self, topic: str) -> str:
        """A topic or filter as the broker knows it: of the fleet, below its prefix; of others, as it is."""
        return f"{self._address.prefix}{topic}" if topic.startswith(ROOT) else topic

    def abandon(self) -> None:
        """End it with what it still holds, without waiting."""
        self._ended = True
        threading.Thread(target=self._stop, name="mqtt-stop", daemon=True).start()

    def _stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    # --- paho's thread ---------------------------------------------------------------------------------------------

    def _paho_connected(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            self._hand_over(self._events.accepted)

    def _paho_failed(self, _client: mqtt.Client, _data: Any) -> None:
        self._hand_over(self._events.failed)

    def _paho_disconnected(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._hand_over(self._events.disconnected, str(reason))

    def _paho_subscribed(self, _client: mqtt.Client, _data: Any, identifier: int, codes: Any, _properties: Any) -> None:
        self._hand_over(self._events.subscribed, identifier, any(code.is_failure for code in codes))

    def _paho_confirmed(self, _client: mqtt.Client, _data: Any, identifier: int, _reason: Any, _more: Any) -> None:
        self._hand_over(self._events.confirmed, identifier)

    def _paho_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        topic = message.topic.removeprefix(self._address.prefix)
        self._hand_over(self._events.message, topic, bytes(message.payload), message.retain)

    def _hand_over(self, function: Callable[..., None], *arguments: Any) -> None:
        self._waiting.append((function, arguments))
        if not self._woken:
            self._woken = True
            # The loop may be closing while paho still delivers; nobody is left to care then.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._take_over)

    def _take_over(self) -> None:
        """Do what was handed over, some of it at a turn: the loop has more to do than to listen to a crowd."""
        self._woken = False
        try:
            for _ in range(min(len(self._waiting), AT_A_TURN)):
                function, arguments = self._waiting.popleft()
                if not self._ended:
                    function(*arguments)
        finally:
            if self._waiting and not self._woken:
                self._woken = True
                self._loop.call_soon(self._take_over)


def _send_at_once(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    """Small messages must not wait for the acknowledgement of earlier ones (Nagle's algorithm)."""
    with contextlib.suppress(OSError, AttributeError):  # a websocket or TLS wrapper may not offer it
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
