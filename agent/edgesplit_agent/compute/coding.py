"""Encoding and decoding of tensors for the wire, on the node's own compute thread.

Owns: where and when codecs run. Its rule: coding is computing: it takes its turn in the worker that runs components, as
the planner's timeline assumes (a node does one thing at a time), is as slow as emulation makes the node, and counts as
compute. A tensor is coded once, however many nodes get it. Not here: the codecs (`edgesplit.wire.codecs`), sending.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple, TypeVar

from edgesplit.wire.frames import PackedTensor, pack_tensor, unpack_tensors
from edgesplit.wire.headers import TensorHead
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.emulated_slowness import slowed
from edgesplit_agent.compute.recent_runs import RecentRuns
from edgesplit_agent.compute.session_pool import RuntimeOptions
from edgesplit_agent.compute.worker import Ahead, Worker

__all__ = ["Coded", "Coder", "CodingKind", "CodingTurn"]

T = TypeVar("T")
INLINE_BYTES = 1 << 14
"""Less than this takes less time to code than to hand to another thread. [B]"""
REMEMBERED = 256
"""Kinds of coding whose recent runs are known; an emulated node's models have some dozens."""


class CodingKind(NamedTuple):
    """Codings that cost the same.

    Attributes:
        tensor: Name of the tensor.
        codec: Of the wire, as the plan names it.
        direction: What is done.
        nbytes: Of the tensor before coding. [B]
    """

    tensor: str
    codec: str
    direction: Literal["encode", "decode"]
    nbytes: int


@dataclass(frozen=True)
class CodingTurn:
    """What one turn of coding cost.

    Attributes:
        seconds: By the wall clock, emulated slowness included. [s]
        waited_s: Before that, for work of other requests; 0 where there was none. [s]
        planned_s: Before that, for work of the same request alone, as plans have it. [s]
        began_s: When the turn began, on the coder's clock. [s]
        runs: Each tensor that was coded or restored, with its seconds on the clock that profiles are taken with; without
            those that travel as they are. [s]
    """

    seconds: float
    waited_s: float
    planned_s: float
    began_s: float
    runs: tuple[tuple[CodingKind, float], ...]


@dataclass(frozen=True)
class Coded:
    """What came of coding, and what it cost."""

    tensor: PackedTensor
    turn: CodingTurn


class Coder:
    """Runs codecs in turn with components.

    Args:
        worker: Of the node's computations.
        options: Of the runtime as they are now.
        clock: Monotonic. [s]
    """

    def __init__(
        self, worker: Worker, options: Callable[[], RuntimeOptions], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._worker = worker
        self._options = options
        self._clock = clock
        self._recent: OrderedDict[tuple[str, CodingKind], RecentRuns] = OrderedDict()
        self._unasked = RecentRuns()

    async def encode(self, name: str, array: Array, codec: str, *, priority: int, share: str = "") -> Coded:
        """Code one tensor.

        Args:
            name: The tensor's.
            array: The tensor.
            codec: Wanted; what it cannot hold travels raw.
            priority: As the worker's.
            share: The model it is for, as the worker's.

        Raises:
            InvalidInput: The codec cannot be run here.
        """
        kind = CodingKind(name, codec, "encode", array.nbytes)
        (packed,), turn = await self._in_turn([(kind, lambda: pack_tensor(name, array, codec))], priority, share)
        return Coded(packed, turn if packed.head.codec == codec else replace(turn, runs=()))

    async def decode(
        self, heads: Sequence[TensorHead], payloads: Sequence[Array], *, priority: int, share: str = ""
    ) -> tuple[dict[str, Array], CodingTurn]:
        """Restore the tensors of a frame.

        Returns:
            The tensors, and what it cost.

        Raises:
            FrameMalformed: A payload is senseless.
        """
        turns = [
            (
                CodingKind(head.name, head.codec, "decode", head.decoded_bytes),
                partial(unpack_tensors, [head], [payload]),
            )
            for head, payload in zip(heads, payloads, strict=True)
        ]
        restored, turn = await self._in_turn(turns, priority, share)
        return {name: array for tensors in restored for name, array in tensors.items()}, turn

    async def _in_turn(
        self, works: Sequence[tuple[CodingKind, Callable[[], T]]], priority: int, share: str
    ) -> tuple[list[T], CodingTurn]:
        options, asked_s, ahead = self._options(), self._clock(), self._worker.ahead_of(priority)

        def run() -> tuple[list[T], CodingTurn]:
            began_s = self._clock()
            done: list[T] = []
            runs: list[tuple[CodingKind, float]] = []
            together_s = 0.0
            for kind, work in works:
                recent = self._recent_of(kind, share, options)
                repeated = bool(share) and kind.codec != "raw"
                result, seconds, as_profiled_s = slowed(
                    work, options, single_threaded=True, recent=recent, repeated=repeated, displaced=True
                )
                done.append(result)
                together_s += seconds
                if kind.codec != "raw":
                    runs.append((kind, as_profiled_s))
            delay_s = began_s - asked_s
            waited_s, planned_s = (delay_s if ahead is what else 0.0 for what in (Ahead.OTHERS, Ahead.OWN))
            return done, CodingTurn(together_s, waited_s, planned_s, began_s, tuple(runs))

        if sum(kind.nbytes for kind, _ in works) <= INLINE_BYTES and options.slow_down <= 1.0:
            return run()
        return await self._worker.run(run, priority=priority, share=share)

    def _recent_of(self, kind: CodingKind, share: str, options: RuntimeOptions) -> RecentRuns:
        """Recent runs of a kind of coding; only an emulated node asks them, and a stranger's are not remembered."""
        if options.slow_down <= 1.0:
            return self._unasked
        if not share:
            return RecentRuns()
        recent = self._recent.setdefault((share, kind), RecentRuns())
        self._recent.move_to_end((share, kind))
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        return recent
