"""Inference request: its JSON head, checked before any tensor's memory is taken.

Owns: the protocol's request objects and parameters, and where each input's values are. Its rule: no I/O; what passes
here is consistent (every input has its values exactly once, sizes add up, nothing exceeds the limits). Not here: the
bytes themselves (`bodies.py`), whether the model takes such inputs (the serving state machine).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from edgesplit.errors import InvalidInput, InvalidTensor
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import TEXT, item_bytes
from edgesplit_agent.openinference.datatypes import datatype_of, dtype_of
from edgesplit_agent.openinference.failures import BodyTooLarge
from edgesplit_agent.openinference.text_tensors import LEAST_TEXT_BYTES

__all__ = ["InferenceRequest", "InputTensor", "WantedOutput", "parse_head", "raw_request"]

_MAX_DIMENSIONS = 16
_MAX_TENSORS = 4096
_MICROSECOND_S = 1e-6
_UNSUPPORTED = ("shared_memory_region", "classification")

Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 62))]
Parameters = dict[str, bool | int | float | str | None]


class _Input(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    shape: Annotated[tuple[Size, ...], msgspec.Meta(max_length=_MAX_DIMENSIONS)]
    parameters: Parameters = {}
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _AskedOutput(msgspec.Struct, frozen=True):
    name: str
    parameters: Parameters = {}


class _Head(msgspec.Struct, frozen=True):
    inputs: Annotated[tuple[_Input, ...], msgspec.Meta(max_length=_MAX_TENSORS)]
    id: str = ""
    parameters: Parameters = {}
    outputs: Annotated[tuple[_AskedOutput, ...], msgspec.Meta(max_length=_MAX_TENSORS)] = ()


_DECODER = msgspec.json.Decoder(_Head)


@dataclass(frozen=True)
class InputTensor:
    """One input and where its values are.

    Attributes:
        dtype: Numpy name.
        text: Its values as JSON; None when they follow the head as raw little-endian bytes.
        raw_bytes: Of those that follow the head. [B]
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    text: memoryview | None
    raw_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Of its array; of texts, with what they are read from. [B]"""
        read_bytes = self.raw_bytes if self.text is None else self.text.nbytes
        return math.prod(self.shape) * item_bytes(self.dtype) + (read_bytes if self.dtype == TEXT else 0)


@dataclass(frozen=True)
class WantedOutput:
    """One output the client asks for, and whether as raw bytes."""

    name: str
    binary: bool


@dataclass(frozen=True)
class InferenceRequest:
    """A request, without the values of its binary inputs.

    Attributes:
        identifier: Of the client's, comes back in the answer; may be empty.
        inputs: Those with raw bytes in the order in which their bytes follow.
        outputs: In the order of the answer; None for all.
        binary_output: How outputs that say nothing of their own are answered.
        deadline_s: From its arrival; None for the node's default. [s]
    """

    identifier: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[WantedOutput, ...] | None
    binary_output: bool
    deadline_s: float | None

    @property
    def all_binary(self) -> bool:
        """Whether no output is wanted as JSON numbers."""
        return self.binary_output if self.outputs is None else all(output.binary for output in self.outputs)


def parse_head(data: bytes | bytearray, max_body_bytes: int, *, binary: bool) -> InferenceRequest:
    """Read the JSON head.

    Args:
        data: The head alone.
        max_body_bytes: All tensors together may take this much. [B]
        binary: Whether raw bytes may follow it.

    Raises:
        InvalidInput: It is no request of the protocol; the sentence names the key.
        InvalidTensor: A tensor cannot be what it says.
        BodyTooLarge: The tensors take more than `max_body_bytes`.
    """
    try:
        head = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the request is not one of the Open Inference Protocol v2: {error}") from None
    if head.parameters.get("sequence_id"):
        raise InvalidInput("sequences are not served: models keep nothing from one request to the next")
    binary_output = _flag(head.parameters, "binary_data_output", default=False)
    _check_unique("input", [entry.name for entry in head.inputs])
    _check_unique("output", [entry.name for entry in head.outputs])
    inputs = tuple(_input(entry, max_body_bytes, binary=binary) for entry in head.inputs)
    total = sum(tensor.nbytes for tensor in inputs)
    if total > max_body_bytes:
        raise BodyTooLarge(f"the inputs take {total} B and this node accepts {max_body_bytes} B")
    outputs = tuple(_output(entry, binary_output) for entry in head.outputs)
    return InferenceRequest(head.id, inputs, outputs or None, binary_output, _deadline_s(head.parameters))


def raw_request(inputs: Sequence[TensorSpec], max_body_bytes: int, body_bytes: int | None = None) -> InferenceRequest:
    """The request that a body without a head stands for: the bytes of the model's only input.

    Args:
        inputs: The model's.
        max_body_bytes: All tensors together may take this much. [B]
        body_bytes: Of the body; None where nothing says. [B]

    Raises:
        InvalidInput: The model has several inputs, one of texts, or the body's length does not tell the input's shape.
        BodyTooLarge: The input takes more than `max_body_bytes`.
    """
    if len(inputs) != 1:
        raise InvalidInput(f"the model has {len(inputs)} inputs: a body without a JSON head is for models with one")
    (spec,) = inputs
    if spec.dtype == TEXT:
        raise InvalidInput(f"input {spec.name!r} holds texts, whose lengths a body without a JSON head does not tell")
    entry = _Input(spec.name, datatype_of(spec.dtype), _raw_shape(spec, body_bytes))
    nbytes = math.prod(entry.shape) * item_bytes(spec.dtype)
    tensor = _input(
        msgspec.structs.replace(entry, parameters={"binary_data_size": nbytes}), max_body_bytes, binary=True
    )
    return InferenceRequest("", (tensor,), None, binary_output=True, deadline_s=None)


def _raw_shape(spec: TensorSpec, body_bytes: int | None) -> tuple[int, ...]:
    """The shape of an input that comes without one: a single open size follows from the body's length."""
    places = [place for place, size in enumerate(spec.shape) if size < 0]
    if not places:
        return spec.shape
    step_bytes = math.prod(size for size in spec.shape if size >= 0) * item_bytes(spec.dtype)
    if len(places) == 1 and body_bytes is not None and step_bytes and body_bytes % step_bytes == 0:
        return tuple(body_bytes // step_bytes if size < 0 else size for size in spec.shape)
    raise InvalidInput(
        f"a body without a JSON head does not tell the shape of input {spec.name!r}, {spec.text}: name it in a head, or "
        "send whole rows, uncompressed and with Content-Length, where one size is open"
    )


def _input(entry: _Input, max_body_bytes: int, *, binary: bool) -> InputTensor:
    name = entry.name
    _check_supported(name, entry.parameters)
    dtype = dtype_of(name, entry.datatype)
    # A dimension of 0 makes a tensor of no bytes of any extent, which numpy would still be asked for.
    extent = math.prod(max(size, 1) for size in entry.shape) * item_bytes(dtype)
    if extent > max_body_bytes:
        raise BodyTooLarge(f"input {name!r} takes {extent} B and this node accepts {max_body_bytes} B")
    text = None if isinstance(entry.data, msgspec.UnsetType) else memoryview(entry.data)
    size = entry.parameters.get("binary_data_size")
    if (size is None) == (text is None):
        raise InvalidTensor(f"input {name!r} must have either data or the parameter binary_data_size")
    if size is not None and not binary:
        raise InvalidTensor(
            f"input {name!r} has binary_data_size, but the header Inference-Header-Content-Length does not say where "
            "the binary data begins"
        )
    raw_bytes = _raw_bytes(entry, dtype, size) if size is not None else 0
    return InputTensor(name, dtype, entry.shape, text, raw_bytes)


def _raw_bytes(entry: _Input, dtype: str, size: bool | float | str) -> int:
    """Bytes of an input behind the head: what its shape takes, or at least that where texts have lengths of their own. [B]"""
    count = math.prod(entry.shape)
    takes = count * (LEAST_TEXT_BYTES if dtype == TEXT else item_bytes(dtype))
    fits = size == takes or (dtype == TEXT and isinstance(size, int) and size > takes)
    if isinstance(size, bool) or not isinstance(size, int) or not fits:
        least = "at least " if dtype == TEXT else ""
        raise InvalidTensor(
            f"input {entry.name!r} has binary_data_size {size}, and {entry.datatype} of shape {list(entry.shape)} takes "
            f"{least}{takes} B"
        )
    return size


def _output(entry: _AskedOutput, binary_output: bool) -> WantedOutput:
    _check_supported(entry.name, entry.parameters)
    return WantedOutput(entry.name, _flag(entry.parameters, "binary_data", default=binary_output))


def _check_supported(tensor: str, parameters: Parameters) -> None:
    for key in _UNSUPPORTED:
        if parameters.get(key):
            raise InvalidInput(f"tensor {tensor!r} asks for {key}, which is not served: send and receive its values")


def _check_unique(what: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise InvalidTensor(f"the request names the same {what} twice")


def _flag(parameters: Parameters, key: str, *, default: bool) -> bool:
    value: Any = parameters.get(key, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"parameter {key} must be true or false")
    return value


def _deadline_s(parameters: Parameters) -> float | None:
    timeout: Any = parameters.get("timeout")
    if timeout is None or timeout == 0:
        return None
    # bool is an int to Python; 2**63 microseconds are 292,000 years.
    if isinstance(timeout, bool) or not isinstance(timeout, int) or not 0 < timeout < 1 << 63:
        raise InvalidInput("parameter timeout must be a positive number of microseconds")
    return timeout * _MICROSECOND_S
