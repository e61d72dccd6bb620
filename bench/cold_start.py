"""Cold starts of an agent: seconds from exec to the first answer without a broker, to online with one, and what an idle agent takes.

Owns: a deployed model, everything switched off, and the source started alone again and again, then beside peers that started as alone. Its
rule: a start is timed from outside, from the call that makes the process to an answer that is compared with the one from before; beside other
work wall-clock seconds are upper bounds, so processor time stands beside them. Not here: what happens to requests while nodes fail
(`survival.py`).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import onnx

from bench import zoo
from bench.differences import relative_difference
from bench.process_memory import resident
from bench.random_plans import random_inputs
from bench.scene import SHIPPED_MODEL, broker
from demo.fleet import EmulatedNode, LocalFleet, Place
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.control.registration_messages import NODE_STATUS, NodeStatus
from edgesplit.errors import EdgesplitError
from edgesplit.mqtt.bus import MessageBus
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model

__all__ = ["Starts", "main"]

ANSWER_AIM_S, ONLINE_AIM_S = 3.0, 1.0
MEMORY_AIM_BYTES, IDLE_AIM = 45e6, 0.003
"""Of an agent without a model: resident, and the share of a core that it takes. [B, 1]"""
SOURCE, PEERS, MODEL = "device", ("edge", "cloud"), "cold"
SLOW_DOWN = {"device": 6.0, "edge": 2.0, "cloud": 1.0}
"""So that a plan uses several. [1]"""
TOLERANCE = 1e-3
LOOK_S = 0.005
LIMIT_S = 60.0
SETTLE_S = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Starts:
    """What starts took.

    Attributes:
        what: For people.
        aim_s: For their median. [s]
        seconds: From exec on. [s]
        processor_s: Of the agent until then, all its threads. [s]
    """

    what: str
    aim_s: float
    seconds: list[float] = field(default_factory=list[float])
    processor_s: list[float] = field(default_factory=list[float])

    def note(self, began_s: float, process: int) -> None:
        """It has come to it."""
        self.seconds.append(time.monotonic() - began_s)
        self.processor_s.append(processor_s(process))

    @property
    def median_s(self) -> float:
        """Of the starts. [s]"""
        return statistics.median(self.seconds)

    def text(self) -> str:
        """One line."""
        return (
            f"{self.what}: median {self.median_s:.2f} s of {len(self.seconds)} ({min(self.seconds):.2f} to {max(self.seconds):.2f}), "
            f"processor {statistics.median(self.processor_s):.2f} s; aim {self.aim_s:g} s"
        )


def processor_s(process: int) -> float:
    """Processor time of a process and all its threads so far. [s]"""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def ask(address: str, request: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]] | None:
    """Epoch and outputs of an answer; None where there is none yet."""

    async def asked() -> tuple[int, Mapping[str, Any]]:
        async with AsyncClient(address) as client:
            found = await client.infer_detailed(MODEL, dict(request))
        return found.epoch, found.outputs

    try:
        return asyncio.run(asked())
    except EdgesplitError:
        return None


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something.

    Raises:
        TimeoutError: It did not happen.
    """
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what} did not happen within {LIMIT_S:g} s")
        time.sleep(LOOK_S)


def first_answers(path: Path, name: str, folder: Path, times: int) -> list[Starts]:
    """Deploy a model, switch everything off, and start agents without a broker."""
    request = random_inputs(import_model(path, BlobStore(folder / "blobs")), 0)
    nodes = [EmulatedNode(node, 5.0, 2.0, slow_down=SLOW_DOWN[node]) for node in (SOURCE, *PEERS)]
    found = [
        Starts(f"{name}, the source alone, no broker, to the first answer", ANSWER_AIM_S),
        Starts(f"{name}, beside two peers that started alone, to the first answer over all", ANSWER_AIM_S),
    ]
    with LocalFleet(folder / "fleet", nodes, broker=None) as fleet:
        fleet.start()
        fleet.await_nodes()
        fleet.splitctl("model", "add", MODEL, str(path), "--max-quantizable", "2", timeout_s=900)
        fleet.splitctl("deploy", MODEL, "--source", SOURCE)
        plan = int(fleet.splitctl("plan", MODEL)["epoch"])
        wanted: dict[str, Any] = {}

        def serves() -> bool:
            answer = ask(fleet.address(SOURCE), request)
            wanted.update(answer[1] if answer is not None else {})
            return answer is not None and answer[0] == plan

        until(serves, "the plan serves")
        time.sleep(SETTLE_S)  # fallbacks are prepared
        fleet.stop()  # the broker is in the controller's process

        def start(starts: Starts, epoch: int | None) -> None:
            began_s = time.monotonic()
            fleet.start_agent(SOURCE)

            def answered() -> bool:
                answer = ask(fleet.address(SOURCE), request)
                if answer is None or (epoch is not None and answer[0] != epoch):
                    return False
                if relative_difference(wanted, answer[1]) > TOLERANCE:
                    raise ValueError(f"epoch {answer[0]} answers something else")
                return True

            until(answered, "an answer")
            starts.note(began_s, fleet.pid(SOURCE))
            fleet.kill(SOURCE)

        for _ in range(times):
            start(found[0], None)
        for peer in PEERS:
            fleet.start_agent(peer)
        time.sleep(SETTLE_S)
        for _ in range(times):
            start(found[1], plan)
    return found


