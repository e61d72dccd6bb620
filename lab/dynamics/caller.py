"""Request generator as a process beside the source: one request after another, or at a rate, each recorded.

Owns: this program. Its rule: it is in no node's share of the processor, every request is a line, none is retried, and
it ends when its standard input does. Not here: what requests say of a strategy (`reaction.py`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import EdgesplitError

__all__ = ["main"]

DEADLINE_S = 30.0
"""Of a request: longer than any fallback takes to notice a loss."""
AFTER_FAILURE_S = 0.05
"""Whoever was refused at once asks again a moment later, so that a gap is seen and nobody is flooded. [s]"""
IN_FLIGHT = 64
"""At a rate, at most so many at a time: the next one waits, and its latency counts from when it was due."""


class _Caller:
    def __init__(self, client: AsyncClient, model: str, inputs: Mapping[str, NDArray[Any]]) -> None:
        self._client, self._model, self._inputs = client, model, inputs

    async def call(self, due_s: float) -> bool:
        """Send one; whether it was answered."""
        waited_s = max(time.time() - due_s, 0.0)
        line: dict[str, Any] = {"at_unix_s": due_s, "latency_s": None, "epoch": None, "failure": ""}
        try:
            result = await self._client.infer_detailed(self._model, self._inputs, deadline_s=DEADLINE_S)
        except EdgesplitError as error:
            line["failure"] = str(error) or type(error).__name__
        else:
            line |= {"latency_s": result.latency_s + waited_s, "epoch": result.epoch}
        print(json.dumps(line), flush=True)
        return not line["failure"]

    async def in_turn(self, ended: asyncio.Event) -> None:
        """One after another."""
        while not ended.is_set():
            if not await self.call(time.time()):
                await asyncio.sleep(AFTER_FAILURE_S)

    async def at_rate(self, requests_per_s: float, ended: asyncio.Event) -> None:
        """At a rate, whether the ones before have been answered or not."""
        room, due_s = asyncio.Semaphore(IN_FLIGHT), time.time()

        async def call_once(moment_s: float) -> None:
            try:
                await self.call(moment_s)
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            while not ended.is_set():
                await asyncio.sleep(max(due_s - time.time(), 0.0))
                await room.acquire()
                group.create_task(call_once(due_s))
                due_s += 1 / requests_per_s


async def _run(address: str, model: str, inputs: Mapping[str, NDArray[Any]], requests_per_s: float | None) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: None if sys.stdin.readline() else ended.set())
    async with AsyncClient(address) as client:
        caller = _Caller(client, model, inputs)
        await (caller.in_turn(ended) if requests_per_s is None else caller.at_rate(requests_per_s, ended))


@click.command()
@click.option("--address", required=True, metavar="HOST:PORT", help="Data plane of the source's agent.")
@click.option("--model", required=True)
@click.option("--input", "request", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--rate", "requests_per_s", type=click.FloatRange(min=0, min_open=True), help="Requests a second.")
def main(address: str, model: str, request: Path, requests_per_s: float | None) -> None:
    """Send requests until standard input ends; a JSON line each."""
    with np.load(request) as arrays:
        inputs = {name: np.ascontiguousarray(arrays[name]) for name in arrays.files}
    asyncio.run(_run(address, model, inputs, requests_per_s))


if __name__ == "__main__":
    main()
