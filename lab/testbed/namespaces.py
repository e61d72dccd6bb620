"""Network namespaces: one for each node, and one, the hub, in which broker and controller live.

Owns: making and removing them, their addresses, and the unshaped control network between hub and nodes. Its rule: only
names that begin with `edgesplit-` are ever touched, and whatever still runs in them is ended with them. Not here: the
shaped links between nodes (`links.py`), processor time (`cgroups.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HUB", "HUB_ADDRESS", "NamespaceFailed", "Place", "namespaces", "remove_stale"]

PREFIX = "edgesplit-"
HUB = f"{PREFIX}hub"
HUB_ADDRESS = "10.77.0.254"
_NAMES = Path("/run/netns")
_BRIDGE = "control"
_END_S = 5.0

# Buffers large enough for 100 MB/s x 110 ms. Congestion control stays the machine's own: a namespace may only choose
# what the machine allows without privilege.
_SETTINGS = (
    "net.ipv4.tcp_wmem=4096 65536 33554432",
    "net.ipv4.tcp_rmem=4096 131072 33554432",
)


class NamespaceFailed(Exception):
    """The kernel or `ip` refused a namespace, device or address."""


@dataclass(frozen=True)
class Place:
    """Where a node lives.

    Attributes:
        namespace: Its network namespace.
        control_address: Of the unshaped network.
        data_address: At which the shaped links end.
    """

    namespace: str
    control_address: str
    data_address: str

    @property
    def command(self) -> tuple[str, ...]:
        """What a command is preceded with to run there, keeping its process id."""
        return ("nsenter", f"--net={_NAMES / self.namespace}", "--")


def places(names: Sequence[str]) -> dict[str, Place]:
    """Namespace and addresses of each node, in order."""
    return {
        name: Place(f"{PREFIX}{name}", f"10.77.0.{number}", f"10.78.0.{number}")
        for number, name in enumerate(names, start=1)
    }


@contextmanager
def namespaces(names: Sequence[str]) -> Generator[dict[str, Place]]:
    """Make the hub and a namespace for each node, joined by the control network; remove them at the end.

    Raises:
        NamespaceFailed: One cannot be made.
    """
    made = places(names)
    try:
        _make_hub()
        for name, place in made.items():
            _make_node(name, place)
        yield made
    finally:
        remove_stale()


def remove_stale() -> list[str]:
    """End whatever runs in namespaces of ours and remove them; their names."""
    found = sorted(path.name for path in _NAMES.glob(f"{PREFIX}*")) if _NAMES.is_dir() else []
    for namespace in found:
        _end_processes(namespace)
        _run("ip", "netns", "delete", namespace)
    return found


def _make_hub() -> None:
    _run("ip", "netns", "add", HUB)
    inside = ("ip", "-n", HUB)
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "link", "add", _BRIDGE, "type", "bridge")
    _run(*inside, "address", "add", f"{HUB_ADDRESS}/24", "dev", _BRIDGE)
    _run(*inside, "link", "set", _BRIDGE, "up")


def _make_node(name: str, place: Place) -> None:
    _run("ip", "netns", "add", place.namespace)
    inside = ("ip", "-n", place.namespace)
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "address", "add", f"{place.data_address}/32", "dev", "lo")
    port = f"to-{name}"[:15]
    _run("ip", "-n", HUB, "link", "add", port, "type", "veth", "peer", "name", _BRIDGE, "netns", place.namespace)
    _run("ip", "-n", HUB, "link", "set", port, "master", _BRIDGE, "up")
    _run(*inside, "address", "add", f"{place.control_address}/24", "dev", _BRIDGE)
    _run(*inside, "link", "set", _BRIDGE, "up")
    for setting in _SETTINGS:
        _run(*place.command, "sysctl", "-q", "-w", setting)


def _end_processes(namespace: str) -> None:
    """Politely, then not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _END_S
        running = _processes(namespace)
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, sign)
        while running and time.monotonic() < deadline:
            time.sleep(0.05)
            running = _processes(namespace)


def _processes(namespace: str) -> list[int]:
    listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NamespaceFailed(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
