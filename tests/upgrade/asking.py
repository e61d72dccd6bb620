"""Steady requests through whichever release of the client library is importable; run as a program of its own.

asking.py MODEL INPUT.npz EXPECTED.npz ADDRESS [PATIENCE]: asks the agent at ADDRESS until standard input ends; each line there is the address of
another agent to ask from then on, and `asking ADDRESS` is printed once nothing is left at the one before. Nothing is asked twice: what a
call raises has failed. At the end one line of JSON. PATIENCE [s]: what a client of this release is told of it. Its rule: without that, it uses nothing
that the previous release's client does not have.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from importlib.metadata import distribution
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgesplit

Arrays = dict[str, NDArray[Any]]

CALLERS = 2
PAUSE_S = 0.3
DEADLINE_S = 30.0
TOLERANCE = 1e-4
"""Of an output's range: what rounding in another order may do to a float plan. [1]"""


class Asking:
    """What all callers share."""

    def __init__(self, model: str, inputs: Arrays, expected: Arrays, address: str, options: dict[str, Any]) -> None:
        self.model, self.inputs, self.expected = model, inputs, expected
        self.address, self.options = address, options
        self.ended = False
        self.answered = 0
        self.epochs: set[int] = set()
        self.failures: list[str] = []
        self.at = dict.fromkeys(range(CALLERS), "")
        self._lock = threading.Lock()

    def call(self, caller: int) -> None:
        """Ask one request after another, each agent over one connection."""
        while not self.ended:
            address = self.address
            try:
                with edgesplit.connect(address, **self.options) as node:
                    self.at[caller] = address
                    while not self.ended and address == self.address:
                        result = node.infer_detailed(self.model, self.inputs, deadline_s=DEADLINE_S)
                        self._count(result.epoch, result.outputs)
                        time.sleep(PAUSE_S)  # the pace of the load, nothing is waited for
            except edgesplit.errors.EdgesplitError as error:
                self._fail(f"{type(error).__name__}: {error}")
                time.sleep(PAUSE_S)
            self.at[caller] = ""

    def _count(self, epoch: int, outputs: Arrays) -> None:
        for name, expected in self.expected.items():
            error = float(np.abs(outputs[name] - expected).max() / np.ptp(expected))
            if not error <= TOLERANCE:
                self._fail(f"{name} is off by {error:.2g} of its range on epoch {epoch}")
                return
        with self._lock:
            self.answered += 1
            self.epochs.add(epoch)

    def _fail(self, text: str) -> None:
        with self._lock:
            self.failures.append(f"{time.time():.3f} {text}")


def main(model: str, inputs: str, expected: str, address: str, patience: str = "") -> None:
    """Ask until standard input ends."""
    with np.load(inputs) as given, np.load(expected) as right:
        options = {"patience_s": float(patience)} if patience else {}
        asking = Asking(model, dict(given), dict(right), address, options)
    callers = [threading.Thread(target=asking.call, args=(number,)) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    _say_once_there(asking)
    for line in sys.stdin:
        asking.address = line.strip()
        _say_once_there(asking)
    asking.ended = True
    for caller in callers:
        caller.join()
    told = {
        "client": distribution("edgesplit").version,
        "answered": asking.answered,
        "failed": len(asking.failures),
        "failures": asking.failures[:20],
        "epochs": sorted(asking.epochs),
    }
    _say(json.dumps(told))


def _say_once_there(asking: Asking) -> None:
    while set(asking.at.values()) != {asking.address}:
        time.sleep(PAUSE_S)  # callers end what they asked at the agent before
    _say(f"asking {asking.address}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
