"""Tensors written as JSON numbers, flat or nested in row-major order.

Owns: the way between a `data` list and an array. Its rule: strict (every number fits the datatype, nesting is flat or
exactly the shape's), and in slices, so that neither memory nor the interpreter's lock is taken for a whole image at a
time. Not here: which tensors there are (`inference_request.py`, `openinference/inference_response.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from edgesplit.errors import InvalidTensor
from edgesplit.late_libraries import np
from edgesplit.wire.tensors import DTYPES, FLOAT_DTYPES, Array, as_bfloat16, widened

__all__ = ["array_from_json", "json_from_array"]

_SLICE_BYTES = 1 << 16
_SLICE_ELEMENTS = 1 << 14
_SPACE = b" \t\r\n"
_NOT_SKELETON = bytes(set(range(256)) - set(b"[],"))


def array_from_json(name: str, text: bytes | memoryview, dtype: str, shape: Sequence[int]) -> Array:
    """Read a `data` list.

    Args:
        name: The tensor's, for messages.
        text: Well-formed JSON, as msgspec hands out what it did not decode.
        dtype: Numpy name of the result.
        shape: Of the result; its size in bytes was checked before.

    Raises:
        InvalidTensor: Not a list of as many numbers as the shape has elements, or one does not fit the dtype.
    """
    if dtype == "bfloat16":
        return as_bfloat16(array_from_json(name, text, "float32", shape))
    raw = bytes(text).translate(None, _SPACE)
    if not raw.startswith(b"[") or b'"' in raw or b"{" in raw:
        raise InvalidTensor(f"data of tensor {name!r} must be a list of numbers")
    elements = math.prod(shape)
    skeleton = raw.translate(None, _NOT_SKELETON)
    if elements > len(raw) or not (_is_flat(skeleton, elements) or _is_nested(skeleton, shape)):
        raise InvalidTensor(
            f"data of tensor {name!r} must be {elements} numbers, flat or nested as its shape {list(shape)}"
        )
    array = np.empty(elements, DTYPES[dtype])
    if elements:
        _fill(name, array, raw.translate(None, b"[]"))
    return array.reshape(tuple(shape))


def json_from_array(name: str, array: Array) -> Iterator[bytes]:
    """Write a flat `data` list, in pieces.

    Raises:
        InvalidTensor: It holds NaN or infinity, for which JSON has no number.
    """
    flat = widened(array.reshape(-1))
    if flat.dtype.name in FLOAT_DTYPES and not np.isfinite(flat).all():
        raise InvalidTensor(f"output {name!r} holds NaN or infinity, which JSON cannot carry: ask for binary data")
    yield b"["
    for start in range(0, flat.size, _SLICE_ELEMENTS):
        part = msgspec.json.encode(flat[start : start + _SLICE_ELEMENTS].tolist())[1:-1]
        yield b"," + part if start else part
    yield b"]"


def _is_flat(skeleton: bytes, elements: int) -> bool:
    return skeleton == b"[" + b"," * (elements - 1) + b"]"


def _is_nested(skeleton: bytes, shape: Sequence[int]) -> bool:
    """Whether brackets and commas are those of a list nested as the shape."""
    # Lengths first: a shape of many ones would make a long text of few elements.
    length = 0
    for size in reversed(shape):
        length = length * size + max(size - 1, 0) + 2
    if length != len(skeleton):
        return False
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return skeleton == text


def _fill(name: str, array: Array, numbers: bytes) -> None:
    at, start = 0, 0
    while start < len(numbers):
        end = numbers.find(b",", start + _SLICE_BYTES)
        end = len(numbers) if end < 0 else end
        part = _numbers(name, b"[" + numbers[start:end] + b"]", array.dtype)
        array[at : at + part.size] = part
        at, start = at + part.size, end + 1


def _numbers(name: str, text: bytes, dtype: np.dtype[Any]) -> Array:
    floating = dtype.name in FLOAT_DTYPES
    kind: Any = float if floating else bool if dtype.kind == "b" else int
    try:
        values: list[Any] = msgspec.json.decode(text, type=list[kind])
    except msgspec.DecodeError as error:
        raise InvalidTensor(f"data of tensor {name!r} does not fit {dtype.name}: {error}") from None
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= min(values) <= max(values) <= np.iinfo(dtype).max:
        raise InvalidTensor(f"data of tensor {name!r} holds a number outside {dtype.name}")
    with np.errstate(over="ignore"):
        part = np.array(values, dtype)
    if floating and not np.isfinite(part).all():
        raise InvalidTensor(f"data of tensor {name!r} holds a number outside {dtype.name}")
    return part
