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
from edgesplit.wire.tensors import DTYPES, Array
from edgesplit_agent.openinference.json_tensors import array_from_json, json_from_array

ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(
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
