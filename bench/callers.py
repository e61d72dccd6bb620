"""Callers in a process of their own: requests without a pause, every answer held against what it should be.

Owns: the loop of each caller, the record of every request, and the handle of the process (`Callers`). Its rule: a
request is recorded once, when it ended, whatever came of it; a second answer to a request is counted. Not here: what
happens to the agents meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.differences import Arrays, relative_difference
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import EdgesplitError
from edgesplit.wire.connection import Connection
from edgesplit.wire.frames import Frame
from edgesplit.wire.headers import Failure, Result

__all__ = ["TOLERANCE", "Answer", "Callers", "main", "save_requests"]

TOLERANCE = 1e-4
"""Of each output's range: what a split's other fusions may change. [1]"""
DEADLINE_S = 30.0
FLUSH_S = 0.05
SETTLE_S = 60.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    Attributes:
        sent_s: On the machine's monotonic clock, which processes share. [s]
        done_s: When the answer or the error was there. [s]
        epoch: That answered; 0 with an error.
        difference: From what it should be, relative to each output's range. [1]
        error: What the caller was told instead of an answer, or empty.
        again: Answers that came after the first.
        number: Which of the requests it was.
    """

    sent_s: float
    done_s: float
    epoch: int = 0
    difference: float = 0.0
    error: str = ""
    again: int = 0
    number: int = 0

    @property
    def latency_s(self) -> float:
        """As its caller saw it. [s]"""
        return self.done_s - self.sent_s

    @property
    def wrong(self) -> bool:
        """Whether the outputs are not those of the whole model."""
        return not self.difference <= TOLERANCE

    @property
    def failed(self) -> bool:
        """Whether there was no answer."""
        return bool(self.error)


def save_requests(path: Path, requests: Sequence[tuple[Arrays, Arrays]]) -> None:
    """Write inputs and the outputs they should give, for `--requests`."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, pair in enumerate(requests):
        for kind, named in zip(("input", "output"), pair, strict=True):
            arrays |= {f"{kind}/{number}/{name}": array for name, array in named.items()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


class Callers:
    """The process of callers; a context manager that ends it.

    Args:
        address: Of the agent they ask.
        model: A deployed model.
        requests: What `save_requests` wrote.
        folder: For the record and the log.
        count: How many call at a time.
        command: What precedes the command line, such as `nsenter`.
    """

    def __init__(
        self, address: str, model: str, requests: Path, folder: Path, *, count: int = 8, command: Sequence[str] = ()
    ) -> None:
        self._record = folder / "answers.jsonl"
        self._record.unlink(missing_ok=True)
        self._read_bytes = 0
        self._answers: list[Answer] = []
        arguments = ["--address", address, "--model", model, "--requests", str(requests), "--count", str(count)]
        with (folder / "callers.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, sys.executable, "-m", "bench.callers", *arguments, "--record", str(self._record)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=Path(__file__).resolve().parents[1],
                env={key: value for key, value in os.environ.items() if not key.startswith("EDGESPLIT_")},
            )

    def answers(self) -> list[Answer]:
        """What ended so far, in the order of ending; a few milliseconds late.

        Raises:
            RuntimeError: The process ended by itself.
        """
        if self._process.poll() not in {None, 0}:
            raise RuntimeError(f"the callers ended with {self._process.returncode}: see callers.log")
        if self._record.exists():
            with self._record.open("rb") as file:
                file.seek(self._read_bytes)
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._read_bytes += len(whole)
            self._answers += [msgspec.json.decode(line, type=Answer) for line in whole.splitlines()]
        return self._answers

    @contextmanager
    def paused(self) -> Generator[None]:
        """Have nobody call for a while: requests in flight end, their answers wait to be read."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> list[Answer]:
        """Let the requests in flight end; all answers.

        Raises:
            RuntimeError: Requests never ended.
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(SETTLE_S)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"requests were still in flight after {SETTLE_S:g} s") from None
        return self.answers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class _CountingClient(AsyncClient):
    """Notices answers to requests that were answered before."""

    answered: dict[int, int] | None = None

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        """See `AsyncClient`."""
        if isinstance(frame.header, (Result, Failure)) and frame.header.id is not None:
            self.answered = self.answered or {}
            self.answered[frame.header.id] = self.answered.get(frame.header.id, 0) + 1
        super().on_frame(connection, frame)


class _Loop:
    """All callers of the process."""

    def __init__(self, model: str, requests: Sequence[tuple[Arrays, Arrays]]) -> None:
        self.ended: list[Answer] = []
        self._model = model
        self._requests = requests
        self._stopping = asyncio.Event()

    async def run(self, address: str, count: int, record: Path) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        writing = asyncio.create_task(self._write(record))
        async with _CountingClient(address) as client:
            await asyncio.gather(*(self._call(client, number) for number in range(count)))
            again = sum(count - 1 for count in (client.answered or {}).values())
        writing.cancel()
        now = time.monotonic()
        if again:
            self.ended.append(Answer(sent_s=now, done_s=now, again=again))
        self._flush(record)

    async def _call(self, client: AsyncClient, number: int) -> None:
        while not self._stopping.is_set():
            which = number % len(self._requests)
            inputs, wanted = self._requests[which]
            number += 1
            sent_s = time.monotonic()
            try:
                result = await client.infer_detailed(self._model, inputs, deadline_s=DEADLINE_S)
            except EdgesplitError as error:
                ended = Answer(sent_s=sent_s, done_s=time.monotonic(), number=which, error=f"{error.code}: {error}")
                await asyncio.sleep(FLUSH_S)  # whoever answers with errors must not be asked a thousand times a second
            else:
                done_s = time.monotonic()
                difference = relative_difference(wanted, result.outputs)
                ended = Answer(sent_s=sent_s, done_s=done_s, number=which, epoch=result.epoch, difference=difference)
            self.ended.append(ended)

    async def _write(self, record: Path) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._flush(record)

    def _flush(self, record: Path) -> None:
        ended, self.ended = self.ended, []
        with record.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(answer) + b"\n" for answer in ended))


def _read_requests(path: Path) -> list[tuple[Arrays, Arrays]]:
    found: dict[int, dict[str, dict[str, NDArray[Any]]]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            kind, number, name = key.split("/", 2)
            found.setdefault(int(number), {"input": {}, "output": {}})[kind][name] = arrays[key]
    requests: list[tuple[Arrays, Arrays]] = []
    for _, named in sorted(found.items()):
        pair: Mapping[str, Arrays] = named
        requests.append((pair["input"], pair["output"]))
    return requests


@click.command()
@click.option("--address", required=True, help="The agent's host:port.")
@click.option("--model", required=True)
@click.option("--requests", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--record", required=True, type=click.Path(path_type=Path), help="One JSON object a request.")
@click.option("--count", default=8, show_default=True, help="Callers at a time.")
def main(address: str, model: str, requests: Path, record: Path, count: int) -> None:
    """Call until SIGTERM, then let what is in flight end."""

    async def call() -> None:
        await _Loop(model, _read_requests(requests)).run(address, count, record)

    asyncio.run(call())


if __name__ == "__main__":
    main()
