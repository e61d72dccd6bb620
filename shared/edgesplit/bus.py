"""The MQTT connection of controller, agents and splitctl, on an asyncio loop.

Owns: connecting, reconnecting, subscriptions, typed decoding, and the republishing of retained state after a
reconnect. Its rule: handlers run on the loop that made the bus; paho's thread only hands over. A payload that does not
decode is reported and dropped, it never stops the daemon. Not here: topics (`topics.py`) and what messages mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edgesplit.configuration import without_password
from edgesplit.errors import BrokerUnreachable, InvalidConfiguration, MalformedMessage

__all__ = ["BrokerAddress", "MessageBus"]

T = TypeVar("T")
QUALITY_OF_SERVICE = 1
CONNECT_TIMEOUT_S = 4.0
"""Below the 5 s within which splitctl has to say that a broker is away (packets to it may just vanish)."""
KEEP_ALIVE_S = 5
"""A silent node's last will is published by the broker after 1.5 times this."""


@dataclass(frozen=True)
class BrokerAddress:
    """A broker's URL, taken apart.

    Attributes:
        tls: Whether the scheme is `mqtts`.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None

    def __str__(self) -> str:
        """Host and port only: what logs and status lines may show."""
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """Read `mqtt://[user:password@]host[:1883]` or `mqtts://…[:8883]`.

        Raises:
            InvalidConfiguration: Another scheme, no host or a port out of range.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidConfiguration(f"the broker URL cannot be read: {error}") from error
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise InvalidConfiguration(
                f"broker URL {without_password(url)!r} must look like mqtt://host:1883 or mqtts://host:8883"
            )
        tls = parts.scheme == "mqtts"
        return cls(
            host=parts.hostname,
            port=port or (8883 if tls else 1883),
            tls=tls,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


@dataclass(frozen=True)
class _Subscription:
    topic_filter: str
    decoder: msgspec.json.Decoder[Any]
    handler: Callable[[str, Any], None]


class MessageBus:
    """One MQTT 3.1.1 connection.

    Args:
        url: Broker URL.
        client_id: Unique per process; the broker drops an older connection of the same.
        will: Topic and message that the broker publishes, retained, when this side vanishes.
        on_malformed: Told of payloads that do not decode.
        on_connection: Told when the connection comes up or goes away.
        on_accepted: Told when the broker has accepted a connection and nothing was published over it yet.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        will: tuple[str, msgspec.Struct] | None = None,
        on_malformed: Callable[[MalformedMessage], None] | None = None,
        on_connection: Callable[[bool, str], None] | None = None,
        on_accepted: Callable[[], None] | None = None,
    ) -> None:
        self.address = BrokerAddress.parse(url)
        self.url = url
        self._loop = asyncio.get_running_loop()
        self._on_malformed = on_malformed
        self._on_connection = on_connection
        self._on_accepted = on_accepted
        self._subscriptions: list[_Subscription] = []
        self._state: dict[str, bytes] = {}
        self._connected = asyncio.Event()
        self._awaited: set[int] = set()
        self._refusal = ""
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
        if self.address.user is not None:
            client.username_pw_set(self.address.user, self.address.password)
        if self.address.tls:
            client.tls_set_context(ssl.create_default_context())
        if will is not None:
            client.will_set(will[0], msgspec.json.encode(will[1]), qos=QUALITY_OF_SERVICE, retain=True)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.reconnect_delay_set(min_delay=1, max_delay=5)
        client.on_socket_open = _send_at_once
        client.on_connect = self._paho_connected
        client.on_subscribe = self._paho_subscribed
        client.on_disconnect = self._paho_disconnected
        client.on_message = self._paho_message
        self._client = client

    @property
    def connected(self) -> bool:
        """Whether the broker answers now and has confirmed every subscription."""
        return self._connected.is_set()

    @property
    def broker_host(self) -> str:
        """The broker's numeric address on the present connection; empty without one."""
        connection = self._client.socket()
        try:
            # TLS wraps the socket; a websocket, which edgesplit never asks for, would have none of its own.
            return str(connection.getpeername()[0]) if isinstance(connection, socket.socket) else ""
        except OSError:
            return ""  # it went away just now

    def start(self) -> None:
        """Begin connecting, and reconnect for ever; returns at once."""
        self._client.connect_async(self.address.host, self.address.port, keepalive=KEEP_ALIVE_S)
        self._client.loop_start()

    async def connect(self, timeout_s: float) -> None:
        """Connect, or give up.

        Raises:
            BrokerUnreachable: No connection within `timeout_s`.
        """
        self.start()
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError:
            self._client.loop_stop()
            cause = f" ({self._refusal})" if self._refusal else ""
            raise BrokerUnreachable(
                f"no MQTT broker answers at {self.address.host}:{self.address.port}{cause}: "
                "start it, or name another with --broker or EDGESPLIT_BROKER"
            ) from None

    def subscribe(self, topic_filter: str, message_type: type[T], handler: Callable[[str, T | None], None]) -> None:
        """Have `handler(topic, message)` called for every payload; an empty (cleared) one arrives as None."""
        subscription = _Subscription(topic_filter, msgspec.json.Decoder(message_type), handler)
        self._subscriptions.append(subscription)
        if self.connected:
            self._client.subscribe(topic_filter, QUALITY_OF_SERVICE)

    def publish_state(self, topic: str, message: msgspec.Struct) -> None:
        """Publish retained; kept and sent again after every reconnect."""
        payload = msgspec.json.encode(message)
        self._state[topic] = payload
        if self.connected:
            self._client.publish(topic, payload, qos=QUALITY_OF_SERVICE, retain=True)

    def clear_state(self, topic: str) -> None:
        """Remove a retained message; also repeated after a reconnect, in case the broker was away."""
        self._state[topic] = b""
        if self.connected:
            self._client.publish(topic, b"", qos=QUALITY_OF_SERVICE, retain=True)

    def send(self, topic: str, message: msgspec.Struct) -> bool:
        """Publish once, not retained. False (and nothing queued) while the broker is away."""
        if not self.connected:
            return False
        self._client.publish(topic, msgspec.json.encode(message), qos=QUALITY_OF_SERVICE)
        return True

    async def close(self) -> None:
        """Disconnect in order after what was published has left; the last will is not sent."""
        if self.connected:
            await self._flush()
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def _flush(self) -> None:
        # Broker acknowledgement of one last message implies that all earlier ones on the connection have left.
        info = self._client.publish("edgesplit/1/flush", b"", qos=QUALITY_OF_SERVICE)
        with contextlib.suppress(ValueError, RuntimeError):
            await asyncio.to_thread(info.wait_for_publish, 2.0)

    # --- paho's thread ---------------------------------------------------------------------------------------------

    def _paho_connected(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._hand_over(self._on_connect_result, not reason.is_failure, str(reason))

    def _paho_disconnected(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._hand_over(self._on_disconnected, str(reason))

    def _paho_subscribed(
        self, _client: mqtt.Client, _data: Any, identifier: int, _codes: Any, _properties: Any
    ) -> None:
        self._hand_over(self._on_subscribed, identifier)

    def _paho_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._hand_over(self._dispatch, message.topic, bytes(message.payload))

    def _hand_over(self, function: Callable[..., None], *arguments: Any) -> None:
        # The loop may be closing while paho still delivers; nobody is left to care then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    # --- the loop --------------------------------------------------------------------------------------------------

    def _on_connect_result(self, accepted: bool, reason: str) -> None:
        if not accepted:
            self._refusal = reason
            if self._on_connection is not None:
                self._on_connection(False, reason)
            return
        self._connected.clear()
        if self._on_accepted is not None:
            self._on_accepted()
        results = [self._client.subscribe(entry.topic_filter, QUALITY_OF_SERVICE) for entry in self._subscriptions]
        self._awaited = {identifier for _, identifier in results if identifier is not None}
        if not self._awaited:
            self._on_ready()

    def _on_subscribed(self, identifier: int) -> None:
        if identifier not in self._awaited:
            return
        self._awaited.discard(identifier)
        if not self._awaited:
            self._on_ready()

    def _on_ready(self) -> None:
        # Only now is anything said: who answers it must find this side listening.
        for topic, payload in self._state.items():
            result = self._client.publish(topic, payload, qos=QUALITY_OF_SERVICE, retain=True)
            if result.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return  # gone again; the next connection repeats everything
        self._connected.set()
        if self._on_connection is not None:
            self._on_connection(True, "")

    def _on_disconnected(self, reason: str) -> None:
        was_connected = self._connected.is_set()
        self._connected.clear()
        if was_connected and self._on_connection is not None:
            self._on_connection(False, reason)

    def _dispatch(self, topic: str, payload: bytes) -> None:
        for subscription in self._subscriptions:
            if not mqtt.topic_matches_sub(subscription.topic_filter, topic):
                continue
            message = None
            if payload:
                try:
                    message = subscription.decoder.decode(payload)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    if self._on_malformed is not None:
                        self._on_malformed(MalformedMessage(f"the payload on {topic} was ignored: {error}"))
                    continue
            subscription.handler(topic, message)


def _send_at_once(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    """Small messages must not wait for the acknowledgement of earlier ones (Nagle's algorithm)."""
    with contextlib.suppress(OSError, AttributeError):  # a websocket or TLS wrapper may not offer it
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
