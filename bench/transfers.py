"""Transfer times after pauses, measured between two data planes over shaped links, beside what is predicted of them.

Owns: the ends, the pauses and the table. Its rule: predicted is what a problem states of a link at the moment of sending (bytes
over the published rate, plus the published latency); measured is from handing a tensor over until the peer's agent has it. Not here: links
(`lab.testbed`), how they are estimated.

    sudo .venv/bin/python -m bench.transfers
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from edgesplit.wire.frames import pack_tensor, unpack_tensors
from edgesplit.wire.headers import ExecutionKey, TensorHead
from edgesplit.wire.tensors import Array
from edgesplit_agent.dataplane.emulation import Emulation
from edgesplit_agent.dataplane.limits import Limits
from edgesplit_agent.dataplane.plane import DataPlane
from edgesplit_agent.serving.machine.events import Answer, MachineEvent, TensorsArrived
from lab.testbed import namespaces
from lab.testbed.carrier import REPOSITORY, carrier
from lab.testbed.links import ShapedWire
from lab.testbed.requirements import only_one, unavailable
from lab.testbed.testbed import STUDY

__all__ = ["main"]

SIZES = (50_000, 150_000, 500_000, 1_500_000, 5_000_000)
PAUSES_S = (0.5, 1.0, 2.0)
ESTIMATING_S = 15.0
PORT = 7400
"""Each end has a namespace of its own."""


class _End:
    """One machine: a data plane that sends what it is told, and tells what arrives and when."""

    def emit(self, event: MachineEvent) -> None:
        if isinstance(event, TensorsArrived):
            _say({"arrived": event.key.request, "at": time.monotonic()})

    def received(self, nbytes: int) -> None:
        """Nothing is counted."""

    def sent(self, peer: str, key: ExecutionKey, nbytes: int, seconds: float) -> None:
        """Nothing is counted."""

    def probed(self, peer: str, nbytes: int) -> None:
        """Nothing is counted."""

    def has_part(self) -> bool:
        """As after a plan."""
        return True

    def room_bytes(self) -> int | None:
        return None

    async def decode(
        self, key: ExecutionKey, heads: Sequence[TensorHead], payloads: Sequence[Array]
    ) -> dict[str, Array]:
        del key
        return unpack_tensors(heads, payloads)

    def ask(
        self, model: str, arrays: dict[str, Array], deadline_s: float | None, answer: Callable[[Answer], None]
    ) -> Callable[[], None]:
        raise NotImplementedError

    async def run(self, node: str, addresses: dict[str, str]) -> None:
        plane = DataPlane(
            node, node, "0", listen=f"{addresses[node]}:{PORT}", emulation=Emulation(), limits=Limits(), emit=self.emit,
            host=self, counters=self,
        )  # fmt: skip
        await plane.start()
        plane.set_peers({peer: f"{address}:{PORT}" for peer, address in addresses.items() if peer != node})
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            order = json.loads(line)
            state = next((link for link in plane.links() if link.to == order["to"]), None)
            if state is None:
                _say({"unknown": order["request"]})
                continue
            tensors = [pack_tensor("x", np.zeros(order["nbytes"], np.uint8))]
            figures = {key: getattr(state, key, 0.0) for key in ("bandwidth_bytes_per_s", "latency_s", "error")}
            begun = time.monotonic()
            plane.send_tensors(order["to"], ExecutionKey("m", 1, order["request"]), tensors, None)
            _say({"sent": order["request"], "at": begun, "link": figures})
        await plane.close()


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


class _Ends:
    """The processes, asked by the runner."""

    def __init__(self, processes: dict[str, asyncio.subprocess.Process]) -> None:
        self._processes = processes
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def listen(self, node: str) -> None:
        stdout = self._processes[node].stdout
        assert stdout is not None
        while line := await stdout.readline():
            if not line.startswith(b"{"):
                continue  # the data plane's log
            answer = json.loads(line)
            kind = next(iter(answer))
            key = f"{'arrived' if kind == 'arrived' else 'sent'} {answer[kind]}"
            self._answers.setdefault(key, asyncio.get_running_loop().create_future()).set_result(answer)

    async def send(self, source: str, target: str, nbytes: int, request: str) -> tuple[dict[str, Any], float] | None:
        """What was published of the link, and how long it took; None where nothing was measured yet."""
        loop = asyncio.get_running_loop()
        sent = self._answers.setdefault(f"sent {request}", loop.create_future())
        arrived = self._answers.setdefault(f"arrived {request}", loop.create_future())
        stdin = self._processes[source].stdin
        assert stdin is not None
        stdin.write((json.dumps({"to": target, "nbytes": nbytes, "request": request}) + "\n").encode())
        begun = await sent
        if "unknown" in begun:
            return None
        return begun["link"], (await arrived)["at"] - begun["at"]


async def _measure(
    ends: _Ends, source: str, target: str, rounds: int
) -> list[tuple[int, float, dict[str, Any], float]]:
    rng, found = random.Random(f"{source}{target}"), list[tuple[int, float, dict[str, Any], float]]()
    await asyncio.sleep(ESTIMATING_S)
    for number in range(rounds):
        cases = [(nbytes, pause_s) for nbytes in SIZES for pause_s in PAUSES_S]
        rng.shuffle(cases)
        for nbytes, pause_s in cases:
            await asyncio.sleep(pause_s)
            answer = await ends.send(source, target, nbytes, f"{source} {target} {number} {nbytes} {pause_s}")
            if answer is not None:
                found.append((nbytes, pause_s, *answer))
    return found


def _predicted_s(nbytes: int, link: dict[str, Any]) -> float:
    """What a problem states of such a transfer. [s]"""
    return float(nbytes / link["bandwidth_bytes_per_s"] + link["latency_s"])


async def _run(places: dict[str, namespaces.Place], rounds: int) -> None:
    addresses = {name: place.data_address for name, place in places.items()}
    processes = {
        name: await asyncio.create_subprocess_exec(
            *place.command, sys.executable, "-m", "bench.transfers", "--end", name, "--addresses", json.dumps(addresses),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY,
        )
        for name, place in places.items()
    }  # fmt: skip
    ends = _Ends(processes)
    listening = [asyncio.create_task(ends.listen(name)) for name in processes]
    pairs = [pair for link in STUDY.links for pair in (link.ends, (link.ends[1], link.ends[0]))]
    try:
        results = await asyncio.gather(*(_measure(ends, *pair, rounds) for pair in pairs))
    finally:
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.close()
        await asyncio.gather(*(process.wait() for process in processes.values()), *listening)
    shapes = {
        pair: shape for link in STUDY.links for pair, shape in ((link.ends, link.there), (link.ends[::-1], link.back))
    }
    print(f"{'link':36} {'published':26}" + "".join(f"{nbytes / 1e3:>18.0f} kB" for nbytes in SIZES))
    everything = list[float]()
    for pair, result in zip(pairs, results, strict=True):
        shape, last = shapes[pair], result[-1][2]
        name = f"{pair[0]} -> {pair[1]} ({shape.rate_bytes_per_s / 1e6:g} MB/s, {1e3 * shape.delay_s:g} ms)"
        said = (
            f"{last['bandwidth_bytes_per_s'] / 1e6:.2f} ±{100 * last['error']:.1f} % {1e3 * last['latency_s']:.2f} ms"
        )
        by_size: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for nbytes, _, link, took_s in result:
            by_size[nbytes].append((took_s, took_s / _predicted_s(nbytes, link) - 1))
        cells = ""
        for nbytes in SIZES:
            times, errors = zip(*by_size[nbytes], strict=True)
            cells += f"{1e3 * statistics.median(times):>10.1f} ms {100 * statistics.median(errors):>+6.1f} %"
            everything += errors
        print(f"{name:36} {said:26}{cells}")
        for pause_s in PAUSES_S:
            after = [
                took_s / _predicted_s(nbytes, link) - 1 for nbytes, pause, link, took_s in result if pause == pause_s
            ]
            print(f"{'':36} after {pause_s:g} s: median {100 * statistics.median(after):+.1f} %")
    off = [100 * abs(error) for error in everything]
    print(
        f"error: mean {statistics.fmean(off):.1f} %, median {statistics.median(off):.1f} %, worst {max(off):.1f} % of {len(off)}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times that each size is sent after each pause (3)")
    parser.add_argument("--congestion", metavar="NAME", help="congestion control of TCP (the machine's)")
    parser.add_argument("--end", help=argparse.SUPPRESS)
    parser.add_argument("--addresses", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.end:
        asyncio.run(_End().run(options.end, json.loads(options.addresses)))
        return
    if reason := unavailable():
        sys.exit(reason)
    with ExitStack() as stack:
        stack.enter_context(only_one())
        namespaces.remove_stale()
        places = stack.enter_context(namespaces.namespaces([machine.name for machine in STUDY.machines]))
        wires = [
            ShapedWire(
                (places[link.ends[0]].namespace, places[link.ends[1]].namespace),
                (places[link.ends[0]].data_address, places[link.ends[1]].data_address),
                link.there,
                link.back,
            )
            for link in STUDY.links
        ]
        stack.enter_context(carrier(wires))
        for place in places.values() if options.congestion else ():
            setting = f"net.ipv4.tcp_congestion_control={options.congestion}"
            subprocess.run([*place.command, "sysctl", "-q", "-w", setting], check=True)
        asyncio.run(_run(places, options.rounds))


if __name__ == "__main__":
    main()
