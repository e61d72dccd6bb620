"""The testbed: real agents, controller and Mosquitto in namespaces of one machine, changeable while they run.

Owns: the order in which its parts come and go. Its rule: leaving the context leaves nothing behind, however it is left;
after a kill the next one removes what remained. Not here: how each part works (`links.py`, `namespaces.py`,
`cgroups.py`), what is asked of it (`bench/end_to_end`, the tests).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from demo.fleet import EmulatedNode, LocalFleet
from demo.fleet import Place as FleetPlace
from lab.testbed import cgroups, namespaces
from lab.testbed.broker import mosquitto
from lab.testbed.carrier import carrier, tell
from lab.testbed.links import Change, ShapedWire
from lab.testbed.requirements import TestbedUnavailable, only_one, unavailable
from lab.testbed.shaping import Shape

__all__ = [
    "QUOTAS",
    "STUDY",
    "Layout",
    "Machine",
    "ShapedLink",
    "Testbed",
    "TestbedUnavailable",
    "beside",
    "unavailable",
]

PREPARED_S = 20.0
"""How long fallbacks of a plan are waited for. [s]"""


def beside(machine: str) -> str:
    """The place of a program that shares a machine's network but not its share of the processor."""
    return f"beside {machine}"


@dataclass(frozen=True)
class Machine:
    """One node.

    Attributes:
        compute_w: Configured power of computing. [W]
        transmit_w: Configured power of sending. [W]
        share: Its processor time.
        slow_down: Factor by which its agent stretches compute, on top. [1]
    """

    name: str
    compute_w: float
    transmit_w: float
    share: cgroups.ProcessorShare = field(default_factory=cgroups.ProcessorShare)
    slow_down: float = 1.0


@dataclass(frozen=True)
class ShapedLink:
    """A link between two machines: its ends, and its shape each way."""

    ends: tuple[str, str]
    there: Shape
    back: Shape


@dataclass(frozen=True)
class Layout:
    """Machines and the links between them."""

    machines: tuple[Machine, ...]
    links: tuple[ShapedLink, ...]


_LAST_CORE = min(1, (os.cpu_count() or 1) - 1)
_LINKS = (
    ShapedLink(("device", "edge"), Shape(5e6, 0.005), Shape(20e6, 0.005)),
    ShapedLink(("device", "cloud"), Shape(5e6, 0.055), Shape(100e6, 0.055)),
    ShapedLink(("edge", "cloud"), Shape(20e6, 0.050), Shape(100e6, 0.050)),
)
STUDY = Layout(
    machines=(
        Machine("device", 2.9165, 3.507, cgroups.ProcessorShare(None, (0,)), slow_down=4.0),
        Machine("edge", 5.833, 2.265, cgroups.ProcessorShare(None, (0,)), slow_down=2.0),
        Machine("cloud", 35.0, 0.014, cgroups.ProcessorShare(None, (_LAST_CORE,))),
    ),
    links=_LINKS,
)
"""Rates, delays and powers of the reference study (S. Nicosanti, 2025). Device and edge are slower by a factor, in their
agents: what a core computes in 3 of every 10 ms takes half as long again as it takes in one piece, or twice, for the
caches have lost it in between, and such a node takes another time every minute. A slow machine's caches keep."""
QUOTAS = Layout(
    machines=(
        Machine("device", 2.9165, 3.507, cgroups.ProcessorShare(0.5, (0,))),
        Machine("edge", 5.833, 2.265, cgroups.ProcessorShare(0.5, (0,))),
        Machine("cloud", 35.0, 0.014, cgroups.ProcessorShare(None, (_LAST_CORE,))),
    ),
    links=_LINKS,
)
"""The same links, and quotas that a change may halve."""


