"""The MQTT connection of controller, agents and splitctl, on an asyncio loop.

Owns: connecting, reconnecting, subscriptions, typed decoding, the republishing of retained state after a reconnect,
and the sentence that says why there is no connection. Its rule: handlers run on the loop that made the bus; paho's
thread only hands over. A payload that does not decode is reported and dropped, it never stops the daemon. A program with
a registration says nothing before its name is its own. Not here: topics (`control/topics.py`) and what messages mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edgesplit.errors import BrokerUnreachable, MalformedMessage
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.mqtt.broker_diagnosis import explain_no_connection
from edgesplit.mqtt.name_claim import NameClaim, Registered
from edgesplit.mqtt.packet_limit import Oversize, PacketLimit
from edgesplit.mqtt.topic_filters import matches
from edgesplit.mqtt.topic_ownership import REMEMBERED, Ownership

__all__ = ["PAYLOAD_LIMIT_BYTES", "MessageBus"]

T = TypeVar("T")
QUALITY_OF_SERVICE = 1
CONNECT_TIMEOUT_S = 4.0
"""Below the 5 s within which splitctl has to say that a broker is away (packets to it may just vanish)."""
KEEP_ALIVE_S = 5
"""A silent node's last will is published by the broker after 1.5 times this."""
DIAGNOSE_TIMEOUT_S = 3.0
DIAGNOSE_EVERY_S = 10.0
"""Pause between two looks at why there is no connection; the first comes at once. [s]"""
PAYLOAD_LIMIT_BYTES = 16 << 20
"""No message of a fleet comes near; decoding one of this size takes some tenths of a second."""
SUBSCRIBE_AGAIN_S = (2.0, 30.0)
"""First and longest pause before subscriptions that the broker refused are tried again. [s]"""


@dataclass(frozen=True)
class _Subscription:
    topic_filter: str
    decoder: msgspec.json.Decoder[Any]
    limit_bytes: int
    handler: Callable[[str, Any], None]

    def decode(self, payload: bytes) -> Any:
        if len(payload) > self.limit_bytes:
            raise ValueError(f"it has {len(payload)} bytes, and {self.limit_bytes} are the most that is read")
        return self.decoder.decode(payload)


