"""The process that carries packets between namespaces: one TUN device at each end of every link.

Owns: the devices and the loop that moves packets when their time has come. Its rule: it lives exactly as long as its
standard input is open, so a runner that was killed leaves no link behind. Not here: when a packet's time has come
(`shaping.py`), which namespaces and addresses there are (`namespaces.py`).

It reads one JSON object a line and answers each with one: first the links (`ShapedWire`), then changes of their shapes
(`Change`). Nothing but the standard library is imported, so that it starts at once. The kernels these benchmarks meet
need no netem, bridge or forwarding for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from lab.testbed.shaping import PacketLane, Shape

__all__ = ["Change", "ShapedWire", "main"]

_TUN_FILE = "/dev/net/tun"
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x1, 0x1000, 0x4000
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_OFFLOAD_CHECKSUM_TSO4_TSO6 = 0x7
_VNET_HEADER_BYTES = 10
_LARGEST_PACKET_BYTES = 65_600
_PACKETS_PER_TURN = 32
_REALTIME_PRIORITY = 10


@dataclass(frozen=True)
class ShapedWire:
    """One link between two namespaces.

    Attributes:
        namespaces: Of its two ends.
        addresses: IPv4 addresses of its two ends.
        there: Shape from the first end to the second.
        back: Shape from the second end to the first.
    """

    namespaces: tuple[str, str]
    addresses: tuple[str, str]
    there: Shape
    back: Shape

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, document: Any) -> ShapedWire:
        """Read what `to_json` wrote."""
        first, second = document["namespaces"]
        a, b = document["addresses"]
        return cls((first, second), (a, b), Shape(**document["there"]), Shape(**document["back"]))


@dataclass(frozen=True)
class Change:
    """A new shape for one direction: the index of its wire, whether it is the way back, and the shape."""

    wire: int
    back: bool
    shape: Shape

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


class Direction:
    """One direction of a wire: from one TUN device to the other, through a lane."""

    def __init__(self, reading: int, writing: int, lane: PacketLane) -> None:
        self.reading, self.writing, self.lane = reading, writing, lane
        self._waiting: deque[tuple[float, bytes]] = deque()

    def deliver(self, now: float) -> float | None:
        """Hand over what is due; when the next packet will be, None where none waits. [s]"""
        while self._waiting and self._waiting[0][0] <= now:
            # A receiver whose device is full or gone loses the packet, as it would behind a real link.
            with contextlib.suppress(OSError):
                os.write(self.writing, self._waiting.popleft()[1])
        return self._waiting[0][0] if self._waiting else None

    def collect(self) -> None:
        """Take what the sender's kernel has for this link.

        Raises:
            OSError: The device is gone.
        """
        for _ in range(_PACKETS_PER_TURN):
            try:
                packet = os.read(self.reading, _LARGEST_PACKET_BYTES)
            except BlockingIOError:
                return
            arrival = self.lane.arrival(len(packet) - _VNET_HEADER_BYTES, time.monotonic())
            if arrival is not None:
                self._waiting.append((arrival, packet))


def _open_device(name: str) -> int:
    """A TUN device that takes and gives segments of up to 64 kB, so that few packets cross."""
    device = os.open(_TUN_FILE, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR))
    fcntl.ioctl(device, _TUNSETOFFLOAD, _OFFLOAD_CHECKSUM_TSO4_TSO6)
    return device


def _plug_in(device: str, namespace: str, address: str, peer: str) -> None:
    """Move a device into its namespace and route the peer's address through it; its packets stay in this process."""
    inside = ("ip", "-n", namespace)
    for command in (
        ("ip", "link", "set", device, "netns", namespace),
        (*inside, "link", "set", device, "mtu", "1500", "txqueuelen", "1000", "up"),
        (*inside, "route", "replace", f"{peer}/32", "dev", device, "src", address),
    ):
        subprocess.run(command, check=True, capture_output=True)


def _open_wire(index: int, wire: ShapedWire) -> tuple[Direction, Direction]:
    names = (f"edgesplit{index}a", f"edgesplit{index}b")
    first, second = (_open_device(name) for name in names)
    for end in (0, 1):
        _plug_in(names[end], wire.namespaces[end], wire.addresses[end], wire.addresses[1 - end])
    return Direction(first, second, PacketLane(wire.there)), Direction(second, first, PacketLane(wire.back))


class _Switch:
    """All directions, and the commands that change them."""

    def __init__(self, wires: list[tuple[Direction, Direction]]) -> None:
        self._wires = wires
        self._by_device = {direction.reading: direction for pair in wires for direction in pair}
        self._commands = b""

    def run(self) -> None:
        """Move packets until the runner goes away."""
        os.set_blocking(sys.stdin.fileno(), False)
        control = sys.stdin.fileno()
        while True:
            now = time.monotonic()
            due = [at for direction in self._by_device.values() if (at := direction.deliver(now)) is not None]
            timeout_s = max(0.0, min(due) - time.monotonic()) if due else None
            ready, _, _ = select.select([control, *self._by_device], [], [], timeout_s)
            for source in ready:
                if source == control:
                    if not self._obey(os.read(control, 65_536)):
                        return
                else:
                    self._by_device[source].collect()

    def _obey(self, received: bytes) -> bool:
        *lines, self._commands = (self._commands + received).split(b"\n")
        for line in lines:
            change = json.loads(line)
            lane = self._wires[change["wire"]][int(change["back"])].lane
            lane.shape = Shape(**change["shape"])
            _answer({"dropped": lane.dropped, "passed_bytes": lane.passed_bytes})
        return bool(received)


def _answer(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Carry packets until standard input ends."""
    try:
        # Unbuffered: what follows the first line is for the loop.
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as control:
            wires = [ShapedWire.from_json(document) for document in json.loads(control.readline())]
        directions = [_open_wire(index, wire) for index, wire in enumerate(wires)]
        # Packets must not wait for the computing they connect; without the right to it, they may.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_REALTIME_PRIORITY))
    except subprocess.CalledProcessError as error:
        _answer({"error": f"{' '.join(error.cmd)}: {error.stderr.decode().strip()}"})
        sys.exit(1)
    except OSError as error:
        _answer({"error": str(error)})
        sys.exit(1)
    _answer({"ready": len(wires)})
    _Switch(directions).run()


if __name__ == "__main__":
    main()