class Testbed:
    """Machines, links, broker, controller and agents; a context manager.

    Args:
        folder: For configurations, logs, caches and the controller's store.
        layout: Machines and links.
        planning: More lines of the controller's `[planning]` section.
        traced: Agents write down each run of a component (`traces`).
    """

    __test__: ClassVar[bool] = False

    def __init__(self, folder: Path, layout: Layout = STUDY, *, planning: str = "", traced: bool = False) -> None:
        self.folder = folder
        self.layout = layout
        self._planning = planning
        self._traced = traced
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
        enter(only_one())
        roots = cgroups.hierarchy()
        namespaces.remove_stale()
        cgroups.remove_groups(roots)
        names = [machine.name for machine in self.layout.machines]
        self._stack.callback(cgroups.remove_groups, roots)
        self._places = enter(namespaces.namespaces(names))
        self._groups = {
            machine.name: cgroups.NodeGroup(roots, machine.name, machine.share) for machine in self.layout.machines
        }
        self._carrier = enter(carrier([self._wire(link) for link in self.layout.links]))
        self.folder.mkdir(parents=True, exist_ok=True)
        hub = namespaces.Place(namespaces.HUB, namespaces.HUB_ADDRESS, "").command
        broker = enter(mosquitto(hub, self.folder))
        placed = {name: FleetPlace(self.command(name), self._places[name].data_address) for name in names}
        placed |= {
            beside(name): FleetPlace(self._places[name].command, self._places[name].data_address) for name in names
        }
        placed["controller"] = FleetPlace(hub, namespaces.HUB_ADDRESS)
        nodes = [
            EmulatedNode(
                machine.name,
                machine.compute_w,
                machine.transmit_w,
                slow_down=machine.slow_down,
                runtime=f'trace = "{self.traces[machine.name]}"' if self._traced else "",
            )
            for machine in self.layout.machines
        ]
        self.fleet = enter(LocalFleet(self.folder, nodes, broker=broker, places=placed, planning=self._planning))
        self.fleet.start()

    @property
    def traces(self) -> dict[str, Path]:
        """Where each machine's agent writes down its runs, where it does."""
        return {machine.name: self.folder / f"{machine.name}.trace.jsonl" for machine in self.layout.machines}

    @property
    def cores(self) -> dict[str, str]:
        """Which core each machine computes on, as a name; one that is not pinned has its own name."""
        return {
            machine.name: ",".join(str(number) for number in machine.share.pinned_to) or machine.name
            for machine in self.layout.machines
        }

    # --- looking ---------------------------------------------------------------------------------------------------

    def await_fallbacks(self, model: str, *, none_comes_s: float = 0.0) -> bool:
        """Wait, within a limit, until what serves when a node is lost is ready; whether it is. A plan without it serves all the same.

        Args:
            model: It is deployed.
            none_comes_s: After which there are none where there is none yet. [s]
        """
        began = time.monotonic()
        while (waited_s := time.monotonic() - began) < PREPARED_S:
            fallbacks: Mapping[str, Mapping[str, object]] = self.fleet.splitctl("plan", model)["fallbacks"]
            if all(row["prepared"] for row in fallbacks.values()) and (fallbacks or waited_s >= none_comes_s):
                return True
            time.sleep(0.5)
        return False

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
    def requests(self, model: str, request: Path, *, at: str = "device") -> Generator[None]:
        """One request after another from a machine, as long as the block lasts.

        Args:
            model: Its name.
            request: One array per input of the model (.npz).
            at: The machine whose agent is asked, from that machine.
        """
        splitctl = str(Path(sys.executable).parent / "splitctl")
        asking = (
            splitctl,
            "--broker",
            self.fleet.broker,
            "infer",
            model,
            "--input",
            str(request),
            "--count",
            "1000000",
        )
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

    def _wire(self, link: ShapedLink) -> ShapedWire:
        first, second = (self._places[name] for name in link.ends)
        return ShapedWire(
            (first.namespace, second.namespace), (first.data_address, second.data_address), link.there, link.back
        )

    def _reshape(self, source: str, target: str, shape: Shape) -> None:
        ends = [link.ends for link in self.layout.links]
        back = (source, target) not in ends
        wire = ends.index((target, source) if back else (source, target))
        tell(self._carrier, Change(wire, back, shape).to_json())
        self._shapes[source, target] = shape