def environment(python: str) -> str:
    """What an agent runs in, as far as it decides about memory: structlog imports rich where that is installed, which an agent does not need."""
    ask = "import importlib.util, platform; print(platform.python_version(), importlib.util.find_spec('rich') is not None)"
    version, with_rich = subprocess.run(
        [python or sys.executable, "-c", ask], capture_output=True, text=True, check=True
    ).stdout.split()
    rest = "rich beside it" if with_rich == "True" else "no rich, as where the extra agent alone is installed"
    return f"Python {version}, {rest}"


def idle(folder: Path, times: int, seconds: float, python: str) -> tuple[Starts, int, float]:
    """An agent without a model: from exec to online, then resident memory [B] and share of a core [1] while nothing happens."""
    starts = Starts("an agent without a model, from exec to online", ONLINE_AIM_S)
    nodes, places = [EmulatedNode(SOURCE, 5.0, 2.0)], {SOURCE: Place(python=python)}
    with broker(folder) as url, LocalFleet(folder / "idle", nodes, broker=url, places=places) as fleet:
        fleet.start_controller()
        instances: set[str] = set()

        async def online() -> None:
            known = set(instances)
            bus = MessageBus(url, client_id=f"bench-cold-start-{os.getpid()}")
            came = asyncio.Event()

            def hear(_topic: str, status: NodeStatus | None) -> None:
                if status is not None and status.online and status.instance not in known:
                    instances.add(status.instance)
                    came.set()

            bus.subscribe(NODE_STATUS, hear)
            await bus.connect(10.0)
            began_s = time.monotonic()
            fleet.start_agent(SOURCE)
            async with asyncio.timeout(LIMIT_S):
                await came.wait()
            starts.note(began_s, fleet.pid(SOURCE))
            await bus.close()

        for turn in range(times + 1):
            if turn:
                fleet.end(SOURCE)
            asyncio.run(online())
            if not turn:
                time.sleep(SETTLE_S)  # what its runtime can is found out once
                starts.seconds.clear()
                starts.processor_s.clear()
        time.sleep(SETTLE_S)
        process = fleet.pid(SOURCE)
        before_s, began_s = processor_s(process), time.monotonic()
        time.sleep(seconds)
        share = (processor_s(process) - before_s) / (time.monotonic() - began_s)
        return starts, resident(process), share


def _model(name: str, folder: Path) -> Path:
    if name == "demo":
        return SHIPPED_MODEL
    path = folder / f"{name}.onnx"
    onnx.save(zoo.build(name), path)
    return path


@click.command()
@click.option("--times", default=10, show_default=True, help="Starts of each kind.")
@click.option("--models", default="demo,mobilenet_v2", show_default=True, help="Of demo and the zoo; empty for none.")
@click.option("--seconds", default=60.0, show_default=True, help="How long the idle agent is watched.")
@click.option(
    "--agent-python",
    default="",
    help="Interpreter of the idle agent, such as of an environment with the extra agent alone.",
)
@click.option("--strict", is_flag=True, help="Exit 1 where an aim is missed.")
def main(times: int, models: str, seconds: float, agent_python: str, strict: bool) -> None:
    """Time cold starts.

    Example: python -m bench.cold_start --times 10
    """
    met = True
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as made:
        folder = Path(made)
        for name in filter(None, models.split(",")):
            (folder / name).mkdir()
            for starts in first_answers(_model(name, folder), name, folder / name, times):
                print(starts.text(), flush=True)
                met &= starts.median_s <= starts.aim_s
        starts, memory, share = idle(folder, times, seconds, agent_python)
        print(f"the agent without a model: {environment(agent_python)}")
        print(starts.text())
        print(f"idle without a model: {memory / 1e6:.1f} MB resident; aim {MEMORY_AIM_BYTES / 1e6:g} MB")
        print(f"idle without a model: {share:.2%} of a core over {seconds:g} s; aim {IDLE_AIM:.1%}")
        met &= starts.median_s <= starts.aim_s and memory <= MEMORY_AIM_BYTES and share <= IDLE_AIM
    sys.exit(int(strict and not met))


if __name__ == "__main__":
    main()
