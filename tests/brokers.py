"""A Mosquitto of the tests' own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import paho.mqtt.publish
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from demo.ports import free_port

__all__ = ["Stranger", "find_mosquitto", "publish_bytes", "running_mosquitto", "start_mosquitto"]

START_LIMIT_S = 30.0


def find_mosquitto() -> str:
    """Where Mosquitto is; skips the test where none is installed, fails it in CI."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        message = "mosquitto is not installed (sh tests/ensure_mosquitto.sh)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return program


def start_mosquitto(port: int, folder: Path, settings: str = "allow_anonymous true") -> subprocess.Popen[bytes]:
    """Start Mosquitto on loopback; as find_mosquitto where none is installed.

    Args:
        port: To listen on.
        folder: For its configuration.
        settings: Lines of its configuration behind the listener's.
    """
    program = find_mosquitto()
    config = folder / "mosquitto.conf"
    config.write_text(f"user {getpass.getuser()}\npersistence false\nlistener {port} 127.0.0.1\n{settings}\n")
    process = subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + START_LIMIT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return process
        if process.poll() is not None or time.monotonic() > deadline_s:
            process.kill()
            pytest.fail(f"mosquitto does not answer on port {port} (exit {process.wait()})")
        time.sleep(0.02)  # a port that nobody listens to yet gives no event


@contextlib.contextmanager
def running_mosquitto(folder: Path, settings: str = "allow_anonymous true") -> Iterator[str]:
    """A Mosquitto on a free port while the block runs; its URL."""
    port = free_port()
    process = start_mosquitto(port, folder, settings)
    try:
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def publish_bytes(url: str, topic: str, payload: bytes, *, retain: bool = False) -> None:
    """Publish whatever bytes on whatever topic, as a stranger would; returns once the broker has them."""
    host, _, port = url.removeprefix("mqtt://").rpartition(":")
    paho.mqtt.publish.single(topic, payload, qos=1, retain=retain, hostname=host, port=int(port))


class Stranger:
    """Anybody who may connect to a broker: writes bytes that no program of edgesplit would, and hears everything.

    Attributes:
        heard: The latest payload on each topic, once `listen` was called; empty where it was cleared.
        said: All of them in their order.
    """

    def __init__(self, url: str) -> None:
        self.heard: dict[str, bytes] = {}
        self.said: list[tuple[str, bytes]] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        host, _, port = url.removeprefix("mqtt://").rpartition(":")
        self._client.connect(host, int(port))
        self._client.loop_start()

    def _hear(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.heard[message.topic] = bytes(message.payload)
        self.said.append((message.topic, bytes(message.payload)))

    def listen(self, topic_filter: str = "edgesplit/1/#") -> None:
        """Hear what is and will be said."""
        self._client.subscribe(topic_filter, 1)

    def write(self, topic: str, message: msgspec.Struct | bytes) -> None:
        """Publish, retained."""
        payload = message if isinstance(message, bytes) else msgspec.json.encode(message)
        self._client.publish(topic, payload, qos=1, retain=True)

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop_stop()
