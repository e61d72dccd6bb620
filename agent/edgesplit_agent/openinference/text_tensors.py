"""Tensors of texts: the protocol's BYTES, as bytes and as JSON.

Owns: both forms. Its rule: as many texts as the shape has elements, each of them UTF-8, as ONNX has it; bytes that are no
text are refused. Not here: tensors of numbers (`json_tensors.py`).

As bytes, each element is its length (little-endian, 4 bytes) and its UTF-8; in JSON, elements are texts, flat or nested as
the shape.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from edgesplit.errors import InvalidTensor
from edgesplit.late_libraries import np
from edgesplit.wire.tensors import Array

__all__ = ["LEAST_TEXT_BYTES", "bytes_of_texts", "json_of_texts", "texts_of_bytes", "texts_of_json"]

_LENGTH = struct.Struct("<I")
LEAST_TEXT_BYTES = _LENGTH.size
"""Of an element as bytes: an empty text. [B]"""


def texts_of_json(name: str, text: bytes | memoryview, shape: Sequence[int]) -> Array:
    """Read a `data` list of texts.

    Raises:
        InvalidTensor: It is no list of as many texts as the shape has elements.
    """
    try:
        found: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidTensor(f"data of tensor {name!r} is no list of texts: {error}") from None
    elements = math.prod(shape)
    flat: list[Any] = found if isinstance(found, list) else [found]
    if not (len(flat) == elements and all(isinstance(element, str) for element in flat)):
        flat = _flattened(name, flat, list(shape))
    return _array(flat, shape)


def _flattened(name: str, nested: list[Any], shape: Sequence[int]) -> list[Any]:
    """The elements of lists nested as the shape."""
    level: list[Any] = [nested]
    for size in shape:
        if not all(isinstance(part, list) and len(part) == size for part in level):
            break
        level = [element for part in level for element in part]
    else:
        if all(isinstance(element, str) for element in level):
            return level
    raise InvalidTensor(
        f"data of tensor {name!r} must be {math.prod(shape)} texts, flat or nested as its shape {list(shape)}"
    )


def texts_of_bytes(name: str, content: bytes | bytearray, shape: Sequence[int]) -> Array:
    """Read texts behind the head.

    Raises:
        InvalidTensor: They are not as many as the shape has elements, or no UTF-8.
    """
    found: list[Any] = []
    at = 0
    try:
        for _ in range(math.prod(shape)):
            (length,) = _LENGTH.unpack_from(content, at)
            at += LEAST_TEXT_BYTES + length
            found.append(bytes(content[at - length : at]).decode())
    except (struct.error, UnicodeDecodeError) as error:
        raise InvalidTensor(f"the bytes of tensor {name!r} are no texts of the protocol: {error}") from None
    if at != len(content):
        raise InvalidTensor(f"tensor {name!r} has {len(content)} B, and its {math.prod(shape)} texts take {at} B")
    return _array(found, shape)


def bytes_of_texts(array: Array) -> memoryview:
    """Texts as bytes."""
    pieces: list[bytes] = []
    for element in array.reshape(-1):
        text = str(element).encode()
        pieces += [_LENGTH.pack(len(text)), text]
    return memoryview(b"".join(pieces))


def json_of_texts(array: Array) -> bytes:
    """A flat `data` list of texts."""
    return msgspec.json.encode(array.reshape(-1).tolist())


def _array(elements: list[Any], shape: Sequence[int]) -> Array:
    texts = np.empty(len(elements), dtype=object)
    texts[:] = elements
    return texts.reshape(tuple(shape))