class MessageBus:
    """One MQTT 3.1.1 connection.

    Args:
        broker: URL of the broker, or its address with TLS files.
        client_id: Unique per process; the broker drops an older connection of the same.
        will: Topic and message that the broker publishes, retained, when this side vanishes.
        elsewhere: Where another broker would be named, for a sentence that says to.
        registered: The name this program holds; nothing is published before it is its own.
        on_malformed: Told of payloads that do not decode.
        on_connection: Told when the connection comes up, or goes away or cannot be had, and why; each reason once.
        on_accepted: Told when the broker has accepted a connection and nothing was published over it yet.
        on_refused: Told when another program holds the name, and who.
        on_oversize: Told of a message that the broker does not take.

    Raises:
        InvalidConfiguration: The URL or a TLS file cannot be used.
    """

    def __init__(
        self,
        broker: str | BrokerAddress,
        *,
        client_id: str,
        will: tuple[str, msgspec.Struct] | None = None,
        elsewhere: str = "in [broker] url",
        registered: Registered | None = None,
        on_malformed: Callable[[MalformedMessage], None] | None = None,
        on_connection: Callable[[bool, str], None] | None = None,
        on_accepted: Callable[[], None] | None = None,
        on_refused: Callable[[str], None] | None = None,
        on_oversize: Callable[[Oversize], None] | None = None,
    ) -> None:
        self.address = BrokerAddress.parse(broker) if isinstance(broker, str) else broker
        self._loop = asyncio.get_running_loop()
        self._client_id, self._will, self._elsewhere = client_id, will, elsewhere
        self._on_malformed, self._on_connection, self._tell_accepted = on_malformed, on_connection, on_accepted
        self._on_refused, self._on_oversize = on_refused, on_oversize
        self._subscriptions: list[_Subscription] = []
        self._state: dict[str, bytes] = {}
        self._connected = asyncio.Event()
        self._settled = asyncio.Event()
        self._accepted = False
        self._awaited: dict[int, str] = {}
        self._denied: list[str] = []
        self._subscribe_pause_s = SUBSCRIBE_AGAIN_S[0]
        self._fault = ""
        self._packets = PacketLimit()
        self._owned = Ownership()
        self._on_foreign: Callable[[str, bytes], None] = _nobody
        self._unknown: set[str] = set()
        self._sought: dict[str, set[str]] = {}
        self.on_heard: Callable[[str, bool], None] | None = None
        """Told of the topic of whatever arrives, and whether the broker kept it from before."""
        self._leave_retained = False
        self._putting_right: dict[str, asyncio.TimerHandle] = {}
        self._name = None if registered is None else self._claim_of(registered)
        self._diagnosis: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._closing = False
        self._tls = self.address.tls_context() if self.address.tls else None
        self._client = self._new_client()

    def _claim_of(self, registered: Registered) -> NameClaim:
        def send_claim(payload: bytes) -> None:
            self._publish(registered.claims, payload, retain=False)

        return NameClaim(
            registered,
            send_claim=send_claim,
            answer=self._register_again,
            on_held=self._on_ready,
            on_refused=self._on_name_refused,
            on_deaf=self._on_deaf,
        )

    def _new_client(self) -> mqtt.Client:
        address = self.address
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=mqtt.MQTTv311)
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if self._will is not None:
            client.will_set(self._will[0], msgspec.json.encode(self._will[1]), qos=QUALITY_OF_SERVICE, retain=True)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.reconnect_delay_set(min_delay=1, max_delay=5)
        client.on_socket_open = _send_at_once
        client.on_connect = self._paho_connected
        client.on_connect_fail = self._paho_failed
        client.on_subscribe = self._paho_subscribed
        client.on_disconnect = self._paho_disconnected
        client.on_message = self._paho_message
        client.on_publish = self._paho_confirmed
        return client

    @property
    def connected(self) -> bool:
        """Whether the broker answers now, has confirmed every subscription, and the name (if any) is held."""
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

    @property
    def fault(self) -> str:
        """Why there is no connection, in one sentence; empty while there is one or nothing is known yet."""
        return self._fault

    def start(self) -> None:
        """Begin connecting, and reconnect for ever; returns at once."""
        self._client.connect_async(self.address.host, self.address.port, keepalive=KEEP_ALIVE_S)
        self._client.loop_start()

    async def connect(self, timeout_s: float) -> None:
        """Connect, or give up.

        Raises:
            BrokerUnreachable: No connection within `timeout_s`, or a reason why there will be none was found.
        """
        self.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        if not self.connected:
            await self.close()
            late = f"no MQTT broker answers at {self.address} in time: start it, or name another {self._elsewhere}"
            raise BrokerUnreachable(self._fault or late)

    def subscribe(
        self,
        topic_filter: str,
        message_type: type[T],
        handler: Callable[[str, T | None], None],
        limit_bytes: int = PAYLOAD_LIMIT_BYTES,
    ) -> None:
        """Have `handler(topic, message)` called for every payload; an empty (cleared) one arrives as None.

        One above `limit_bytes` is malformed.
        """
        subscription = _Subscription(topic_filter, msgspec.json.Decoder(message_type), limit_bytes, handler)
        self._subscriptions.append(subscription)
        if self.connected:
            self._client.subscribe(topic_filter, QUALITY_OF_SERVICE)

    def own(
        self,
        filters: Iterable[str],
        *,
        remove_unknown: bool = False,
        leave_retained: bool = False,
        on_foreign: Callable[[str, bytes], None] | None = None,
    ) -> None:
        """Put right what others publish on topics that only this program writes; call it before `start`.

        Args:
            filters: Those topics.
            remove_unknown: What was not published here is removed from them, instead of being left alone.
            leave_retained: But for what the broker kept from before.
            on_foreign: Told of topic and payload each time.
        """
        self._owned.filters |= dict.fromkeys(filters, remove_unknown)
        self._leave_retained = self._leave_retained or leave_retained
        self._on_foreign = on_foreign or self._on_foreign

    def owns(self, topic: str) -> bool:
        """Whether only this program writes a topic."""
        return self._owned.owns(topic)

    def publish_state(self, topic: str, message: msgspec.Struct) -> None:
        """Publish retained; kept and sent again after every reconnect."""
        payload = msgspec.json.encode(message)
        self._state[topic] = payload
        if self.connected:
            self._publish(topic, payload, retain=True)

    def clear_state(self, topic: str) -> None:
        """Remove a retained message; also repeated after a reconnect, in case the broker was away."""
        self._state[topic] = b""
        if self.connected:
            self._publish(topic, b"", retain=True)

    def wipe(self, topic: str) -> None:
        """Remove a retained message that is somebody else's, once: nothing of it is remembered or repeated."""
        self._state.pop(topic, None)
        if self.connected:
            self._publish(topic, b"", retain=True)

    async def retained(self, topic_filter: str, wait_s: float = 0.5) -> frozenset[str]:
        """Topics below a filter of which the broker keeps a message; `wait_s` is what it gets to name them."""
        found: set[str] = set()
        self._sought[topic_filter] = found
        self._client.subscribe(topic_filter, QUALITY_OF_SERVICE)
        try:
            await asyncio.sleep(wait_s)
        finally:
            del self._sought[topic_filter]
            self._client.unsubscribe(topic_filter)
        return frozenset(found)

    def send(self, topic: str, message: msgspec.Struct) -> bool:
        """Publish once, not retained. False (and nothing queued) while the broker is away or would not take it."""
        return self.connected and self._publish(topic, msgspec.json.encode(message), retain=False)

    async def close(self) -> None:
        """Disconnect in order after what was published has left; the last will is not sent."""
        self._closing = True
        if self._diagnosis is not None:
            self._diagnosis.cancel()
        if self._name is not None:
            self._name.close()
        if self._later is not None:
            self._later.cancel()
        for timer in self._putting_right.values():
            timer.cancel()
        if self.connected:
            await self._flush()
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def _flush(self) -> None:
        # Broker acknowledgement of one last message implies that all earlier ones on the connection have left.
        info = self._client.publish("edgesplit/1/flush", b"", qos=QUALITY_OF_SERVICE)
        with contextlib.suppress(ValueError, RuntimeError):
            await asyncio.to_thread(info.wait_for_publish, 2.0)

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> bool:
        if not self._packets.admits(len(payload)):
            return False
        info = self._client.publish(topic, payload, qos=QUALITY_OF_SERVICE, retain=retain)
        self._packets.sent(info.mid, topic, len(payload))
        if retain:
            self._owned.publishes(topic, payload)
        return info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    # --- paho's thread ---------------------------------------------------------------------------------------------

    def _paho_connected(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            self._hand_over(client, self._on_accepted)

    def _paho_failed(self, client: mqtt.Client, _data: Any) -> None:
        self._hand_over(client, self._find_fault)

    def _paho_disconnected(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._hand_over(client, self._on_disconnected, str(reason))

    def _paho_subscribed(self, client: mqtt.Client, _data: Any, identifier: int, codes: Any, _properties: Any) -> None:
        self._hand_over(client, self._on_subscribed, identifier, any(code.is_failure for code in codes))

    def _paho_confirmed(self, client: mqtt.Client, _data: Any, identifier: int, _reason: Any, _properties: Any) -> None:
        self._hand_over(client, self._packets.confirmed, identifier)

    def _paho_message(self, client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._hand_over(client, self._dispatch, message.topic, bytes(message.payload), message.retain)

    def _hand_over(self, client: mqtt.Client, function: Callable[..., None], *arguments: Any) -> None:
        # The loop may be closing while paho still delivers; nobody is left to care then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._take_over, client, function, *arguments)

    # --- the loop --------------------------------------------------------------------------------------------------

    def _take_over(self, client: mqtt.Client, function: Callable[..., None], *arguments: Any) -> None:
        if client is self._client and not self._closing:
            function(*arguments)

    def _on_accepted(self) -> None:
        self._connected.clear()
        self._accepted = True
        self._subscribe_pause_s = SUBSCRIBE_AGAIN_S[0]
        if self._diagnosis is not None:
            self._diagnosis.cancel()
        if self._tell_accepted is not None:
            self._tell_accepted()
        names = [entry.topic_filter for entry in self._subscriptions]
        for name in (*self._owned.filters, *(self._name.topics if self._name is not None else ())):
            # A topic that two filters cover would arrive twice.
            if not any(matches(pattern, name.replace("+", "any")) for pattern in names):
                names.append(name)
        self._subscribe_to(names)

    def _subscribe_to(self, topic_filters: list[str]) -> None:
        self._denied = []
        results = [(self._client.subscribe(name, QUALITY_OF_SERVICE)[1], name) for name in topic_filters]
        self._awaited = {identifier: name for identifier, name in results if identifier is not None}
        if not self._awaited:
            self._on_listening()

    def _on_subscribed(self, identifier: int, denied: bool) -> None:
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
        self._say_fault(
            f"the broker at {self.address} refuses {self.address.who} the topics {', '.join(sorted(self._denied))}: "
            "allow reading them in its access rules"
        )
        self._later = self._loop.call_later(self._subscribe_pause_s, self._subscribe_to, self._denied)
        self._subscribe_pause_s = min(2 * self._subscribe_pause_s, SUBSCRIBE_AGAIN_S[1])

    def _on_listening(self) -> None:
        # Only now is anything said: who answers it must find this side listening.
        if self._name is None:
            self._on_ready()
        else:
            self._name.connected()

    def _on_ready(self) -> None:
        for topic, payload in list(self._state.items()):
            if not self._publish(topic, payload, retain=True) and self._packets.admits(len(payload)):
                return  # gone again; the next connection repeats everything
        self._connected.set()
        self._settled.set()
        self._fault = ""
        for topic in sorted(self._unknown):
            self._on_foreign(topic, b"")
            self._put_right(topic)
        self._unknown.clear()
        if self._on_connection is not None:
            self._on_connection(True, "")

    def _on_disconnected(self, reason: str) -> None:
        was_connected, was_accepted = self._connected.is_set(), self._accepted
        self._connected.clear()
        self._accepted, self._awaited = False, {}
        self._owned.disconnected()
        if self._later is not None:
            self._later.cancel()
        if self._name is not None:
            self._name.disconnected()
        if not was_accepted:
            self._find_fault()
            return
        oversize = self._packets.connection_lost()
        if oversize is not None:
            # paho would send the same message again for ever, and offers no way to take it back.
            old, self._client = self._client, self._new_client()
            self._loop.run_in_executor(None, partial(_end, old))
            self.start()
            reason = oversize.sentence(str(self.address))
            if self._on_oversize is not None:
                self._on_oversize(oversize)
        if was_connected:
            self._say_fault(reason)

    def _find_fault(self) -> None:
        """A connection was not accepted: find out why, now and then."""
        if self._diagnosis is None or self._diagnosis.done():
            self._diagnosis = self._loop.create_task(self._diagnose(), name="why-no-broker")

    async def _diagnose(self) -> None:
        sentence = await asyncio.to_thread(explain_no_connection, self.address, DIAGNOSE_TIMEOUT_S, self._elsewhere)
        if sentence and not self._accepted:
            self._say_fault(sentence)
        await asyncio.sleep(DIAGNOSE_EVERY_S if sentence else 0.0)

    def _say_fault(self, sentence: str) -> None:
        if sentence == self._fault:
            return
        self._fault = sentence
        self._settled.set()
        if self._on_connection is not None:
            self._on_connection(False, sentence)

    def _on_deaf(self, topic: str) -> None:
        self._say_fault(
            f"the broker at {self.address} confirms everything and does not pass on {topic}: "
            f"{self.address.who} has to be allowed to write and to read it (edgesplit/1/#)"
        )

    def _on_name_refused(self, sentence: str) -> None:
        self._connected.clear()
        self._fault = sentence
        self._settled.set()
        if self._on_refused is not None:
            self._on_refused(sentence)

    def _register_again(self) -> None:
        if self._name is not None and self.connected and (payload := self._state.get(self._name.topics[0])):
            self._publish(self._name.topics[0], payload, retain=True)

    def _dispatch(self, topic: str, payload: bytes, retained: bool = False) -> None:
        if self.on_heard is not None:
            self.on_heard(topic, retained)
        for topic_filter, found in self._sought.items():
            if retained and payload and matches(topic_filter, topic):
                found.add(topic)
        if self._name is not None and topic in self._name.topics:
            wrong = self._name.hear(topic, payload, retained=retained)
            if wrong and self._on_malformed is not None:
                self._on_malformed(MalformedMessage(f"the payload on {topic} was ignored: {wrong}"))
        if self._owned.owns(topic):
            self._hear_own(topic, payload, retained)
        for subscription in self._subscriptions:
            if not matches(subscription.topic_filter, topic):
                continue
            message = None
            if payload:
                try:
                    message = subscription.decode(payload)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
                    if self._on_malformed is not None:
                        self._on_malformed(MalformedMessage(f"the payload on {topic} was ignored: {error}"))
                    continue
            subscription.handler(topic, message)

    def _hear_own(self, topic: str, payload: bytes, retained: bool) -> None:
        wanted = self._state.get(topic)
        if wanted is None and retained and self._leave_retained:
            return
        if not self._connected.is_set():
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
        if self._connected.is_set():
            self._publish(topic, self._state.get(topic, b""), retain=True)


def _nobody(_topic: str, _payload: bytes) -> None:
    """Nobody wants to be told."""


def _end(client: mqtt.Client) -> None:
    client.disconnect()
    client.loop_stop()


def _send_at_once(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    """Small messages must not wait for the acknowledgement of earlier ones (Nagle's algorithm)."""
    with contextlib.suppress(OSError, AttributeError):  # a websocket or TLS wrapper may not offer it
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
