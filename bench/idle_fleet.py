"""What many agents and their controller take while there is no model: thirty real ones on one machine.

Owns: starting them and looking on. Its rule: processor time, not wall time; agents are real programs with the default settings. Not here: a deployed
model without requests (`idle.py`), agents that are simulated (`many_agents.py`).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import click

from bench.process_figures import MemoryCourse, processor_s, resident_bytes
from bench.scene import broker
from demo.fleet import EmulatedNode, LocalFleet

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
ONLINE_S, SETTLE_S, LOOK_EVERY_S = 180.0, 30.0, 10.0
CONTROLLER_AIM, AGENT_AIM, AGENT_AIM_BYTES = 0.03, 0.003, 45e6
START_EVERY_S = 0.3
"""Agents start one after another: a machine of two cores is busy for a second with each."""
SHOWN_LINES = 10


def _await_online(fleet: LocalFleet, count: int) -> None:
    deadline_s = time.monotonic() + ONLINE_S
    while sum(row["online"] for row in fleet.splitctl("nodes")) < count:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not all of {count} agents came online within {ONLINE_S:.0f} s")
        time.sleep(1.0)


@click.command()
@click.option("--nodes", default=30, show_default=True)
@click.option("--seconds", default=600.0, show_default=True)
@click.option("--strict", is_flag=True, help="Exit 1 where the controller misses its aim or writes a line.")
def main(nodes: int, seconds: float, strict: bool) -> None:
    """Start agents and a controller, add no model, and count what they take.

    Example: python -m bench.idle_fleet --nodes 30 --seconds 600
    """
    os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in (".", "agent", "controller", "shared"))
    agents = [EmulatedNode(f"n{index:02d}", 5.0, 2.0) for index in range(nodes)]
    with (
        tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name,
        broker(Path(name)) as url,
        LocalFleet(Path(name), agents, broker=url) as fleet,
    ):
        fleet.start_controller()
        for agent in agents:
            fleet.start_agent(agent.name)
            time.sleep(START_EVERY_S)
        _await_online(fleet, nodes)
        time.sleep(SETTLE_S)
        names = ["controller", *fleet.nodes]
        spent, lines = {one: processor_s(fleet.pid(one)) for one in names}, fleet.log("controller").count("\n")
        agent_lines = sum(fleet.log(one).count("\n") for one in fleet.nodes)
        memory, began_s = MemoryCourse(), time.monotonic()
        while (passed_s := time.monotonic() - began_s) < seconds:
            memory.add(passed_s, resident_bytes(fleet.pid("controller")))
            time.sleep(min(LOOK_EVERY_S, seconds - passed_s))
        passed_s = time.monotonic() - began_s
        shares = {one: (processor_s(fleet.pid(one)) - spent[one]) / passed_s for one in names}
        resident = [resident_bytes(fleet.pid(one)) for one in fleet.nodes]
        links = sum(row["latency_s"] is not None for row in fleet.splitctl("links"))
        written = fleet.log("controller").splitlines()[lines:]
        told = sum(fleet.log(one).count("\n") for one in fleet.nodes) - agent_lines
    controller = shares.pop("controller")
    print(f"{nodes} agents without a model for {passed_s:.0f} s, {links} links measured")
    print(f"controller: {controller:.2%} of a core, {len(written)} log lines; aim: below {CONTROLLER_AIM:.0%}, none")
    print(f"  memory: {memory.text()}")
    for line in written[:SHOWN_LINES]:
        print(f"  {line}")
    middle, most = statistics.median(shares.values()), max(shares.values())
    print(f"agents: median {middle:.2%} of a core, at most {most:.2%}, {told} log lines of all; aim: {AGENT_AIM:.1%}")
    middle_bytes, most_bytes = statistics.median(resident) / 1e6, max(resident) / 1e6
    print(f"  resident: median {middle_bytes:.1f} MB, at most {most_bytes:.1f} MB; aim: {AGENT_AIM_BYTES / 1e6:.0f} MB")
    sys.exit(int(strict and (controller >= CONTROLLER_AIM or bool(written))))


if __name__ == "__main__":
    main()
