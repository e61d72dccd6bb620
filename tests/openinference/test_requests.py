"""The head of an inference request: what it means and what is refused before memory is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgesplit.errors import InvalidInput, InvalidTensor
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.openinference.failures import BodyTooLarge
from edgesplit_agent.openinference.inference_request import parse_head, raw_request
from tests.openinference.fakes import spec

LIMIT = 10_000


def head(**changes: Any) -> bytes:
    """A request with one binary input, changed."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}}
    return json.dumps({"inputs": [tensor], **changes}).encode()


def with_input(**changes: Any) -> bytes:
    """The same with a changed input; None removes a key."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}, **changes}
    return head(inputs=[{key: value for key, value in tensor.items() if value is not None}])


def test_a_request_says_what_is_wanted_and_how() -> None:
    request = parse_head(
        head(
            id="r1",
            parameters={"timeout": 1_500_000, "binary_data_output": True, "priority": 3},
            outputs=[{"name": "b"}, {"name": "a", "parameters": {"binary_data": False}}],
        ),
        LIMIT,
        binary=True,
    )
    assert (request.identifier, request.deadline_s, request.binary_output) == ("r1", 1.5, True)
    assert [(output.name, output.binary) for output in request.outputs or ()] == [("b", True), ("a", False)]
    assert not request.all_binary
    (tensor,) = request.inputs
    assert (tensor.name, tensor.dtype, tensor.shape, tensor.nbytes, tensor.text) == ("x", "float32", (2, 3), 24, None)


def test_a_bare_request_wants_every_output_as_json_without_a_deadline() -> None:
    request = parse_head(with_input(parameters=None, data=[1, 2, 3, 4, 5, 6]), LIMIT, binary=False)
    assert (request.outputs, request.binary_output, request.deadline_s) == (None, False, None)
    assert bytes(request.inputs[0].text or b"") == b"[1, 2, 3, 4, 5, 6]"


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (b"", InvalidInput, "Open Inference Protocol"),
        (b"{}", InvalidInput, "`inputs`"),
        (b"[" * 100_000, InvalidInput, "Open Inference Protocol"),
        (head(inputs=3), InvalidInput, r"\$.inputs"),
        (head(id=3), InvalidInput, r"\$.id"),
        (head(parameters={"timeout": -1}), InvalidInput, "microseconds"),
        (head(parameters={"timeout": True}), InvalidInput, "microseconds"),
        (head(parameters={"timeout": "soon"}), InvalidInput, "microseconds"),
        (head(parameters={"binary_data_output": 1}), InvalidInput, "true or false"),
        (head(parameters={"sequence_id": 5}), InvalidInput, "sequences"),
        (head(outputs=[{"name": "y"}, {"name": "y"}]), InvalidTensor, "same output twice"),
        (head(outputs=[{"name": "y", "parameters": {"classification": 3}}]), InvalidInput, "classification"),
        (with_input(datatype="COMPLEX"), InvalidTensor, "'COMPLEX', which cannot be sent"),
        (with_input(datatype="BYTES", parameters={"binary_data_size": 23}), InvalidTensor, "takes at least 24 B"),
        (with_input(shape=[2, -3]), InvalidInput, r"\$.inputs"),
        (with_input(shape=[1] * 17), InvalidInput, r"\$.inputs"),
        (with_input(shape=[1 << 50]), BodyTooLarge, "accepts 10000 B"),
        (with_input(shape=[1 << 50, 0], parameters={"binary_data_size": 0}), BodyTooLarge, "accepts 10000 B"),
        (with_input(parameters={"binary_data_size": 25}), InvalidTensor, "takes 24 B"),
        (with_input(parameters={"binary_data_size": True}), InvalidTensor, "takes 24 B"),
        (with_input(parameters=None), InvalidTensor, "either data or"),
        (with_input(data=[1]), InvalidTensor, "either data or"),
        (with_input(parameters={"shared_memory_region": "r"}), InvalidInput, "shared_memory_region"),
    ],
)
def test_what_is_no_request_is_refused_with_the_key(data: bytes, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        parse_head(data, LIMIT, binary=True)


def test_inputs_that_are_too_large_only_together_are_refused() -> None:
    tensors = [
        {"name": name, "datatype": "UINT8", "shape": [6000], "parameters": {"binary_data_size": 6000}} for name in "ab"
    ]
    with pytest.raises(BodyTooLarge, match="12000 B"):
        parse_head(head(inputs=tensors), LIMIT, binary=True)
    with pytest.raises(InvalidTensor, match="same input twice"):
        parse_head(head(inputs=[tensors[0], tensors[0]]), 1 << 20, binary=True)


def test_binary_data_needs_the_header_that_says_where_it_begins() -> None:
    with pytest.raises(InvalidTensor, match="Inference-Header-Content-Length"):
        parse_head(head(), LIMIT, binary=False)


def test_a_body_without_head_is_the_only_input() -> None:
    request = raw_request([spec("x", "int16")], LIMIT)
    assert (request.inputs[0].nbytes, request.all_binary) == (12, True)
    with pytest.raises(InvalidInput, match="2 inputs"):
        raw_request([spec("x"), spec("y")], LIMIT)


def test_a_body_without_head_tells_the_one_size_that_is_open() -> None:
    voice = TensorSpec(name="x", dtype="int16", shape=(1, -1), typical=(1, 512))
    assert raw_request([voice], LIMIT, 40).inputs[0].shape == (1, 20)
    for body_bytes in (None, 41):
        with pytest.raises(InvalidInput, match=r"'x', \[1, any\]: name it in a head"):
            raw_request([voice], LIMIT, body_bytes)
    with pytest.raises(InvalidInput, match="does not tell the shape"):
        raw_request([TensorSpec(name="x", dtype="int16", shape=(-1, -1), typical=(1, 8))], LIMIT, 16)
