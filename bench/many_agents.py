"""What controller and broker take of a large fleet: a thousand agents on Mosquitto, a model deployed on a site of three.

Owns: the course: agents connect, a model is added and deployed, time passes, links change. Its rule: agents are simulated
(`simulated_agents.py`) and processor time is counted, so that beside other load shares hold; latencies are upper bounds then. Not here: a
larger fleet without a broker (`fed_controller.py`).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bench.process_figures import MemoryCourse, processor_s, resident_bytes
from bench.scene import SHIPPED_MODEL
from bench.simulated_agents import SITE_SIZE, SimulatedAgent, name_of, report_for_ever, start_all
from demo.fleet import CommandFailed, LocalFleet
from demo.ports import free_port
from edgesplit.control.plan_messages import Desired
from lab.testbed.requirements import program

__all__ = ["ManyAgents", "main"]

ROOT = Path(__file__).resolve().parents[1]
MODEL = "shapes"
SLOW_LINK = (5e4, 0.05)
"""Bandwidth and latency of a link that got worse. [B/s, s]"""
WHOLE_S = (0.2, 0.05, 0.04)
"""What the model takes on the nodes of the site where it is deployed. [s]"""
ALL_ONLINE_S = 180.0
SETTLE_S = 15.0
LOOK_EVERY_S = 5.0
ANSWER_LIMIT_S = 20.0
SHARE_AIM, ANSWER_AIM_S = 1.0, 1.0
ATTEMPTS, UNREACHABLE = 10, 4
"""Of a command, and the exit status of one that nobody answered."""


@dataclass
class ManyAgents:
    """What was found.

    Attributes:
        online_s: Until the controller knew all of them, from the first connection on. [s]
        seconds: For how long shares were taken. [s]
        seen_s: How long ago the controller had heard of each node then; more than a second where agents could not keep up. [s]
        shares: Of a core, by program. [1]
        starting_shares: The same until all were online. [1]
        memory: By program.
        answers_s: From a changed link to the plan that its node is told of. [s]
        told: Peers that the nodes of the site were told, and a node of another site.
        candidates: Nodes that the plan was chosen among.
    """

    online_s: float = 0.0
    seconds: float = 0.0
    seen_s: list[float] = field(default_factory=list[float])
    shares: dict[str, float] = field(default_factory=dict[str, float])
    starting_shares: dict[str, float] = field(default_factory=dict[str, float])
    memory: dict[str, MemoryCourse] = field(default_factory=dict[str, MemoryCourse])
    answers_s: list[float] = field(default_factory=list[float])
    told: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()


@contextmanager
def _mosquitto(folder: Path) -> Generator[tuple[str, int]]:
    """A Mosquitto of our own: its URL and process."""
    tool, port = program("mosquitto"), free_port()
    if tool is None:
        sys.exit("bench.many_agents needs mosquitto: sh tests/ensure_mosquitto.sh")
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\nmax_queued_messages 10000\n",
        encoding="utf-8",
    )
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([tool, "-c", str(config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        time.sleep(0.3)
        yield f"mqtt://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _crowd(url: str, first: int, count: int, processes: int) -> Generator[list[int]]:
    """The agents of all other sites, in processes of their own, which are yielded."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for part in range(processes):
            begin, end = (first + count * edge // processes for edge in (part, part + 1))
            command = [sys.executable, "-m", "bench.simulated_agents", "--broker", url]
            command += ["--first", str(begin), "--count", str(end - begin)]
            if end > begin:
                started.append(subprocess.Popen(command, cwd=ROOT))
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


class _Course:
    """One run.

    Args:
        fleet: Whose controller runs.
        count: Agents there are.
        pids: Processes to look at, by program.
    """

    def __init__(self, fleet: LocalFleet, count: int, pids: dict[str, int]) -> None:
        self._fleet = fleet
        self._count = count
        self._pids = pids
        self._desired: asyncio.Queue[tuple[float, Desired]] = asyncio.Queue()
        self.found = ManyAgents(memory={name: MemoryCourse() for name in pids})

    async def run(self, url: str, seconds: float, changes: int) -> None:
        """Go through it."""
        began_s, spent = time.monotonic(), self._spent()
        site = [
            SimulatedAgent(url, index, WHOLE_S[index], self._hear if index == 0 else lambda _: None)
            for index in range(min(SITE_SIZE, self._count))
        ]
        await start_all(site)
        reporting = asyncio.create_task(report_for_ever(site))
        try:
            await self._all_online(began_s, spent)
            await self._splitctl("model", "add", MODEL, str(SHIPPED_MODEL), "--max-quantizable", "4")
            await self._splitctl("deploy", MODEL, "--source", site[0].name)
            await asyncio.sleep(SETTLE_S)
            self.found.told = site[0].peers
            await self._watch(seconds)
            for _ in range(changes):
                await self._change(site[0])
            self.found.candidates = tuple((await self._splitctl("plan", MODEL))["candidates"])
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    def _hear(self, desired: Desired) -> None:
        self._desired.put_nowait((time.monotonic(), desired))

    async def _splitctl(self, *command: str) -> Any:
        for attempt in range(ATTEMPTS):
            try:
                return await asyncio.to_thread(self._fleet.splitctl, *command, timeout_s=900)
            except CommandFailed as error:
                # On a machine that does much else, an answer may take longer than splitctl waits.
                if error.exit_code != UNREACHABLE or attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _spent(self) -> dict[str, float]:
        return {name: processor_s(pid) for name, pid in self._pids.items()}

    def _shares(self, before: dict[str, float], seconds: float) -> dict[str, float]:
        return {name: (now - before[name]) / seconds for name, now in self._spent().items()}

    async def _all_online(self, began_s: float, spent: dict[str, float]) -> None:
        while (passed_s := time.monotonic() - began_s) < ALL_ONLINE_S:
            rows = await self._splitctl("nodes")
            if sum(row["online"] for row in rows) >= self._count:
                self.found.online_s = passed_s
                self.found.starting_shares = self._shares(spent, passed_s)
                return
            await asyncio.sleep(1.0)
        raise TimeoutError(f"not all of {self._count} agents came online within {ALL_ONLINE_S:.0f} s")

    async def _watch(self, seconds: float) -> None:
        began_s, spent = time.monotonic(), self._spent()
        while (passed_s := time.monotonic() - began_s) < seconds:
            for name, pid in self._pids.items():
                self.found.memory[name].add(passed_s, resident_bytes(pid))
            await asyncio.sleep(min(LOOK_EVERY_S, seconds - passed_s))
        self.found.seconds = time.monotonic() - began_s
        self.found.shares = self._shares(spent, self.found.seconds)
        seen = [row["last_seen_s"] for row in await self._splitctl("nodes")]
        self.found.seen_s = sorted(float("inf") if one is None else one for one in seen)

    async def _change(self, source: SimulatedAgent) -> None:
        """Make the links of the plan bad and all others good, and wait for another plan."""
        plan = await self._splitctl("plan", MODEL)
        used = [node for node, share in plan["per_node"].items() if share["operators"] and node != source.name]
        source.links = dict.fromkeys(used, SLOW_LINK)
        while not self._desired.empty():
            self._desired.get_nowait()
        source.report_links()
        changed_s = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                while True:
                    heard_s, desired = await self._desired.get()
                    if max((spec.epoch for spec in desired.epochs), default=0) > plan["epoch"]:
                        self.found.answers_s.append(heard_s - changed_s)
                        break
        except TimeoutError:
            self.found.answers_s.append(float("inf"))
        await asyncio.sleep(3.0)


def show(found: ManyAgents, count: int) -> None:
    """Print it, with the aims beside."""
    print(f"{count} agents, one report a second each; all online after {found.online_s:.1f} s")
    starting = ", ".join(f"{name} {share:.1%}" for name, share in found.starting_shares.items())
    print(f"of a core until then: {starting}")
    print(f"over {found.seconds:.0f} s with a model deployed on a site of {SITE_SIZE}:")
    for name, share in found.shares.items():
        aim = f"; aim: below {SHARE_AIM:.0%}" if name == "controller" else ""
        print(f"  {name}: {share:.1%} of a core{aim}")
    seen_s = found.seen_s or [float("inf")]
    print(f"  nodes were heard {statistics.median(seen_s):.2f} s before (median), the last one {seen_s[-1]:.1f} s")
    for name, course in found.memory.items():
        if course.samples:
            print(f"  {name}: {course.text()}")
    print(
        f"{name_of(0)} was told the peers {', '.join(found.told) or 'none'}; its plan chose among {', '.join(found.candidates)}"
    )
    if found.answers_s:
        middle, worst = statistics.median(found.answers_s), max(found.answers_s)
        print(
            f"from a changed link to the plan that answers it: median {middle:.2f} s, at most {worst:.2f} s of "
            f"{len(found.answers_s)}; aim: below {ANSWER_AIM_S:g} s"
        )


def missed(found: ManyAgents) -> bool:
    """Whether an aim was."""
    return found.shares["controller"] >= SHARE_AIM or any(answer_s >= ANSWER_AIM_S for answer_s in found.answers_s)


async def _measure(folder: Path, counts: tuple[int, int], seconds: float, changes: int, planning: str) -> ManyAgents:
    count, processes = counts
    with _mosquitto(folder) as (url, broker), LocalFleet(folder, [], broker=url, planning=planning) as fleet:
        fleet.start_controller()
        await asyncio.sleep(3.0)
        pids = {"controller": fleet.pid("controller"), "mosquitto": broker}
        course = _Course(fleet, count, pids)
        with _crowd(url, SITE_SIZE, max(0, count - SITE_SIZE), processes):
            await course.run(url, seconds, changes)
        lines = fleet.log("controller").count("\n")
        print(f"the controller's log has {lines} lines")
        return course.found


@click.command()
@click.option("--agents", default=1000, show_default=True)
@click.option("--seconds", default=120.0, show_default=True)
@click.option("--changes", default=5, show_default=True, help="How often links change.")
@click.option("--processes", default=2, show_default=True, help="That the agents share.")
@click.option("--planning", default="", help="More lines of the controller's [planning] section.")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="For logs and the store; default: removed."
)
@click.option("--strict", is_flag=True, help="Exit 1 where an aim is missed.")
def main(  # noqa: PLR0917 - one parameter an option
    agents: int, seconds: float, changes: int, processes: int, planning: str, folder: Path | None, strict: bool
) -> None:
    """Measure what controller and broker take of a large fleet.

    Example: python -m bench.many_agents --agents 1000 --seconds 600
    """
    os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in (".", "agent", "controller", "shared"))
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        place = folder or Path(name)
        place.mkdir(parents=True, exist_ok=True)
        found = asyncio.run(_measure(place, (agents, processes), seconds, changes, planning))
    show(found, agents)
    sys.exit(int(strict and missed(found)))


if __name__ == "__main__":
    main()
