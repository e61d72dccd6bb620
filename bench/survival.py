"""A fleet with a controller under load, whose nodes can be killed, hung and cut off.

Owns: the fleet, the deployed model, the ways to do harm and to undo it. Its rule: the source is never harmed; with root
a cut takes a node's cable out of the bridge, so that its packets vanish, else `[emulation]` keeps its frames back. Not
here: what is done when (`failures.py`, `chaos.py`), the callers (`callers.py`).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.callers import Callers
from bench.scene import Subject, subject
from demo.fleet import CommandFailed, EmulatedLink, EmulatedNode, LocalFleet
from demo.fleet import Place as FleetPlace
from demo.ports import free_port
from lab.testbed import namespaces
from lab.testbed.requirements import only_one, program, unavailable

__all__ = ["HARMS", "OTHERS", "SOURCE", "Harm", "Survival", "survival"]

SOURCE, OTHERS = "device", ("edge", "cloud")
MODEL = "survivor"
Harm = Literal["kill", "hang", "cut"]
HARMS: tuple[Harm, ...] = ("kill", "hang", "cut")
SLOW_DOWN = 6.0
"""Of the source, so that a plan uses the others. [1]"""
SETTLE_LIMIT_S = 90.0
_NEW_NETWORK = 0x40000000


@dataclass
class Broker:
    """A Mosquitto that can be killed and started again on its port."""

    host: str
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As everybody knows it."""
        return f"mqtt://{self.host}:{self.port}"

    def start(self) -> None:
        """Start it; it remembers nothing."""
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} {self.host}\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
            "user root\n",
            encoding="utf-8",
        )
        command = [program("mosquitto") or "mosquitto", "-c", str(config)]
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass
class Survival:
    """The fleet, and who of it is harmed how.

    Attributes:
        real: Cuts are real, not emulated.
        harmed: Node to what was done to it.
    """

    fleet: LocalFleet
    broker: Broker
    material: Subject
    real: bool
    harmed: dict[str, Harm] = field(default_factory=dict[str, Harm])

    def callers(self, count: int = 8) -> Callers:
        """Callers of the source."""
        return Callers(self.fleet.address(SOURCE), MODEL, self.material.requests, self.fleet.folder, count=count)

    def harm(self, node: str, how: Harm) -> None:
        """Do it; the node must be unharmed."""
        if node in self.harmed:
            raise ValueError(f"{node} is harmed already")
        if how == "kill":
            self.fleet.kill(node)
        elif how == "hang":
            self.fleet.hang(node)
        else:
            self._connect(node, up=False)
        self.harmed[node] = how

    def heal(self, node: str) -> None:
        """Undo what was done."""
        how = self.harmed.pop(node)
        if how == "kill":
            self.fleet.start_agent(node)
        elif how == "hang":
            self.fleet.resume(node)
        else:
            self._connect(node, up=True)

    def plan(self) -> dict[str, Any]:
        """The active plan."""
        found: dict[str, Any] = self.fleet.splitctl("plan", MODEL)
        return found

    def used(self) -> tuple[str, ...]:
        """Nodes beside the source that the active plan uses."""
        return tuple(node for node, part in self.plan()["per_node"].items() if part["operators"] and node != SOURCE)

    def await_split(self) -> tuple[str, ...]:
        """Wait until the active plan uses others again and requests run on it; those others.

        Raises:
            TimeoutError: It did not come to that.
        """
        self.until(lambda: bool(self._served_by_others()), "a plan that uses other nodes serves")
        return self.used()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something.

        Raises:
            TimeoutError: It did not happen.
        """
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except CommandFailed:
                pass  # the controller or the broker may be away on purpose
            time.sleep(0.3)
        raise TimeoutError(f"it did not come to it within {SETTLE_LIMIT_S:g} s that {what}")

    def _served_by_others(self) -> bool:
        events = self.fleet.splitctl("events")
        kinds = [event["kind"] for event in events if event["kind"] in {"fallback-engaged", "fallback-left"}]
        return bool(self.used()) and (not kinds or kinds[-1] == "fallback-left")

    def _connect(self, node: str, *, up: bool) -> None:
        if self.real:
            port = f"to-{node}"[:15]
            action = ("master", "control") if up else ("nomaster",)
            subprocess.run(["ip", "link", "set", port, *action], check=True, capture_output=True)
            return
        link = EmulatedLink(0.0, 0.0, up=up)
        for other in (SOURCE, *OTHERS):
            if other == node:
                continue
            for first, second in ((node, other), (other, node)):
                self.fleet.set_link(first, second, link)


@contextmanager
def survival(
    model: Path, folder: Path, *, real: bool | None = None, data: str = "", slow_down: float = SLOW_DOWN
) -> Generator[Survival]:
    """Start broker, controller and agents, and deploy a model over them.

    Args:
        model: ONNX file.
        folder: For everything.
        real: Whether cuts take a node off the network; None where that is possible.
        data: More lines of every agent's `[data]` section.
        slow_down: Of the source. [1]
    """
    real = not unavailable() if real is None else real
    names = (SOURCE, *OTHERS)
    with ExitStack() as stack:
        places: dict[str, FleetPlace] = {}
        host = "127.0.0.1"
        if real:
            stack.enter_context(only_one())
            namespaces.remove_stale()
            made = stack.enter_context(namespaces.namespaces(names))
            places = {name: FleetPlace(place.command, place.control_address) for name, place in made.items()}
            host = namespaces.HUB_ADDRESS
            places["controller"] = FleetPlace((), host)
            stack.enter_context(_inside_hub())
        material = subject(model, folder)
        broker = Broker(host, folder)
        broker.start()
        stack.callback(broker.kill)
        time.sleep(0.3)
        nodes = [
            EmulatedNode(name, 1.0, 1.0, slow_down=slow_down if name == SOURCE else 1.0, data=data) for name in names
        ]
        fleet = stack.enter_context(LocalFleet(folder, nodes, broker=broker.url, places=places))
        fleet.start()
        fleet.await_nodes()
        fleet.splitctl("model", "add", "--wait", "all", MODEL, str(model), "--max-quantizable", "1")
        fleet.splitctl("deploy", MODEL, "--source", SOURCE)
        yield Survival(fleet, broker, material, real)


@contextmanager
def _inside_hub() -> Generator[None]:
    """Have this thread, and what it starts, live in the hub's network meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    hub = os.open(f"/run/netns/{namespaces.HUB}", os.O_RDONLY)
    try:
        if libc.setns(hub, _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "the hub's network cannot be entered")
        yield
    finally:
        libc.setns(before, _NEW_NETWORK)
        os.close(before)
        os.close(hub)
