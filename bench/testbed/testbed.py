"""The testbed: real agents, controller and Mosquitto in namespaces of one machine, changeable while they run.

Owns: the order in which its parts come and go. Its rule: leaving the context leaves nothing behind, however it is left;
after a kill the next one removes what remained. Not here: how each part works (`links.py`, `namespaces.py`,
`cgroups.py`), what is asked of it (`bench/end_to_end.py`, the tests).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from bench.testbed import cgroups, namespaces
from bench.testbed.links import Change, Wire
from bench.testbed.shaping import Shape
from demo.fleet import EmulatedNode, LocalFleet
from demo.fleet import Place as FleetPlace

__all__ = ["STUDY", "Link", "Machine", "Testbed", "TestbedUnavailable", "unavailable"]

REPOSITORY = Path(__file__).resolve().parents[2]
_LOCK = Path("/run/lock/edgesplit-testbed")
_BROKER_PORT = 1883
_BROKER_STARTS_S = 10.0
_TOOLS = {"ip": "iproute2", "nsenter": "util-linux", "sysctl": "procps", "mosquitto": "mosquitto"}


class TestbedUnavailable(Exception):
    """This machine cannot carry the testbed, or another one runs."""

    __test__: ClassVar[bool] = False


@dataclass(frozen=True)
class Machine:
    """One node.

    Attributes:
        compute_w: Configured power of computing. [W]
        transmit_w: Configured power of sending. [W]
        share: Its processor time.
    """

    name: str
    compute_w: float
    transmit_w: float
    share: cgroups.ProcessorShare = field(default_factory=cgroups.ProcessorShare)


@dataclass(frozen=True)
class Link:
    """A link between two machines: its ends, and its shape each way."""

    ends: tuple[str, str]
    there: Shape
    back: Shape


@dataclass(frozen=True)
class Layout:
    """Machines and the links between them."""

    machines: tuple[Machine, ...]
    links: tuple[Link, ...]


_CORES = os.cpu_count() or 1
STUDY = Layout(
    machines=(
        Machine("device", 2.9165, 3.507, cgroups.ProcessorShare(0.25, (0,))),
        Machine("edge", 5.833, 2.265, cgroups.ProcessorShare(0.5, (0,))),
        Machine("cloud", 35.0, 0.014, cgroups.ProcessorShare(None, (min(1, _CORES - 1),))),
    ),
    links=(
        Link(("device", "edge"), Shape(5e6, 0.005), Shape(20e6, 0.005)),
        Link(("device", "cloud"), Shape(5e6, 0.055), Shape(100e6, 0.055)),
        Link(("edge", "cloud"), Shape(20e6, 0.050), Shape(100e6, 0.050)),
    ),
)
"""Rates, delays and powers of the reference study (S. Nicosanti, 2025); its machines' speeds as shares of a core."""


