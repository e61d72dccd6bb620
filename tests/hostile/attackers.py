"""What attackers do by hand: MQTT 5 with reasons, HTTP byte for byte, frames under any name, connections that never speak.

Owns: these clients. Its rule: standard library and paho, none of edgesplit's clients, which would refuse to do it. Not here: the fleet that
is attacked (`served_fleet.py`).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgesplit.trust.files import TrustFiles
from edgesplit.wire.frames import FrameLimits, encode_frame
from edgesplit.wire.headers import Header
from edgesplit.wire.parser import FrameParser
from tests.trust.secured_broker import broker_address

__all__ = ["Intruder", "ask_raw", "dial", "own_address", "said_in_frames", "shaken"]

_TIMEOUT_S = 20.0


class Intruder:
    """A client of the broker that is told why it may not: MQTT 5.

    Attributes:
        gone: Set once the broker has ended the connection.
    """

    def __init__(self, url: str, files: TrustFiles, client_id: str = "") -> None:
        self.gone = threading.Event()
        self._answers: dict[int, ReasonCode] = {}
        self._answered = threading.Condition()
        client = self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        address = broker_address(url, files)
        connected = threading.Event()
        client.tls_set_context(address.tls_context())
        client.on_connect = lambda *_told: connected.set()
        client.on_disconnect = lambda *_told: self.gone.set()
        client.on_publish = lambda _client, _data, number, code, _properties: self._take(number, code)
        client.on_subscribe = lambda _client, _data, number, codes, _properties: self._take(number, codes[0])
        client.connect(address.host, address.port)
        client.loop_start()
        assert connected.wait(_TIMEOUT_S)

    def _take(self, number: int, code: ReasonCode) -> None:
        with self._answered:
            self._answers[number] = code
            self._answered.notify_all()

    def _all(self, asked: dict[str, int]) -> dict[str, bool]:
        with self._answered:
            assert self._answered.wait_for(lambda: set(asked.values()) <= self._answers.keys(), _TIMEOUT_S)
            return {topic: not self._answers[number].is_failure for topic, number in asked.items()}

    def write(self, topics: Iterable[str], payload: bytes = b"{}") -> dict[str, bool]:
        """Publish on each topic; whether the broker allows it."""
        return self._all({topic: self.client.publish(topic, payload, qos=1).mid for topic in topics})

    def say(self, topic: str, payloads: Iterable[bytes]) -> None:
        """Publish several messages on one topic; returns once the broker has all."""
        for sent in [self.client.publish(topic, payload, qos=1) for payload in payloads]:
            sent.wait_for_publish(_TIMEOUT_S)

    def read(self, topics: Iterable[str]) -> dict[str, bool]:
        """Subscribe to each topic filter; whether the broker allows it."""
        asked: dict[str, int] = {}
        for topic in topics:
            _, number = self.client.subscribe(topic, 1)
            assert number is not None
            asked[topic] = number
        return self._all(asked)

    def close(self) -> None:
        """Say goodbye."""
        self.client.disconnect()
        self.client.loop_stop()


def dial(address: str, context: ssl.SSLContext | None, source: str = "") -> socket.socket:
    """A connection to host:port, from an address of this machine; over TLS with a context.

    Raises:
        OSError: It is not let in.
    """
    host, _, port = address.rpartition(":")
    plain = socket.create_connection(
        (host, int(port)), timeout=_TIMEOUT_S, source_address=(source, 0) if source else None
    )
    if context is None:
        return plain
    try:
        return context.wrap_socket(plain)
    except OSError:
        plain.close()
        raise


def shaken(address: str, context: ssl.SSLContext, source: str = "") -> str:
    """With which TLS alert a connection ends that says nothing: in TLS 1.3 a client's certificate is judged after its own handshake."""
    try:
        with dial(address, context, source) as connection:
            return "" if connection.recv(1) else "closed"
    except ssl.SSLError as error:
        return str(error.reason)


def ask_raw(address: str, context: ssl.SSLContext | None, request: bytes, source: str = "") -> tuple[int, bytes]:
    """Status and body of whatever HTTP these bytes are; status 0 where there is no answer."""
    content = b""
    with dial(address, context, source) as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        # Whoever refuses early may have closed before all was sent, and has answered all the same.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            connection.sendall(request)
        while data := connection.recv(1 << 16):
            content += data
    head, _, body = content.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") else 0), body


def said_in_frames(
    address: str, context: ssl.SSLContext | None, headers: Iterable[Header], source: str = ""
) -> list[Header]:
    """What a data plane answers to these frames until it closes the connection."""
    parser, answers = FrameParser(FrameLimits()), list[Header]()
    with dial(address, context, source) as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        for header in headers:
            connection.sendall(b"".join(encode_frame(header)))
        while data := connection.recv(1 << 16):
            answers += [frame.header for frame in parser.feed(data)]
    return answers


def own_address() -> str:
    """An IPv4 address of this machine that is not loopback; empty where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("198.51.100.1", 9))  # nothing is sent
        found = str(probe.getsockname()[0])
        return "" if found.startswith("127.") else found
    return ""
