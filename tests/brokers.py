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

import paho.mqtt.publish
import pytest

from demo.fleet import free_port

__all__ = ["find_mosquitto", "publish_bytes", "running_mosquitto", "start_mosquitto"]

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
        time.sleep(0.02)


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
