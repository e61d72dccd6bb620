"""A Mosquitto in the hub, reachable from every machine over the unshaped control network.

Owns: its process and configuration. Its rule: it is handed out only once it listens. Not here: the network it is on.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lab.testbed.namespaces import HUB_ADDRESS
from lab.testbed.requirements import TestbedUnavailable, program

__all__ = ["mosquitto"]

_PORT = 1883
_STARTS_S = 10.0


@contextmanager
def mosquitto(hub: tuple[str, ...], folder: Path) -> Generator[str]:
    """Run the broker; its URL as every machine sees it.

    Args:
        hub: What a command is preceded with to run in the hub.
        folder: For its configuration and log.

    Raises:
        TestbedUnavailable: It does not start.
    """
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {_PORT} {HUB_ADDRESS}\nallow_anonymous true\npersistence false\nuser root\nset_tcp_nodelay true\n",
        encoding="utf-8",
    )
    command = [*hub, program("mosquitto") or "mosquitto", "-c", str(config)]
    with (folder / "mosquitto.log").open("wb") as log:
        broker = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _await_listening(broker, hub)
        yield f"mqtt://{HUB_ADDRESS}:{_PORT}"
    finally:
        broker.terminate()
        broker.wait()


def _await_listening(broker: subprocess.Popen[bytes], hub: tuple[str, ...]) -> None:
    """Look at the hub's own table of sockets, as this process is in another namespace and cannot connect."""
    deadline = time.monotonic() + _STARTS_S
    while broker.poll() is None and time.monotonic() < deadline:
        table = subprocess.run([*hub, "cat", "/proc/net/tcp"], capture_output=True, text=True, check=False).stdout
        if any(_listens(line) for line in table.splitlines()[1:]):
            return
        time.sleep(0.05)
    raise TestbedUnavailable(f"mosquitto does not listen (exit {broker.poll()}): see mosquitto.log in the folder")


def _listens(line: str) -> bool:
    fields = line.split()
    address = socket.inet_aton(HUB_ADDRESS)[::-1].hex().upper()
    return fields[1] == f"{address}:{_PORT:04X}" and fields[3] == "0A"
