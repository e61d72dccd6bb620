from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgesplit.codecs import decode, encode, wire_dtype
from edgesplit.errors import FrameMalformed, InvalidInput, InvalidTensor
from edgesplit.messages import TensorSpec
from edgesplit.tensors import DTYPES, Array, check_inputs, contiguous, spec_of

SPECS = (
    TensorSpec(name="images", dtype="float32", shape=(1, 3, 4, 4)),
    TensorSpec(name="scale", dtype="int64", shape=()),
)
GOOD = {"images": np.zeros((1, 3, 4, 4), np.float32), "scale": np.array(2)}
FLOATS = hnp.arrays(
    dtype=st.sampled_from(["float16", "float32", "float64"]).map(np.dtype),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    elements=st.floats(width=16),
)


def round_trip(array: Array, codec: str) -> Array:
    encoded = encode(array, codec)
    assert encoded.payload.dtype == wire_dtype(encoded.codec, array.dtype.name)
    return decode(encoded.payload, array.dtype.name, encoded.codec, encoded.parameters)


@settings(max_examples=200, deadline=None)
@given(array=FLOATS, codec=st.sampled_from(["raw", "fp16", "int8"]))
def test_a_codec_keeps_dtype_and_shape_and_stays_within_its_step(array: Array, codec: str) -> None:
    decoded = round_trip(array, codec)
    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    if codec != "int8" or not array.size or not np.isfinite(array).all():
        np.testing.assert_array_equal(decoded, array)  # values fit half precision, or travelled raw
        return
    values = array.astype(np.float64)
    step = (max(values.max(), 0) - min(values.min(), 0)) / 255
    # Half a step of rounding, up to another half where the zero point was rounded, and float16's own precision.
    assert np.abs(decoded.astype(np.float64) - values).max() <= step * 1.01 + np.abs(values).max() * 2e-3


@pytest.mark.parametrize("name", sorted(set(DTYPES) - {"float16", "float32", "float64"}))
def test_integers_travel_raw_whatever_the_codec(name: str) -> None:
    array = np.array([0, 1, 1], dtype=name)
    assert encode(array, "int8").payload is array
    assert encode(array, "fp16").codec == "raw"


def test_int8_keeps_zero_exact_so_that_relu_outputs_stay_sparse() -> None:
    array = np.array([0, 0, 0.3, 7.1], dtype=np.float32)
    assert round_trip(array, "int8")[:2].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("values", "codec"),
    [([1e6], "fp16"), ([np.nan, 1], "fp16"), ([np.inf, 1], "int8"), ([np.nan], "int8"), ([1e-45, 0], "int8")],
)
def test_values_a_codec_cannot_hold_travel_raw(values: list[float], codec: str) -> None:
    array = np.array(values, dtype=np.float32)
    assert encode(array, codec).codec == "raw"


def test_the_source_array_is_not_changed() -> None:
    array = np.linspace(-1, 1, 50, dtype=np.float32)
    before = array.copy()
    encode(array, "int8")
    encode(array, "fp16")
    np.testing.assert_array_equal(array, before)


def test_unknown_codecs_and_missing_parameters_are_refused() -> None:
    with pytest.raises(InvalidInput, match="zip"):
        encode(np.zeros(1, np.float32), "zip")
    with pytest.raises(FrameMalformed):
        wire_dtype("zip", "float32")
    with pytest.raises(FrameMalformed):
        wire_dtype("int8", "int64")
    with pytest.raises(FrameMalformed):
        decode(np.zeros(1, np.uint8), "float32", "int8", {"scale": float("nan"), "zero_point": 0})
    with pytest.raises(FrameMalformed):
        decode(np.zeros(1, np.uint8), "float32", "int8", {})


def test_good_inputs_come_back_in_the_models_order() -> None:
    assert list(check_inputs(SPECS, dict(reversed(GOOD.items())))) == ["images", "scale"]


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": GOOD["images"]}, r"'scale' \(int64\[\]\) is missing"),
        (GOOD | {"mask": GOOD["images"]}, "'mask' is not an input of the model: its inputs are 'images', 'scale'"),
        (GOOD | {"images": np.zeros((1, 3, 4, 4))}, "'images' has dtype float64, expected float32"),
        (GOOD | {"images": np.zeros((3, 4, 4), np.float32)}, r"has shape \[3, 4, 4\], expected \[1, 3, 4, 4\]"),
        (GOOD | {"images": np.array(["text"])}, "cannot be sent"),
    ],
)
def test_a_wrong_input_is_named_with_what_was_expected(arrays: dict[str, Array], sentence: str) -> None:
    with pytest.raises(InvalidTensor, match=sentence):
        check_inputs(SPECS, arrays)


def test_views_and_foreign_byte_orders_become_contiguous_and_native() -> None:
    turned = np.arange(6, dtype=">f4").reshape(2, 3).T
    straight = contiguous("x", turned)
    assert straight.flags.c_contiguous
    assert straight.dtype == np.dtype("float32")
    assert straight.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert spec_of("x", contiguous("x", np.array(1.0))).shape == ()
