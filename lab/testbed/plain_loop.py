"""A plain onnxruntime loop as control: the same model as a process on a machine's core, timed right beside the plan.

Owns: the process (this module run as a program), the handle on it, and the set of them that a model is measured beside. Its rule: it knows nothing of edgesplit, runs with the
machine's own pinning and precedence, and only computes when asked; what it says is how fast the machine was at that moment.
Not here: what is made of it (`bench/end_to_end/plans`, `lab/reporting`).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from edgesplit.daemon.inference_runtime.telemetry_off import stay_discreet

__all__ = ["Controls", "LoopFailed", "PlainLoop"]

RUNS, SECONDS = 5, 0.6
"""At least so many runs, and at least for so long: runs of ten milliseconds meet other tenths of a second than a plan. [1, s]"""
MOST_RUNS = 60
REPOSITORY = Path(__file__).resolve().parents[2]


class LoopFailed(Exception):
    """The control's process ended or said nothing sensible."""


class PlainLoop:
    """One loop on one machine; a context manager.

    Args:
        command: What the process is preceded with to run on the machine.
        model: The ONNX file.
        request: One array per input (.npz).
    """

    def __init__(self, command: Sequence[str], model: Path, request: Path) -> None:
        self._process = subprocess.Popen(
            [*command, sys.executable, "-m", "lab.testbed.plain_loop", str(model), str(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            start_new_session=True,  # Ctrl-C is for the benchmark, which closes this
        )

    def __enter__(self) -> PlainLoop:
        """Wait until it is loaded, so that this is over before anything is measured.

        Raises:
            LoopFailed: It cannot be loaded.
        """
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # It ends when its standard input does.
        self._process.communicate()

    def median_s(self) -> float:
        """Median of a few runs, one after another, by the wall clock. [s]

        Raises:
            LoopFailed: The process ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except OSError as error:
            raise LoopFailed(f"the plain loop cannot be asked: {error}") from error
        return statistics.median(self._answer())

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LoopFailed(f"the plain loop ended with {self._process.wait()}")
        return [float(value) for value in json.loads(line)]


class Controls:
    """Plain loops of one model, one for each core that computes; a context manager.

    Args:
        cores: Of each machine, by name; machines that share one share its loop.
        command: What a process is preceded with to run on a machine.
        model: The ONNX file.
        request: One array per input (.npz).
    """

    def __init__(
        self, cores: Mapping[str, str], command: Callable[[str], Sequence[str]], model: Path, request: Path
    ) -> None:
        self._stack = ExitStack()
        self._core = cores
        self._loops: dict[str, PlainLoop] = {}
        for machine, core in cores.items():
            if core not in self._loops:
                loop = PlainLoop(command(machine), model, request)
                self._loops[core] = self._stack.enter_context(loop)

    def __enter__(self) -> Controls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def medians_s(self, nodes: Sequence[str]) -> dict[str, tuple[str, float]]:
        """Core and median of the loop beside each node; nodes that share a core share it. [s]"""
        found = {core: self._loops[core].median_s() for core in dict.fromkeys(self._core[node] for node in nodes)}
        return {node: (self._core[node], found[self._core[node]]) for node in nodes}


def _loop(model: str, request: str) -> None:
    """Answer each line of standard input with the seconds of some runs."""
    import numpy as np  # noqa: PLC0415 - telemetry is switched off before onnxruntime comes
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with np.load(request) as arrays:
        inputs = dict(arrays)
    session.run(None, inputs)
    print(json.dumps([0.0]), flush=True)
    for _ in sys.stdin:
        session.run(None, inputs)  # what others left in the caches goes first
        began, seconds = time.perf_counter(), list[float]()
        while len(seconds) < MOST_RUNS and (len(seconds) < RUNS or time.perf_counter() - began < SECONDS):
            started = time.perf_counter()
            session.run(None, inputs)
            seconds.append(time.perf_counter() - started)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    stay_discreet()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _loop(sys.argv[1], sys.argv[2])
