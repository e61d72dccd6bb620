"""Load generator: many requests to one agent, and what came of them.

Owns: keeping a number of requests in flight, latency figures, the order of epochs. Its rule: a failed request is
counted and the rest goes on. Not here: the connection (`edgesplit.client.asynchronous`), where requests go (the controller).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgesplit.errors import EdgesplitError

__all__ = ["ErrorText", "LatencyFigures", "TimedAnswer", "TrafficDocument", "TrafficOutcome", "run_requests"]


class TimedAnswer(Protocol):
    """What a completed request yields."""

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """Arrays under their ONNX names."""
        ...

    @property
    def epoch(self) -> int:
        """Plan it ran on."""
        ...

    @property
    def latency_s(self) -> float:
        """From sending to the complete answer. [s]"""
        ...


class LatencyFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Latency of the completed requests; None without any.

    Attributes:
        p50: Half of them took at most this. [s]
        p95: 95 % of them. [s]
        p99: 99 % of them. [s]
        mean: Of all of them. [s]
    """

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    mean: float | None = None


class ErrorText(msgspec.Struct, frozen=True, kw_only=True):
    """An error as `--json` shows it.

    Attributes:
        code: Stable name of the condition.
        message: One sentence: the cause and what to do.
    """

    code: str
    message: str


class TrafficDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `splitctl infer`.

    Attributes:
        count: How many requests were sent.
        failed: How many of them brought no answer.
        latency_s: Of the completed requests.
        epochs: Plans the answers came from, each once, in the order in which they first answered.
        first_error: Why the first failed request failed.
    """

    count: int
    failed: int
    latency_s: LatencyFigures
    epochs: tuple[int, ...]
    first_error: ErrorText | None = None


class TrafficOutcome:
    """What came of the requests so far."""

    def __init__(self) -> None:
        self._latencies_s: list[float] = []
        self._epochs: dict[int, None] = {}
        self._failed = 0
        self._last = -1
        self.first_error: EdgesplitError | None = None
        self.last_outputs: Mapping[str, NDArray[Any]] | None = None

    @property
    def ended(self) -> int:
        """How many requests have ended."""
        return len(self._latencies_s) + self._failed

    def completed(self, number: int, answer: TimedAnswer) -> None:
        """Count an answer; outputs are kept of the request with the highest number."""
        self._latencies_s.append(answer.latency_s)
        self._epochs[answer.epoch] = None
        if number > self._last:
            self._last, self.last_outputs = number, answer.outputs

    def failed(self, error: EdgesplitError) -> None:
        """Count a failure."""
        self._failed += 1
        self.first_error = self.first_error or error

    def document(self) -> TrafficDocument:
        """Sum up."""
        error = self.first_error
        return TrafficDocument(
            count=self.ended,
            failed=self._failed,
            latency_s=_figures(self._latencies_s),
            epochs=tuple(self._epochs),
            first_error=None if error is None else ErrorText(code=error.code, message=str(error)),
        )


async def run_requests(
    send: Callable[[], Awaitable[TimedAnswer]],
    *,
    count: int,
    concurrency: int,
    on_done: Callable[[int], None] | None = None,
) -> TrafficOutcome:
    """Send `count` requests, `concurrency` of them in flight as long as there are so many left.

    Args:
        send: Runs one request to its end.
        count: How many in all.
        concurrency: How many at a time.
        on_done: Told how many have ended.
    """
    outcome = TrafficOutcome()
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            try:
                outcome.completed(number, await send())
            except EdgesplitError as error:
                outcome.failed(error)
            if on_done is not None:
                on_done(outcome.ended)

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(concurrency, count)):
            workers.create_task(work())
    return outcome


def _figures(latencies_s: Sequence[float]) -> LatencyFigures:
    if not latencies_s:
        return LatencyFigures()
    p50, p95, p99 = (float(value) for value in np.percentile(latencies_s, (50, 95, 99)))
    return LatencyFigures(p50=p50, p95=p95, p99=p99, mean=float(np.mean(latencies_s)))
