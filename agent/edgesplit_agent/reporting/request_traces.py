"""Traces of the last requests, in memory: what this node did for each of them, and when.

Owns: the steps and how many are remembered. Its rule: noting costs next to nothing, whether anybody ever asks or not; times are those of
the machine's monotonic clock. Not here: the file of all runs (`run_trace.py`), sums (`serving_counters.py`), how clocks of
nodes are brought together (the controller's).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgesplit.control.inquiry_messages import NodeTrace, PeerClock, StepKind, TracedStep
from edgesplit.wire.headers import ExecutionKey

__all__ = ["RequestTraces"]

MOST_REQUESTS, MOST_STEPS = 1024, 16384
"""That are remembered of all models together; a step takes some 200 B."""
MOST_OF_ONE = 4096
"""Steps of one request: a stranger may send it any number of tensors."""


class _RememberedStep(NamedTuple):
    """As `TracedStep`; a tuple takes less time to make."""

    kind: StepKind
    start_s: float
    end_s: float
    on_epoch: int
    component: int | None
    tensors: tuple[str, ...]
    peer: str
    nbytes: int
    waited_s: float


class _RememberedRequest:
    """Of one request; `ended_s` is None where it was not answered here."""

    __slots__ = ("began_s", "ended_s", "steps")

    def __init__(self) -> None:
        self.steps: list[_RememberedStep] = []
        self.began_s: float | None = None
        self.ended_s: float | None = None


class RequestTraces:
    """Of one node."""

    def __init__(self) -> None:
        self._requests: OrderedDict[tuple[str, str], _RememberedRequest] = OrderedDict()
        self._steps = 0

    def ran(self, key: ExecutionKey, component: int, start_s: float, seconds: float, waited_s: float) -> None:
        """A component ran; it had waited for other requests. [s]"""
        self._note(
            key, _RememberedStep("compute", start_s, start_s + seconds, key.epoch, component, (), "", 0, waited_s)
        )

    def coded(
        self,
        key: ExecutionKey,
        kind: StepKind,
        tensors: Sequence[str],
        *,
        start_s: float,
        seconds: float,
        waited_s: float,
    ) -> None:
        """Tensors were coded or restored, in one turn; it had waited for other requests. [s]"""
        self._note(
            key, _RememberedStep(kind, start_s, start_s + seconds, key.epoch, None, tuple(tensors), "", 0, waited_s)
        )

    def sent(self, key: ExecutionKey, peer: str, tensors: Sequence[str], nbytes: int, at_s: float) -> None:
        """Tensors were handed over for sending. [B, s]"""
        self._note(key, _RememberedStep("send", at_s, at_s, key.epoch, None, tuple(tensors), peer, nbytes, 0.0))

    def arrived(self, key: ExecutionKey, peer: str, tensors: Sequence[str], nbytes: int, at_s: float) -> None:
        """A frame was there whole; of coded tensors the peer is not known yet. [B, s]"""
        self._note(key, _RememberedStep("arrive", at_s, at_s, key.epoch, None, tuple(tensors), peer, nbytes, 0.0))

    def answered(self, model: str, request: str, latency_s: float, at_s: float) -> None:
        """A client has its answer; what was computed together with others, or forwarded, has no steps of its own. [s]"""
        traced = self._requests.get((model, request))
        if traced is not None:
            traced.began_s, traced.ended_s = at_s - latency_s, at_s

    def told(
        self, model: str, request: str, now_s: float, clocks: Callable[[], tuple[PeerClock, ...]] = tuple
    ) -> NodeTrace:
        """What is known of a request, or of the last that was answered here. [s]

        Args:
            model: Name of the deployment.
            request: Its identifier; empty: the last that was answered.
            now_s: The clock that steps are timed by. [s]
            clocks: How peers' clocks differ from it.
        """
        if not request:
            request = self._last_answered(model)
        traced = self._requests.get((model, request))
        if traced is None:
            return NodeTrace(request="", now_s=now_s)
        return NodeTrace(
            request=request,
            began_s=traced.began_s,
            ended_s=traced.ended_s,
            now_s=now_s,
            steps=tuple(TracedStep(**step._asdict()) for step in traced.steps),
            clocks=clocks(),
        )

    def _last_answered(self, model: str) -> str:
        answered = (
            (traced.ended_s, request)
            for (of_model, request), traced in self._requests.items()
            if of_model == model and traced.ended_s is not None
        )
        return max(answered, default=(0.0, ""))[1]

    def _note(self, key: ExecutionKey, step: _RememberedStep) -> None:
        name = key.model, key.request
        traced = self._requests.get(name)
        if traced is None:
            traced = self._requests[name] = _RememberedRequest()
        if len(traced.steps) >= MOST_OF_ONE:
            return
        traced.steps.append(step)
        self._steps += 1
        while len(self._requests) > MOST_REQUESTS or self._steps > MOST_STEPS:
            _, oldest = self._requests.popitem(last=False)
            self._steps -= len(oldest.steps)
