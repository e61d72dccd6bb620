"""Texts as bytes: what a tensor of strings is on the wire.

Owns: this one layout, a MessagePack array of the elements in row-major order. Its rule: as many texts as the shape has
elements, or nothing. Not here: codecs, which code numbers alone.
"""

from __future__ import annotations

import msgspec

from edgesplit.errors import FrameMalformed, InvalidTensor
from edgesplit.late_libraries import np
from edgesplit.wire.codecs.codec import Shape, elements
from edgesplit.wire.tensors import Array, as_bytes

__all__ = ["LEAST_BYTES", "packed_texts", "unpacked_texts"]

LEAST_BYTES = 1
"""Of an element: an empty text is its length alone. [B]"""

_DECODER = msgspec.msgpack.Decoder(list[str])


def packed_texts(array: Array) -> Array:
    """The payload of a tensor of texts.

    Raises:
        InvalidTensor: A text is none that UTF-8 can hold (half of a surrogate pair).
    """
    try:
        return np.frombuffer(msgspec.msgpack.encode(array.reshape(-1).tolist()), np.uint8)
    except UnicodeEncodeError as error:
        raise InvalidTensor(f"a text cannot be sent: {error}") from error


def unpacked_texts(payload: Array, shape: Shape) -> Array:
    """The tensor that a payload holds.

    Raises:
        FrameMalformed: It is no array of texts, or one of another length than the shape has elements.
    """
    try:
        found = _DECODER.decode(as_bytes(payload))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameMalformed(f"a tensor of texts is no MessagePack array of texts: {error}") from error
    if len(found) != elements(shape):
        raise FrameMalformed(f"a tensor of {elements(shape)} texts holds {len(found)}")
    texts = np.empty(len(found), dtype=object)
    texts[:] = found
    return texts.reshape(shape)
