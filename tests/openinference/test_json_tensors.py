"""Tensors as JSON numbers: what goes out comes back, and nothing else comes in."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from edgesplit.errors import InvalidTensor
from edgesplit.wire.tensors import DTYPES, Array, as_bfloat16, widened
from edgesplit_agent.openinference.json_tensors import array_from_json, json_from_array
from edgesplit_agent.openinference.text_tensors import bytes_of_texts, json_of_texts, texts_of_bytes, texts_of_json

ARRAYS = st.sampled_from(sorted(set(DTYPES) - {"bfloat16"})).flatmap(
    lambda dtype: st_numpy.arrays(
        DTYPES[dtype],
        st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        elements=st_numpy.from_dtype(DTYPES[dtype], allow_nan=False, allow_infinity=False),
    )
)


@settings(max_examples=200, deadline=None)
@given(ARRAYS, st.booleans())
def test_an_array_survives_the_way_through_json_flat_or_nested(array: Array, nested: bool) -> None:
    text = json.dumps(array.tolist()).encode() if nested and array.ndim else b"".join(json_from_array("x", array))
    back = array_from_json("x", text, array.dtype.name, array.shape)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


def test_long_lists_are_read_and_written_in_slices() -> None:
    array = np.random.default_rng(0).standard_normal((7, 100, 150), dtype=np.float32)
    text = b"".join(json_from_array("x", array))
    np.testing.assert_array_equal(array_from_json("x", text, "float32", array.shape), array)


@pytest.mark.parametrize(
    ("text", "dtype", "shape", "said"),
    [
        (b"[[1],[2,3]]", "int8", (2, 2), "nested as its shape"),
        (b"[1,2,3]", "int8", (2, 2), "4 numbers"),
        (b"[1,2,300]", "int8", (3,), "outside int8"),
        (b"[-1]", "uint64", (1,), "outside uint64"),
        (b"[18446744073709551616]", "uint64", (1,), "outside uint64"),
        (b"[1e39]", "float32", (1,), "outside float32"),
        (b"[1.5]", "int32", (1,), "does not fit int32"),
        (b"[1]", "bool", (1,), "does not fit bool"),
        (b"[true]", "int8", (1,), "does not fit int8"),
        (b"[null]", "float64", (1,), "does not fit float64"),
        (b'["1"]', "int8", (1,), "list of numbers"),
        (b'"[1]"', "int8", (1,), "list of numbers"),
        (b'[{"a":1}]', "int8", (1,), "list of numbers"),
        (b"5", "int8", (), "list of numbers"),
        (b"[[[[1]]]]", "int8", (1,), "1 numbers"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_tensors_name(
    text: bytes, dtype: str, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(InvalidTensor, match=said) as caught:
        array_from_json("images", text, dtype, shape)
    assert "'images'" in str(caught.value)


REFUSING = """
import sys, tracemalloc
from edgesplit.errors import InvalidTensor
from edgesplit_agent.openinference.json_tensors import array_from_json
tracemalloc.start()
try:
    array_from_json("x", b"[1,2]", "int8", tuple(map(int, sys.argv[1:])))
except InvalidTensor:
    print(tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, *([1] * 15)), (1 << 40, 0), (0, 1 << 40)])
def test_a_large_shape_of_a_short_list_takes_no_memory(shape: tuple[int, ...]) -> None:
    # A process of its own: what other threads of this one allocate meanwhile would count.
    command = [sys.executable, "-c", REFUSING, *map(str, shape)]
    peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(peak) < 1 << 20


def test_numbers_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(InvalidTensor, match="ask for binary data"):
        list(json_from_array("y", np.array([1.0, np.nan])))


def test_bfloat16_is_written_as_the_numbers_it_holds_and_read_rounded() -> None:
    array = as_bfloat16(np.array([[0.1, -2.5], [1e30, 0.0]], np.float32))
    text = b"".join(json_from_array("x", array))
    assert json.loads(text) == widened(array).reshape(-1).tolist()
    back = array_from_json("x", text, "bfloat16", (2, 2))
    np.testing.assert_array_equal(widened(back), widened(array))
    with pytest.raises(InvalidTensor, match="NaN or infinity"):
        list(json_from_array("x", as_bfloat16(np.array([np.inf], np.float32))))


TEXTS = st_numpy.arrays(
    object, st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=st.text(max_size=8)
)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.booleans())
def test_texts_survive_the_way_through_json_and_bytes(array: Array, nested: bool) -> None:
    text = json.dumps(array.tolist()).encode() if nested and array.ndim else json_of_texts(array)
    assert texts_of_json("x", text, array.shape).tolist() == array.tolist()
    assert texts_of_bytes("x", bytes(bytes_of_texts(array)), array.shape).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (b'["a"]', (2,)),
        (b'[["a"],["b"]]', (1, 2)),
        (b"[1]", (1,)),
        (b'["a",1]', (2,)),
        (b'{"a":1}', (1,)),
        (b"[", (1,)),
    ],
)
def test_a_list_of_something_else_is_no_list_of_texts(text: bytes, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidTensor, match="'x'"):
        texts_of_json("x", text, shape)


@pytest.mark.parametrize(
    "content", [b"", b"\x01\0\0\0", b"\xff\xff\xff\xffa", b"\x01\0\0\0\xff", b"\x01\0\0\0ab", b"\0\0\0\0\0\0\0"]
)
def test_bytes_that_are_no_texts_of_the_protocol_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidTensor, match="'x'"):
        texts_of_bytes("x", content, (1,))
