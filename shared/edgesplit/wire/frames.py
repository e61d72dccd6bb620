"""Encoding of frames: prefix, MessagePack header, raw tensor bytes.

Owns: the prefix, the limits, and the coding of a header to bytes and back. Its rule: no I/O, and nothing is allocated
on the word of the other side before it was checked. Not here: what headers say (`wire/headers.py`), the reading of a byte
stream (`wire/parser.py`), sockets (`wire/connection.py`).

A frame is a prefix of 16 bytes, a MessagePack header, and a body: the tensors' raw little-endian bytes, one after the
other in the header's order.

    magic "ESP" | version u8 | header length u32 | body length u64 | header | body       (little-endian)

So that a long frame does not hold up short ones, its body may follow in parts, between which other frames may stand:

    magic "ESL" | version u8 | header length u32 | body length u64 | header
    magic "ESB" | version u8 | number u32        | part length u64 | part of the body

The number counts the "ESL" frames of one direction of a connection, from 0. A part of length 0 gives its frame up.

Both sides send Hello first. An agent opens one connection to each peer and sends its tensors on it; acknowledgements and
pongs come back on it. A frame of another version is answered with Failure and the connection is closed. docs/frames.md is
the whole specification, with examples.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from edgesplit.errors import FrameMalformed, FrameTooLarge, ProtocolMismatch
from edgesplit.release import PROTOCOL
from edgesplit.wire.codecs import check_codec, decode, encode, payload_layout
from edgesplit.wire.headers import Header, Hello, Infer, Probe, Result, TensorHead, Tensors
from edgesplit.wire.tensors import TEXT, TRAVELLING, Array, as_bytes, contiguous, dtype_name, item_bytes

__all__ = [
    "PREFIX",
    "Begun",
    "Frame",
    "FrameKind",
    "FrameLimits",
    "PackedTensor",
    "Prefix",
    "check_hello",
    "decode_header",
    "decode_prefix",
    "encode_frame",
    "long_head",
    "pack_tensor",
    "pack_tensors",
    "part_prefix",
    "unpack_tensors",
]

PREFIX = struct.Struct("<3sBIQ")
_PADDING = memoryview(bytes(1 << 16))


class FrameKind(enum.Enum):
    """What a prefix begins; the value is its magic."""

    WHOLE = b"ESP"
    LONG = b"ESL"
    PART = b"ESB"


@dataclass(frozen=True)
class FrameLimits:
    """What this side accepts.

    Attributes:
        header_bytes: Longest header. [B]
        body_bytes: Longest body, and most that its tensors may take together once decoded. [B]
    """

    header_bytes: int = 1 << 20
    body_bytes: int = 1 << 30


_TLS_RECORD = b"\x16\x03"
"""How a handshake of TLS begins."""
_DECODER = msgspec.msgpack.Decoder(Header)
_ENCODER = msgspec.msgpack.Encoder()
_KINDS = {kind.value: kind for kind in FrameKind}


class Prefix(msgspec.Struct, frozen=True):
    """What a frame or a part announces.

    Attributes:
        number: Of the frame that a part belongs to.
        header_bytes: 0 for a part. [B]
        body_bytes: Of the whole body, or of the part. [B]
    """

    kind: FrameKind
    number: int
    header_bytes: int
    body_bytes: int


class Begun(NamedTuple):
    """When the first part of a frame was here, and nothing behind it yet.

    Attributes:
        at_s: On the clock of who reads. [s]
        body_bytes: Of all bodies on the connection until then. [B]
    """

    at_s: float
    body_bytes: int


class Frame(msgspec.Struct, frozen=True):
    """A frame that arrived whole.

    Attributes:
        header: Describes it.
        payloads: Still coded, in the order of the header's tensors.
        begun: When it began to arrive; None where all of it came at once.
    """

    header: Header
    payloads: tuple[Array, ...] = ()
    begun: Begun | None = None


class PackedTensor(msgspec.Struct, frozen=True, eq=False):
    """A tensor as it travels: what the header says of it, and its coded bytes."""

    head: TensorHead
    payload: Array


def pack_tensor(name: str, array: Array, codec: str = "raw") -> PackedTensor:
    """Code one tensor.

    Args:
        name: The tensor's.
        array: Any array of a dtype that may travel.
        codec: HandshakeStep wire codec.

    Raises:
        InvalidTensor: Its dtype cannot travel.
        InvalidInput: A codec this process cannot run.
    """
    if codec != "raw":
        check_codec(codec, tensor=name)
    array = contiguous(name, array)
    encoded = encode(array, codec)
    head = TensorHead(
        name=name,
        dtype=dtype_name(array),
        shape=array.shape,
        nbytes=encoded.payload.nbytes,
        codec=encoded.codec,
        parameters=encoded.parameters,
    )
    return PackedTensor(head, encoded.payload)


def pack_tensors(arrays: Sequence[tuple[str, Array, str]]) -> tuple[tuple[TensorHead, ...], tuple[Array, ...]]:
    """Code tensors for a frame.

    Args:
        arrays: Name, array of an allowed dtype, wanted wire codec.

    Returns:
        Heads and payloads, in order.

    Raises:
        InvalidTensor: A dtype that cannot travel.
        InvalidInput: A codec this process cannot run.
    """
    packed = [pack_tensor(name, array, codec) for name, array, codec in arrays]
    return tuple(tensor.head for tensor in packed), tuple(tensor.payload for tensor in packed)


def unpack_tensors(heads: Sequence[TensorHead], payloads: Sequence[Array]) -> dict[str, Array]:
    """Decode the tensors of a frame, by name.

    Raises:
        FrameMalformed: A payload or a codec's parameters are senseless.
    """
    return {
        head.name: decode(payload, head.codec, head.dtype, head.shape, head.parameters)
        for head, payload in zip(heads, payloads, strict=True)
    }


def encode_frame(header: Header, payloads: Sequence[Array] = ()) -> list[memoryview]:
    """Lay a frame out as buffers to be sent in order; tensors' memory is referred to, not copied.

    Args:
        header: Its tensor heads, if any, describe `payloads`.
        payloads: C-contiguous arrays.
    """
    packed = _ENCODER.encode(header)
    body = [as_bytes(payload) for payload in payloads if payload.nbytes]
    if isinstance(header, Probe):
        whole, rest = divmod(header.padding, len(_PADDING))
        body = [_PADDING] * whole + ([_PADDING[:rest]] if rest else [])
    prefix = PREFIX.pack(FrameKind.WHOLE.value, PROTOCOL, len(packed), sum(part.nbytes for part in body))
    return [memoryview(prefix + packed), *body]


def long_head(head: memoryview) -> bytes:
    """Prefix and header of a frame of `encode_frame`, changed to announce that the body follows in parts."""
    return FrameKind.LONG.value + head[len(FrameKind.LONG.value) :]


def part_prefix(number: int, nbytes: int) -> bytes:
    """What precedes a part; with no bytes, the frame of that number is given up."""
    return PREFIX.pack(FrameKind.PART.value, PROTOCOL, number, nbytes)


def decode_prefix(data: bytes | bytearray | memoryview, limits: FrameLimits) -> Prefix:
    """Read the first 16 bytes.

    Raises:
        FrameMalformed: They are not edgesplit's.
        ProtocolMismatch: The sender speaks another version.
        FrameTooLarge: Header or body are longer than this side accepts.
    """
    magic, version, second, body_bytes = PREFIX.unpack(data)
    kind = _KINDS.get(magic)
    if kind is None and data[:2] == _TLS_RECORD:
        raise FrameMalformed("the other side speaks TLS and this one does not: this node is in no secured fleet")
    if kind is None:
        raise FrameMalformed(f"the connection does not speak edgesplit's protocol (it began with {bytes(data[:8])!r})")
    if version != PROTOCOL:
        raise ProtocolMismatch(_mismatch("the other side", version))
    number, header_bytes = (second, 0) if kind is FrameKind.PART else (0, second)
    if header_bytes > limits.header_bytes:
        raise FrameTooLarge(f"a frame's header of {header_bytes} B is longer than the {limits.header_bytes} B accepted")
    if body_bytes > limits.body_bytes:
        raise FrameTooLarge(f"a frame's body of {body_bytes} B is longer than the {limits.body_bytes} B accepted")
    return Prefix(kind, number, header_bytes, body_bytes)


def decode_header(data: bytes | bytearray | memoryview, body_bytes: int, limits: FrameLimits) -> Header:
    """Read a header and check that it explains the body to the byte.

    Args:
        data: The MessagePack header.
        body_bytes: Length of the body by the prefix. [B]
        limits: What this side accepts.

    Raises:
        FrameMalformed: It does not decode, or does not fit the body.
        FrameTooLarge: A tensor is larger than this side accepts once decoded.
    """
    try:
        # Announced lengths are checked against the types before memory is taken, and against what is there.
        header: Header = _DECODER.decode(data)
    except msgspec.ValidationError as error:
        raise FrameMalformed(f"a frame's header is wrong: {error}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise FrameMalformed(f"a frame's header is not valid MessagePack: {error}") from error
    announced = _announced_body(header, limits)
    if announced != body_bytes:
        raise FrameMalformed(f"a frame's tensors take {announced} B but its body has {body_bytes} B")
    return header


def check_hello(hello: Hello) -> None:
    """Check the other side's first frame.

    Raises:
        ProtocolMismatch: It speaks another version; the sentence names both.
    """
    if hello.protocol != PROTOCOL:
        side = f"{hello.role} {hello.node}".strip()
        raise ProtocolMismatch(_mismatch(f"{side} (edgesplit {hello.version})", hello.protocol))


def _mismatch(side: str, version: int) -> str:
    return f"{side} speaks protocol {version} and this side speaks {PROTOCOL}: install the same edgesplit on both"


def _announced_body(header: Header, limits: FrameLimits) -> int:
    if isinstance(header, Probe):
        return header.padding
    if not isinstance(header, Tensors | Infer | Result):
        return 0
    if len({head.name for head in header.tensors}) != len(header.tensors):
        raise FrameMalformed("a frame names the same tensor twice")
    return _checked_bytes(header.tensors, limits)


def _checked_bytes(heads: Sequence[TensorHead], limits: FrameLimits) -> int:
    """Length of all payloads; no tensor, and not all together, may be larger than accepted once decoded. [B]"""
    decoded_bytes = 0
    for head in heads:
        if head.dtype not in TRAVELLING:
            raise FrameMalformed(f"dtype {head.dtype[:40]!r} of tensor {head.name!r} is not one that may travel")
        each_bytes = item_bytes(head.dtype)
        is_plain = head.codec == "raw" and head.dtype != TEXT
        if is_plain and head.nbytes == math.prod(head.shape) * each_bytes and head.nbytes:
            decoded_bytes += head.nbytes  # each of them is checked with their sum
            continue
        # Also bounds what numpy is asked for where another dimension is 0.
        if math.prod(max(size, 1) for size in head.shape) * each_bytes > limits.body_bytes:
            raise FrameTooLarge(f"tensor {head.name!r} is larger than the {limits.body_bytes} B accepted")
        payload_layout(head.codec, head.dtype, head.shape, head.nbytes)
        decoded_bytes += head.decoded_bytes
    if decoded_bytes > limits.body_bytes:
        raise FrameTooLarge(
            f"a frame's tensors take {decoded_bytes} B once decoded, more than the {limits.body_bytes} B accepted"
        )
    return sum(head.nbytes for head in heads)
