"""`lossless` and what is compressed after another codec: fewer bytes, the same bits.

Owns: Zstandard over the bytes of a payload. Its rule: the decompressed size is known before a byte is read, so that a
small payload that unfolds to something huge is refused. Not here: losing precision.

The bytes of longer elements are sorted by significance first: the sign and exponent bytes of neighbouring activations
resemble each other, their mantissas do not. Level 1 was measured against the other levels and against LZ4
(docs/codecs.md); Zstandard's entropy coding is what gains on integers and exponents, where LZ4 finds no repetition.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from edgesplit.errors import FrameMalformed
from edgesplit.late_libraries import np
from edgesplit.wire.codecs.codec import Codec, Encoded, PayloadLayout, Shape
from edgesplit.wire.tensors import Array, as_bytes

__all__ = ["Compressed"]

_LEVEL = 1


class _Contexts(threading.local):
    """Compression contexts; each belongs to one thread, since using one from two at a time is undefined."""

    def __init__(self) -> None:
        # An optional package: the client library alone comes without it, and never compresses.
        import zstandard  # noqa: PLC0415

        self.content_size = zstandard.frame_content_size
        self.error = zstandard.ZstdError
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


class Compressed:
    """Another codec's payload, compressed; where that does not shrink it, the other codec alone.

    Args:
        name: As plans and frames call it.
        inner: What is compressed.
    """

    def __init__(self, name: str, inner: Codec) -> None:
        self.name = name
        self.lossless = inner.lossless
        self.loses_as = inner.loses_as
        self.compresses = True
        self._inner = inner
        self._contexts: _Contexts | None = None

    def applies_to(self, dtype: str) -> bool:
        """What the other applies to."""
        return self._inner.applies_to(dtype)

    def encode(self, array: Array) -> Encoded | None:
        """See `Codec.encode`."""
        plain = self._inner.encode(array)
        if plain is None:
            return None
        compressed = self._own_contexts().compressor.compress(as_bytes(_sorted(plain.payload)))
        if len(compressed) >= plain.payload.nbytes:
            return plain
        return Encoded(self.name, np.frombuffer(compressed, np.uint8), plain.parameters)

    def layout(self, dtype: str, shape: Shape) -> PayloadLayout:
        """The other codec's."""
        return self._inner.layout(dtype, shape)

    def decode(self, payload: Array, dtype: str, shape: Shape, parameters: Mapping[str, float]) -> Array:
        """See `Codec.decode`."""
        plain = self._inner.layout(dtype, shape)
        content = self._decompress(payload, plain.nbytes)
        return self._inner.decode(_restored(content, plain), dtype, shape, parameters)

    def _decompress(self, payload: Array, expected_bytes: int) -> bytes:
        contexts, compressed = self._own_contexts(), as_bytes(payload)
        try:
            # The announced size is what the decompressor would allocate.
            if contexts.content_size(compressed) != expected_bytes:
                raise FrameMalformed(f"a tensor coded as {self.name} unfolds to another size than its dtype and shape")
            content = contexts.decompressor.decompress(compressed, allow_extra_data=False)
        except contexts.error as error:
            raise FrameMalformed(f"a tensor coded as {self.name} does not decompress: {error}") from error
        if len(content) != expected_bytes:
            raise FrameMalformed(f"a tensor coded as {self.name} unfolds to another size than it announced")
        return content

    def _own_contexts(self) -> _Contexts:
        if self._contexts is None:
            self._contexts = _Contexts()
        return self._contexts


def _sorted(payload: Array) -> Array:
    """Bytes by significance, shape (item size, elements); a payload of bytes as it is."""
    size = payload.dtype.itemsize
    if size == 1:
        return payload
    source = payload.reshape(-1).view(np.uint8).reshape(-1, size)
    planes = np.empty((size, payload.size), np.uint8)
    for place in range(size):
        planes[place] = source[:, place]
    return planes


def _restored(content: bytes, layout: PayloadLayout) -> Array:
    """The payload whose sorted bytes these are."""
    size = layout.dtype.itemsize
    received = np.frombuffer(content, np.uint8)
    if size == 1:
        return received.view(layout.dtype).reshape(layout.shape)
    planes = received.reshape(size, -1)
    payload = np.empty(layout.shape, layout.dtype)
    target = payload.reshape(-1).view(np.uint8).reshape(-1, size)
    for place in range(size):
        target[:, place] = planes[place]
    return payload
