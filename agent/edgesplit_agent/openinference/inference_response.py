"""Inference response: its JSON head, and the outputs' memory behind it.

Owns: the protocol's response object. Its rule: numbers that travel as raw bytes are referred to, never copied. Not
here: sending (`openinference/routes.py`), compressing (`bodies.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from edgesplit.errors import InvalidInput
from edgesplit.wire.tensors import TEXT, Array, as_bytes, contiguous, dtype_name
from edgesplit_agent.openinference.datatypes import datatype_of
from edgesplit_agent.openinference.inference_request import InferenceRequest, WantedOutput
from edgesplit_agent.openinference.json_tensors import json_from_array
from edgesplit_agent.openinference.metadata import VERSION
from edgesplit_agent.openinference.text_tensors import bytes_of_texts, json_of_texts

__all__ = ["InferenceResponse", "check_wanted", "render"]

MAX_JSON_ELEMENTS = 1 << 22
"""More numbers than these are not written as JSON: they would take some 80 MB."""


class _AnsweredOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, int] = {}
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Response(msgspec.Struct, frozen=True, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: tuple[_AnsweredOutput, ...]
    parameters: dict[str, int]
    id: str = ""


@dataclass(frozen=True)
class InferenceResponse:
    """A response, ready to be sent.

    Attributes:
        head: JSON.
        payloads: Raw outputs, in the head's order.
        binary: Whether raw outputs are announced (they may be empty).
    """

    head: bytes
    payloads: tuple[memoryview, ...]
    binary: bool

    @property
    def nbytes(self) -> int:
        """Of the whole body. [B]"""
        return len(self.head) + sum(payload.nbytes for payload in self.payloads)


def check_wanted(request: InferenceRequest, outputs: Sequence[str]) -> None:
    """Refuse a request for an output that the model does not have.

    Raises:
        InvalidInput: The sentence names what it has.
    """
    for wanted in request.outputs or ():
        if wanted.name not in outputs:
            raise InvalidInput(f"the model has no output {wanted.name!r}: its outputs are {', '.join(outputs)}")


def render(request: InferenceRequest, model: str, epoch: int, outputs: Mapping[str, Array]) -> InferenceResponse:
    """Lay a response out; slow where outputs are written as JSON.

    Args:
        request: Says which outputs are wanted and how.
        model: Its name.
        epoch: The plan's that computed them.
        outputs: By name.

    Raises:
        InvalidInput: An output is wanted as JSON and cannot be: it holds NaN or infinity, or is too large.
    """
    wanted = request.outputs or tuple(WantedOutput(name, request.binary_output) for name in outputs)
    entries: list[_AnsweredOutput] = []
    payloads: list[memoryview] = []
    for output in wanted:
        array = contiguous(output.name, outputs[output.name])
        datatype, shape = datatype_of(dtype_name(array)), tuple(int(size) for size in array.shape)
        if output.binary:
            payloads.append(bytes_of_texts(array) if dtype_name(array) == TEXT else as_bytes(array))
            size = {"binary_data_size": payloads[-1].nbytes}
            entries.append(_AnsweredOutput(output.name, datatype, shape, size))
        else:
            entries.append(_AnsweredOutput(output.name, datatype, shape, data=_data(output.name, array)))
    head = _Response(model, VERSION, tuple(entries), {"epoch": epoch}, request.identifier)
    return InferenceResponse(msgspec.json.encode(head), tuple(payloads), binary=any(entry.binary for entry in wanted))


def _data(name: str, array: Array) -> msgspec.Raw:
    if array.size > MAX_JSON_ELEMENTS:
        raise InvalidInput(f"output {name!r} has {array.size} elements, too many for JSON: ask for binary data")
    if dtype_name(array) == TEXT:
        return msgspec.Raw(json_of_texts(array))
    return msgspec.Raw(b"".join(json_from_array(name, array)))
