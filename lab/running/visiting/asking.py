"""Requests from beside a machine: a process in its network that asks its agent and times each answer.

Owns: the process (this module run as a program) and the handle on it. Its rule: one request after another, each timed by the client
library; it shares the machine's network and not its share of the processor. Not here: what is asked for and when (`measuring.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgesplit
from edgesplit.errors import EdgesplitError

__all__ = ["Answers", "AskingFailed", "RequestsBeside"]

REPOSITORY = Path(__file__).resolve().parents[3]
DEADLINE_S = 60.0


class AskingFailed(Exception):
    """A request brought no answer, or the process that asks is gone."""


@dataclass(frozen=True)
class Answers:
    """Of requests one after another.

    Attributes:
        latencies_s: Of each, in order. [s]
        began_s: When each was sent. [s, monotonic]
        epochs: Plans that answered, each once.
        outputs: By number of the request's input, of the first answer to it.
    """

    latencies_s: tuple[float, ...]
    began_s: tuple[float, ...]
    epochs: tuple[int, ...]
    outputs: Mapping[int, dict[str, NDArray[Any]]]

    @property
    def middle(self) -> int:
        """Which of them took the median latency, or next to it."""
        order = sorted(range(len(self.latencies_s)), key=self.latencies_s.__getitem__)
        return order[len(order) // 2]


class RequestsBeside:
    """The process that asks one agent for one model; a context manager.

    Args:
        command: What it is preceded with to run beside the machine.
        address: Of the agent's data plane.
        model: Its name.
        requests: Different requests, stacked along a first axis (.npz).
        folder: For outputs.
    """

    def __init__(self, command: Sequence[str], address: str, model: str, requests: Path, folder: Path) -> None:
        self._outputs = folder / f"{model}.outputs.npz"
        self._process = subprocess.Popen(
            [
                *(*command, sys.executable, "-m", "lab.running.visiting.asking"),
                *(address, model, str(requests), str(self._outputs)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            start_new_session=True,  # Ctrl-C is for the lab, which closes this
        )

    def __enter__(self) -> RequestsBeside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # It ends when its standard input does; a request that hangs must not keep the lab.
        try:
            self._process.communicate(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def ask(self, count: int, *, keep: bool = False) -> Answers:
        """Send requests one after another.

        Args:
            count: How many.
            keep: Have their outputs, too.

        Raises:
            AskingFailed: One was not answered.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"count": count, "keep": keep}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise AskingFailed(f"the process that asks cannot be reached: {error}") from error
        line = self._process.stdout.readline()
        if not line:
            raise AskingFailed(f"the process that asks ended with {self._process.wait()}")
        answer = json.loads(line)
        if answer["error"]:
            raise AskingFailed(f"a request failed: {answer['error']}")
        outputs = _read(self._outputs) if keep else {}
        return Answers(tuple(answer["latencies_s"]), tuple(answer["began_s"]), tuple(answer["epochs"]), outputs)


def _read(path: Path) -> dict[int, dict[str, NDArray[Any]]]:
    """What `_write` wrote."""
    found: dict[int, dict[str, NDArray[Any]]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            number, _, name = key.partition(":")
            found.setdefault(int(number), {})[name] = arrays[key]
    return found


def _write(path: Path, outputs: Mapping[int, Mapping[str, NDArray[Any]]]) -> None:
    with path.open("wb") as file:
        arrays = {f"{number}:{name}": array for number, named in outputs.items() for name, array in named.items()}
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its other keyword is no array


def _serve(address: str, model: str, requests: Path, outputs_file: Path) -> None:
    """Answer each line of standard input with what so many requests took."""
    with np.load(requests) as arrays:
        stacked = {name: arrays[name] for name in arrays.files}
    inputs = [
        {name: np.ascontiguousarray(array[index]) for name, array in stacked.items()}
        for index in range(min(len(array) for array in stacked.values()))
    ]
    with edgesplit.connect(address) as node:
        for line in sys.stdin:
            order = json.loads(line)
            latencies: list[float] = []
            began: list[float] = []
            epochs: list[int] = []
            kept: dict[int, dict[str, NDArray[Any]]] = {}
            error = ""
            for number in range(order["count"]):
                index = number % len(inputs)
                began_s = time.monotonic()
                try:
                    result = node.infer_detailed(model, inputs[index], deadline_s=DEADLINE_S)
                except EdgesplitError as problem:
                    error = str(problem)
                    break
                latencies.append(result.latency_s)
                began.append(began_s)
                epochs.append(result.epoch)
                if order["keep"] and index not in kept:
                    kept[index] = dict(result.outputs)
            if order["keep"] and not error:
                _write(outputs_file, kept)
            answer = {"latencies_s": latencies, "began_s": began, "epochs": list(dict.fromkeys(epochs)), "error": error}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
