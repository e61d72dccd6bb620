"""Requests that keep flowing while the demo changes the world around them.

Owns: one background caller and its tally. Its rule: every request counts, none is retried here; whether one
failed decides the demo's exit status. Not here: what is changed meanwhile.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgesplit
from edgesplit.errors import EdgesplitError

__all__ = ["Tally", "Traffic"]

IDLE_LATENCIES = 4.0
"""Latencies of the last request that pass before the next one."""


@dataclass
class Tally:
    """What the background caller saw.

    Attributes:
        latencies_s: Of completed requests, in order. [s]
        epochs: Epoch of each completed request, in order.
        failures: One sentence per failed request.
    """

    latencies_s: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Traffic:
    """Calls the model again and again with a short pause; a context manager.

    Args:
        address: Data plane of the agent that is called.
        pause_s: Least time between an answer and the next request; it grows with the latency, so that the measured
            requests rarely queue behind these. [s]
    """

    def __init__(self, address: str, model: str, inputs: dict[str, NDArray[Any]], *, pause_s: float = 0.5) -> None:
        self.tally = Tally()
        self._address = address
        self._model = model
        self._inputs = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        self._pause_s = pause_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call, name="traffic", daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> Tally:
        """Stop after the request in flight and return the tally."""
        self._ended.set()
        self._thread.join()
        return self.tally

    def _call(self) -> None:
        with edgesplit.connect(self._address) as node:
            while not self._ended.is_set():
                begin = time.perf_counter()
                try:
                    result = node.infer_detailed(self._model, self._inputs, deadline_s=30.0)
                except EdgesplitError as error:
                    self.tally.failures.append(str(error))
                else:
                    self.tally.latencies_s.append(time.perf_counter() - begin)
                    self.tally.epochs.append(result.epoch)
                self._ended.wait(max(self._pause_s, IDLE_LATENCIES * (time.perf_counter() - begin)))