def unavailable() -> str:
    """Why this machine cannot carry a testbed, in one sentence, or empty."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the testbed makes network namespaces and control groups: run it as root on Linux"
    for tool, package in _TOOLS.items():
        if _program(tool) is None:
            return f"the testbed needs `{tool}`, which is not installed: apt-get install {package}"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
        cgroups.hierarchy()
    except OSError as error:
        return f"the testbed needs TUN devices and /dev/net/tun cannot be opened ({error.strerror}): modprobe tun"
    except cgroups.CgroupsMissing as error:
        return str(error)
    return ""


class Testbed:
    """Machines, links, broker, controller and agents; a context manager.

    Args:
        folder: For configurations, logs, caches and the controller's store.
        layout: Machines and links.
    """

    __test__: ClassVar[bool] = False

    def __init__(self, folder: Path, layout: Layout = STUDY) -> None:
        self.folder = folder
        self.layout = layout
        self._shapes: dict[tuple[str, str], Shape] = {}
        for link in layout.links:
            first, second = link.ends
            self._shapes[first, second], self._shapes[second, first] = link.there, link.back
        self._stack = ExitStack()

    def __enter__(self) -> Testbed:
        """Make everything and start broker, controller and agents.

        Raises:
            TestbedUnavailable: See `unavailable`, or another testbed runs on this machine.
        """
        if reason := unavailable():
            raise TestbedUnavailable(reason)
        with self._stack:
            self._enter()
            # What was made is kept for the caller only if all of it could be made.
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _enter(self) -> None:
        enter = self._stack.enter_context
        enter(_only_one())
        roots = cgroups.hierarchy()
        namespaces.remove_stale()
        cgroups.remove_groups(roots)
        names = [machine.name for machine in self.layout.machines]
        self._stack.callback(cgroups.remove_groups, roots)
        self._places = enter(namespaces.namespaces(names))
        self._groups = {
            machine.name: cgroups.NodeGroup(roots, machine.name, machine.share) for machine in self.layout.machines
        }
        self._carrier = enter(_carrier([self._wire(link) for link in self.layout.links]))
        self.folder.mkdir(parents=True, exist_ok=True)
        hub = namespaces.Place(namespaces.HUB, namespaces.HUB_ADDRESS, "").command
        broker = enter(_mosquitto(hub, self.folder))
        placed = {name: FleetPlace(self.command(name), self._places[name].data_address) for name in names}
        placed["controller"] = FleetPlace(hub, namespaces.HUB_ADDRESS)
        nodes = [EmulatedNode(machine.name, machine.compute_w, machine.transmit_w) for machine in self.layout.machines]
        self.fleet = enter(LocalFleet(self.folder, nodes, broker=broker, places=placed))
        self.fleet.start()

    # --- looking ---------------------------------------------------------------------------------------------------

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every direction of every link: sender and receiver."""
        return tuple(self._shapes)

    def shape(self, source: str, target: str) -> Shape:
        """What a direction is set to now."""
        return self._shapes[source, target]

    def command(self, machine: str) -> tuple[str, ...]:
        """What a command is preceded with to run on a machine: in its control group and its namespace."""
        return (*self._groups[machine].command, *self._places[machine].command)

    @contextmanager
    def requests(self, model: str, request: Path, *, at: str = "device") -> Iterator[None]:
        """One request after another from a machine, as long as the block lasts.

        Args:
            request: One array per input of the model (.npz).
            at: The machine whose agent is asked, from that machine.
        """
        splitctl = str(Path(sys.executable).parent / "splitctl")
        asking = (splitctl, "--broker", self.fleet.broker, "infer", model, "--input", str(request), "--count", "1000000")
        with (self.folder / "requests.log").open("ab") as log:
            caller = subprocess.Popen([*self._places[at].command, *asking], stdout=log, stderr=log)
        try:
            yield
        finally:
            caller.terminate()
            caller.wait()

    # --- changing while everything runs ----------------------------------------------------------------------------

    def set_rate(self, source: str, target: str, rate_bytes_per_s: float) -> None:
        """Change the rate of one direction. [B/s]"""
        self._reshape(source, target, self.shape(source, target).changed(rate_bytes_per_s=rate_bytes_per_s))

    def set_delay(self, source: str, target: str, delay_s: float) -> None:
        """Change the one-way delay of one direction. [s]"""
        self._reshape(source, target, self.shape(source, target).changed(delay_s=delay_s))

    def cut(self, first: str, second: str) -> None:
        """Let nothing pass between two machines, either way."""
        for source, target in ((first, second), (second, first)):
            self._reshape(source, target, self.shape(source, target).changed(up=False))

    def restore(self, first: str, second: str) -> None:
        """Undo `cut`."""
        for source, target in ((first, second), (second, first)):
            self._reshape(source, target, self.shape(source, target).changed(up=True))

    def set_quota(self, machine: str, cores: float | None) -> None:
        """Change a machine's processor time; None lifts the limit. [1]"""
        self._groups[machine].set_cores(cores)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _wire(self, link: Link) -> Wire:
        first, second = (self._places[name] for name in link.ends)
        return Wire(
            (first.namespace, second.namespace), (first.data_address, second.data_address), link.there, link.back
        )

    def _reshape(self, source: str, target: str, shape: Shape) -> None:
        ends = [link.ends for link in self.layout.links]
        back = (source, target) not in ends
        wire = ends.index((target, source) if back else (source, target))
        _tell(self._carrier, Change(wire, back, shape).to_json())
        self._shapes[source, target] = shape


@contextmanager
def _only_one() -> Iterator[None]:
    """Two testbeds would remove each other's namespaces."""
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TestbedUnavailable("another testbed runs on this machine: wait until it has ended") from None
        yield


@contextmanager
def _carrier(wires: Sequence[Wire]) -> Iterator[subprocess.Popen[str]]:
    """The process of `links.py`; it ends when its standard input does."""
    carrier = subprocess.Popen(
        [sys.executable, "-m", "bench.testbed.links"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,  # Ctrl-C must not take the links away before the agents
    )
    try:
        _tell(carrier, f"[{', '.join(wire.to_json() for wire in wires)}]")
        yield carrier
    finally:
        carrier.communicate()


def _tell(carrier: subprocess.Popen[str], line: str) -> Mapping[str, object]:
    assert carrier.stdin is not None
    assert carrier.stdout is not None
    carrier.stdin.write(line + "\n")
    carrier.stdin.flush()
    answered = carrier.stdout.readline()
    answer: Mapping[str, object] = json.loads(answered) if answered else {"error": "the process ended"}
    if "error" in answer:
        raise TestbedUnavailable(f"the links between namespaces cannot be made or changed: {answer['error']}")
    return answer


@contextmanager
def _mosquitto(hub: tuple[str, ...], folder: Path) -> Iterator[str]:
    """A broker in the hub; its URL as every machine sees it."""
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {_BROKER_PORT} {namespaces.HUB_ADDRESS}\nallow_anonymous true\npersistence false\nuser root\n"
        "set_tcp_nodelay true\n",
        encoding="utf-8",
    )
    command = [*hub, _program("mosquitto") or "mosquitto", "-c", str(config)]
    with (folder / "mosquitto.log").open("wb") as log:
        broker = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _await_listening(broker, hub)
        yield f"mqtt://{namespaces.HUB_ADDRESS}:{_BROKER_PORT}"
    finally:
        broker.terminate()
        broker.wait()


def _await_listening(broker: subprocess.Popen[bytes], hub: tuple[str, ...]) -> None:
    deadline = time.monotonic() + _BROKER_STARTS_S
    while broker.poll() is None and time.monotonic() < deadline:
        heard = subprocess.run(
            [*hub, "cat", "/proc/net/tcp"], capture_output=True, text=True, check=False
        ).stdout.splitlines()
        if any(_listens(line) for line in heard[1:]):
            return
        time.sleep(0.05)
    raise TestbedUnavailable(f"mosquitto does not listen (exit {broker.poll()}): see mosquitto.log in the folder")


def _listens(line: str) -> bool:
    fields = line.split()
    address = socket.inet_aton(namespaces.HUB_ADDRESS)[::-1].hex().upper()
    return fields[1] == f"{address}:{_BROKER_PORT:04X}" and fields[3] == "0A"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
