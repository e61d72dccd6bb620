"""Fault and change injection on a running testbed: its links, nodes, processors and batteries become what conditions say.

Owns: setting what differs, the competing processes, the emulated batteries, and putting everything back. Its rule:
leaving the context leaves the testbed as it was found, however it is left. Not here: what differs (`conditions.py`),
when (`play.py`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from lab.dynamics.conditions import Charge, Conditions, NodeCondition, Wanted, deeds
from lab.testbed.shaping import Shape
from lab.testbed.testbed import Testbed

__all__ = ["Hands", "found_conditions"]

COMPETES_AT_MOST_S = 900.0
"""A competing process ends by itself after this, should nobody be left to end it. [s]"""
_COMPETE = """
import sys, time
ends = time.monotonic() + float(sys.argv[1])
while time.monotonic() < ends:
    sum(range(10000))
"""


def found_conditions(testbed: Testbed, wanted: Wanted) -> Conditions:
    """What a testbed is set to when nothing was changed yet."""
    return Conditions(
        links={pair: testbed.shape(*pair) for pair in testbed.pairs},
        nodes={
            machine.name: NodeCondition(cores=machine.share.cores, slow_down=machine.slow_down)
            for machine in testbed.layout.machines
        },
        wanted=wanted,
    )


class Hands:
    """Sets conditions of a testbed; a context manager that puts back the first ones.

    Args:
        testbed: It runs.
        base: How it is now.
    """

    def __init__(self, testbed: Testbed, base: Conditions) -> None:
        self._testbed, self._fleet = testbed, testbed.fleet
        self._base = base
        self._power = {name: node.power for name, node in testbed.fleet.nodes.items()}
        self._competing: dict[str, list[subprocess.Popen[bytes]]] = {name: [] for name in base.nodes}
        self.now = base

    def __enter__(self) -> Hands:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def become(self, target: Conditions) -> None:
        """Set what differs of links and nodes; goals are asked for, not set (`play.py`)."""
        wanted = deeds(self.now, target)
        for pair, shape in wanted.links.items():
            self._set_link(pair, shape)
        for name, node in wanted.nodes.items():
            self._set_node(name, self.now.nodes[name], node)
        self.now = replace(target, wanted=self.now.wanted)

    def restore(self) -> None:
        """Put back everything, each thing even where another fails."""
        with ExitStack() as stack:
            for processes in self._competing.values():
                for process in processes:
                    stack.callback(_end, process)
            wanted = deeds(self.now, self._base)
            for pair, shape in wanted.links.items():
                stack.callback(self._set_link, pair, shape)
            for name, node in wanted.nodes.items():
                stack.callback(self._set_node, name, self.now.nodes[name], node)
        self._competing = {name: [] for name in self._competing}
        self.now = replace(self._base, wanted=self.now.wanted)

    def _set_link(self, pair: tuple[str, str], shape: Shape) -> None:
        before = self._testbed.shape(*pair)
        if shape.rate_bytes_per_s != before.rate_bytes_per_s:
            self._testbed.set_rate(*pair, shape.rate_bytes_per_s)
        if shape.delay_s != before.delay_s:
            self._testbed.set_delay(*pair, shape.delay_s)
        if shape.up != before.up:
            (self._testbed.restore if shape.up else self._testbed.cut)(*pair)

    def _set_node(self, name: str, before: NodeCondition, node: NodeCondition) -> None:
        if node.cores != before.cores:
            self._testbed.set_quota(name, node.cores)
        if (node.slow_down, node.charge) != (before.slow_down, before.charge):
            power = self._power[name] if node.charge is None else self._on_battery(name, node.charge)
            self._fleet.set_node(replace(self._fleet.nodes[name], slow_down=node.slow_down, power=power))
        if node.state != before.state:
            self._bring(name, before.state, node.state)
        self._compete(name, node.competitors)

    def _bring(self, name: str, before: str, state: str) -> None:
        ways: dict[tuple[str, str], tuple[Callable[[str], None], ...]] = {
            ("running", "killed"): (self._fleet.kill,),
            ("running", "hung"): (self._fleet.hang,),
            ("hung", "running"): (self._fleet.resume,),
            ("hung", "killed"): (self._fleet.kill,),
            ("killed", "running"): (self._fleet.start_agent,),
            ("killed", "hung"): (self._fleet.start_agent, self._fleet.hang),
        }
        for way in ways[before, state]:
            way(name)

    def _compete(self, name: str, count: int) -> None:
        processes = self._competing[name]
        while len(processes) > count:
            _end(processes.pop())
        while len(processes) < count:
            command = [*self._testbed.command(name), sys.executable, "-c", _COMPETE, str(COMPETES_AT_MOST_S)]
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True))

    def _on_battery(self, name: str, charge: Charge) -> str:
        """A tree as the kernel's, with a battery of that charge, and the section that has the agent look there."""
        root = self._testbed.folder / "batteries" / name
        _write_battery(root / "class" / "power_supply" / "BAT0", charge)
        # The numbers make the section another one each time: an agent that is told to reload looks at what has changed.
        return f'{self._power[name]}\nsysfs = "{root}"\nbattery_wh = {float(charge.holds_wh)}'


def _write_battery(folder: Path, charge: Charge) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    full_uwh = round(charge.holds_wh * 1e6)
    values = {
        "type": "Battery",
        "present": 1,
        "status": "Discharging",
        "energy_full": full_uwh,
        "energy_now": round(full_uwh * charge.left),
    }
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n", encoding="ascii")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
