"""Encoding and decoding of tensors for the wire, on the node's own compute thread.

Owns: where and when codecs run. Its rule: coding is computing: it takes its turn in the worker that runs components, as
the planner's timeline assumes (a node does one thing at a time), is as slow as emulation makes the node, and counts as
compute. A tensor is coded once, however many nodes get it. Not here: the codecs (`edgesplit.wire.codecs`), sending.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edgesplit.wire.frames import PackedTensor, pack_tensor, unpack_tensors
from edgesplit.wire.headers import TensorHead
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.session_pool import RuntimeOptions, slowed
from edgesplit_agent.compute.worker import Worker

__all__ = ["Coded", "Coder"]

T = TypeVar("T")
INLINE_BYTES = 1 << 14
"""Less than this takes less time to code than to hand to another thread. [B]"""


@dataclass(frozen=True)
class Coded:
    """What came of coding, and its seconds by the wall clock, emulated slowness included. [s]"""

    tensor: PackedTensor
    seconds: float


class Coder:
    """Runs codecs in turn with components.

    Args:
        worker: Of the node's computations.
        options: Of the runtime as they are now.
    """

    def __init__(self, worker: Worker, options: Callable[[], RuntimeOptions]) -> None:
        self._worker = worker
        self._options = options

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
        tensor, seconds = await self._in_turn(lambda: pack_tensor(name, array, codec), array.nbytes, priority, share)
        return Coded(tensor, seconds)

    async def decode(
        self, heads: Sequence[TensorHead], payloads: Sequence[Array], *, priority: int, share: str = ""
    ) -> tuple[dict[str, Array], float]:
        """Restore the tensors of a frame.

        Returns:
            The tensors, and the seconds it took. [s]

        Raises:
            FrameMalformed: A payload is senseless.
        """
        nbytes = sum(head.decoded_bytes for head in heads)
        return await self._in_turn(lambda: unpack_tensors(heads, payloads), nbytes, priority, share)

    async def _in_turn(self, work: Callable[[], T], nbytes: int, priority: int, share: str) -> tuple[T, float]:
        options = self._options()

        def run() -> tuple[T, float]:
            done, seconds, _ = slowed(work, options, single_threaded=True)
            return done, seconds

        if nbytes <= INLINE_BYTES and options.slow_down <= 1.0:
            return run()
        return await self._worker.run(run, priority=priority, share=share)
