"""External data of a serialized ONNX model, read and changed without the onnx package.

Owns: walking the protobuf wire format down to `TensorProto.external_data`. Its rule: everything else of the model stays
byte for byte as it was. Not here: files (`packed_graphs.py`), what the weights are.

References:
    [1] Protocol Buffers, Encoding, https://protobuf.dev/programming-guides/encoding/. [2] onnx.proto, the field numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from edgesplit.errors import PreparationFailed

__all__ = ["Entries", "external_entries", "with_external_entries"]

Entries: TypeAlias = Mapping[str, str]
"""Keys and values of one tensor's external_data: location, offset, length, and what the runtime added."""

_EXTERNAL_DATA: Final = 13
_CHILDREN: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {6: "graph", 11: "graph"},  # bodies of If, Loop and Scan
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external_entries(model: bytes) -> list[Entries]:
    """The external_data of every initializer that has some, those of subgraphs too.

    Raises:
        PreparationFailed: The bytes are no serialized model.
    """
    found: list[Entries] = []

    def note(entries: Entries) -> Entries:
        found.append(entries)
        return entries

    with_external_entries(model, note)
    return found


def with_external_entries(model: bytes, change: Callable[[Entries], Entries]) -> bytes:
    """The model with every initializer's external_data replaced by what `change` makes of it.

    Raises:
        PreparationFailed: The bytes are no serialized model.
    """
    try:
        return _rewritten(memoryview(model), "model", change)
    except (IndexError, UnicodeDecodeError) as error:
        raise PreparationFailed("a graph that the runtime saved cannot be read: its bytes are cut off") from error


def _rewritten(message: memoryview, kind: str, change: Callable[[Entries], Entries]) -> bytes:
    if kind == "tensor":
        return _tensor(message, change)
    children = _CHILDREN[kind]
    parts: list[bytes | memoryview] = []
    for number, wire, whole, payload in _fields(message):
        child = children.get(number) if wire == _BYTES else None
        parts.append(whole if child is None else _delimited(number, _rewritten(payload, child, change)))
    return b"".join(parts)


def _tensor(message: memoryview, change: Callable[[Entries], Entries]) -> bytes:
    parts: list[bytes | memoryview] = []
    entries: dict[str, str] = {}
    for number, wire, whole, payload in _fields(message):
        if number == _EXTERNAL_DATA and wire == _BYTES:
            texts = {key: str(value, "utf-8") for key, _, _, value in _fields(payload)}
            entries[texts.get(1, "")] = texts.get(2, "")
        else:
            parts.append(whole)
    if entries:
        for key, value in change(entries).items():
            entry = _delimited(1, key.encode()) + _delimited(2, value.encode())
            parts.append(_delimited(_EXTERNAL_DATA, entry))
    return b"".join(parts)


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview, memoryview]]:
    """Number, wire type, the field as it stands, and its payload, of every field in order."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == _VARINT:
            begin = at
            _, at = _varint(message, at)
        elif wire == _BYTES:
            length, begin = _varint(message, at)
            at = begin + length
        elif wire in {_FIXED64, _FIXED32}:
            begin, at = at, at + (8 if wire == _FIXED64 else 4)
        else:
            raise PreparationFailed(f"a graph that the runtime saved cannot be read: it has wire type {wire}")
        if at > len(message):
            raise IndexError("the field ends after its message")
        yield tag >> 3, wire, message[start:at], message[begin:at]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _delimited(number: int, payload: bytes) -> bytes:
    return _encoded(number << 3 | _BYTES) + _encoded(len(payload)) + payload


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
