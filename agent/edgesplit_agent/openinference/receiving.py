"""Receiving a request: from the body's bytes to the inference request and its arrays.

Owns: the order of the steps (length, head, tensors, end) and where each runs. Its rule: a step starts only when the one
before found nothing wrong, so that no memory is taken for a request that cannot be right. Not here: HTTP (`openinference/routes.py`),
each step (`bodies.py`, `inference_request.py`, `json_tensors.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from edgesplit.errors import InvalidInput, Overloaded
from edgesplit.late_libraries import np
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import DTYPES, TEXT, Array, as_bytes
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.openinference.bodies import Body, ByteStream, decompressed
from edgesplit_agent.openinference.failures import BodyTooLarge
from edgesplit_agent.openinference.inference_request import InferenceRequest, InputTensor, parse_head, raw_request
from edgesplit_agent.openinference.json_tensors import array_from_json
from edgesplit_agent.openinference.memory import Account
from edgesplit_agent.openinference.text_tensors import texts_of_bytes, texts_of_json

__all__ = ["HEADER_LENGTH", "BodyEnvelope", "Receiver"]

HEADER_LENGTH = "Inference-Header-Content-Length"
_INLINE_BYTES = 1 << 14
"""Heads up to this length are read on the event loop: going to a thread would take longer."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class BodyEnvelope:
    """What the HTTP headers say about a body.

    Attributes:
        encoding: `Content-Encoding`, or empty.
        head_length: `Inference-Header-Content-Length`; None where the whole body is JSON.
        content_length: Compressed, where it is; None where the body comes in chunks. [B]
    """

    encoding: str = ""
    head_length: str | None = None
    content_length: int | None = None


class Receiver:
    """Reads bodies within limits.

    Args:
        limits: Of one body.
        executor: Where numbers are read from JSON.
    """

    def __init__(self, limits: HttpSection, executor: Executor) -> None:
        self._limits = limits
        self._executor = executor

    async def receive(
        self, envelope: BodyEnvelope, stream: ByteStream, expected: Sequence[TensorSpec], account: Account
    ) -> tuple[InferenceRequest, dict[str, Array]]:
        """Read one body.

        Args:
            envelope: Its headers.
            stream: The body as it is on the wire.
            expected: The model's inputs, for a body without a head.
            account: Told of the memory that fills.

        Raises:
            InvalidInput: The request is wrong.
            BodyTooLarge, BodyTooSlow, Overloaded: It is too much for this node, or comes too slowly.
        """
        limit, json_limit = self._limits.max_body_bytes, self._limits.max_json_bytes
        if (envelope.content_length or 0) > limit + json_limit:
            raise BodyTooLarge(f"the body has {envelope.content_length} B and this node accepts {limit} B")
        chunks = decompressed(stream, envelope.encoding.strip().lower(), envelope.content_length or limit)
        body = Body(chunks, account)
        head_bytes = _head_bytes(envelope.head_length)
        if head_bytes is None:
            request = await self._parsed(await body.rest(json_limit, "JSON"), binary=False)
        elif head_bytes == 0:
            known_bytes = None if envelope.encoding else envelope.content_length
            request = raw_request(expected, limit, known_bytes)
        elif head_bytes > json_limit:
            raise BodyTooLarge(f"the JSON head has {head_bytes} B and this node accepts {json_limit} B")
        else:
            head = bytearray(head_bytes)
            await body.fill(memoryview(head), "the JSON head")
            request = await self._parsed(head, binary=True)
        arrays = {tensor.name: await self._values(tensor, body, account) for tensor in request.inputs}
        await body.expect_end()
        return request, arrays

    async def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work that takes long, elsewhere than on the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: work(*args, **kwargs))

    async def _parsed(self, head: bytearray, *, binary: bool) -> InferenceRequest:
        limit = self._limits.max_body_bytes
        if len(head) < _INLINE_BYTES:
            return parse_head(head, limit, binary=binary)
        return await self.in_thread(parse_head, head, limit, binary=binary)

    async def _values(self, tensor: InputTensor, body: Body, account: Account) -> Array:
        if tensor.dtype == TEXT:
            return await self._texts(tensor, body, account)
        if tensor.text is not None:
            account.take(tensor.nbytes)
            return await self.in_thread(array_from_json, tensor.name, tensor.text, tensor.dtype, tensor.shape)
        try:
            # The system gives the memory page by page, as the bytes come.
            array = np.empty(tensor.shape, DTYPES[tensor.dtype])
        except MemoryError:
            raise Overloaded(f"input {tensor.name!r} of {tensor.nbytes} B finds no memory here now") from None
        await body.fill(as_bytes(array), f"input {tensor.name!r}")
        if tensor.dtype == "bool" and (array.view(np.uint8) > 1).any():
            raise InvalidInput(f"input {tensor.name!r} is BOOL and holds bytes other than 0 and 1")
        return array

    async def _texts(self, tensor: InputTensor, body: Body, account: Account) -> Array:
        account.take(tensor.nbytes)
        if tensor.text is not None:
            return await self.in_thread(texts_of_json, tensor.name, tensor.text, tensor.shape)
        content = bytearray(tensor.raw_bytes)
        await body.fill(memoryview(content), f"input {tensor.name!r}")
        return await self.in_thread(texts_of_bytes, tensor.name, content, tensor.shape)


def _head_bytes(text: str | None) -> int | None:
    """Length of the JSON head; None where the whole body is JSON. [B]"""
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise InvalidInput(f"the header {HEADER_LENGTH} must be a number of bytes, not {text[:40]!r}")
    return int(text)
