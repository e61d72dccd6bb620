"""Every codec under arbitrary arrays: dtype, shape and bits come back, or what is lost is bounded and said."""

from __future__ import annotations

import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgesplit.errors import FrameMalformed, InvalidInput, InvalidTensor
from edgesplit.wire.codecs import CODECS, available_codecs, decode, encode, layout_bytes, payload_layout
from edgesplit.wire.tensors import (
    DTYPES,
    FLOAT_DTYPES,
    TEXT,
    Array,
    as_bfloat16,
    contiguous,
    dtype_name,
    given_out,
    widened,
)

LOSSY = sorted(name for name, codec in CODECS.items() if not codec.lossless)
ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: hnp.arrays(dtype=DTYPES[name], shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
)
"""Any bits of any dtype: NaN, infinities, denormals and the greatest values among them."""
TAME = st.sampled_from(sorted(FLOAT_DTYPES - {"bfloat16"})).flatmap(
    lambda name: hnp.arrays(
        dtype=np.dtype(name),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=40),
        elements=st.floats(-6e4, 6e4, width=16),
    )
)
ACTIVATIONS = np.random.default_rng(3).normal(size=(1, 16, 40, 40)).astype(np.float32)


def round_trip(array: Array, codec: str) -> Array:
    encoded = encode(array, codec)
    layout = payload_layout(encoded.codec, dtype_name(array), array.shape, encoded.payload.nbytes)
    assert (encoded.payload.dtype, encoded.payload.shape) == (layout.dtype, layout.shape)
    return decode(encoded.payload, encoded.codec, dtype_name(array), array.shape, encoded.parameters)


def bits(array: Array) -> bytes:
    return array.tobytes()


@settings(max_examples=300, deadline=None)
@given(array=ARRAYS, codec=st.sampled_from(sorted(CODECS)))
def test_any_array_comes_back_in_its_dtype_and_shape_and_never_as_nonsense(array: Array, codec: str) -> None:
    decoded = round_trip(array, codec)
    assert (decoded.dtype, decoded.shape) == (array.dtype, array.shape)
    if CODECS[codec].lossless or dtype_name(array) not in FLOAT_DTYPES:
        assert bits(decoded) == bits(array)
        return
    np.testing.assert_array_equal(np.isnan(widened(decoded)), np.isnan(widened(array)))
    np.testing.assert_array_equal(np.isinf(widened(decoded)), np.isinf(widened(array)))


@settings(max_examples=300, deadline=None)
@given(array=TAME, codec=st.sampled_from(["int8", "int8+lossless"]))
@example(array=np.array([0.1, 0.0], np.float32), codec="int8")
def test_int8_stays_within_its_step_and_keeps_zero(array: Array, codec: str) -> None:
    decoded = round_trip(array, codec).astype(np.float64)
    values = array.astype(np.float64)
    step = (max(values.max(), 0) - min(values.min(), 0)) / 255
    # Half a step of rounding, up to another half where the zero point was rounded, and the dtype's own precision.
    assert np.abs(decoded - values).max() <= step * 1.01 + np.abs(values).max() * 1e-3
    assert (decoded[values == 0] == 0).all()


@settings(max_examples=300, deadline=None)
@given(array=TAME, codec=st.sampled_from(["int8-channel", "int8-channel+lossless"]))
def test_int8_channel_stays_within_every_channels_own_step(array: Array, codec: str) -> None:
    decoded = round_trip(array, codec)
    flat = (array.shape[0] * array.shape[1], -1) if array.ndim > 2 else (array.shape[0] if array.ndim == 2 else 1, -1)
    rows, got = array.astype(np.float64).reshape(flat), decoded.astype(np.float64).reshape(flat)
    steps = (rows.max(axis=1) - rows.min(axis=1)) / 255
    assert (np.abs(got - rows).max(axis=1) <= steps * 0.6 + np.abs(rows).max(axis=1) * 1e-3).all()


@settings(max_examples=100, deadline=None)
@given(array=TAME, codec=st.sampled_from(["fp16", "fp16+lossless"]))
def test_fp16_rounds_to_half_precision(array: Array, codec: str) -> None:
    np.testing.assert_array_equal(round_trip(array, codec), array.astype(np.float16).astype(array.dtype))


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_large_tensors_and_chunk_borders_are_coded_like_small_ones(codec: str) -> None:
    for shape in ((1, 3, 1 << 15), (2, 70_000), (1, 5, 300, 333), (100_003,)):
        array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        decoded = round_trip(array, codec)
        error = np.abs(decoded - array)
        assert error.max() <= (0.0 if CODECS[codec].lossless else 0.04)
        assert error.reshape(-1)[-1] <= 0.04


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_views_are_coded_after_being_made_contiguous(codec: str) -> None:
    view = ACTIVATIONS[:, ::2, 3:30].transpose(0, 2, 3, 1)
    decoded = round_trip(contiguous("x", view), codec)
    np.testing.assert_allclose(decoded, view, atol=0.04)


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("name", sorted(set(DTYPES) - FLOAT_DTYPES))
def test_integers_travel_raw_where_a_codec_would_lose_some(codec: str, name: str) -> None:
    array = np.array([0, 1, 1], dtype=name)
    assert encode(array, codec).payload is array


def test_integers_of_a_quantized_operator_are_compressed_without_loss() -> None:
    integers = np.clip(ACTIVATIONS * 20 + 100, 0, 255).astype(np.uint8)
    encoded = encode(integers, "lossless")
    assert encoded.payload.nbytes < integers.nbytes
    assert bits(round_trip(integers, "lossless")) == bits(integers)


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("values", [[np.nan, 1.0], [np.inf, 1.0], [3e38, -3e38]])
def test_values_a_codec_cannot_hold_travel_raw(values: list[float], codec: str) -> None:
    array = np.array([values * 20], dtype=np.float32)
    encoded = encode(array, codec)
    assert encoded.codec == "raw"
    assert encoded.payload is array


def test_steps_too_fine_for_single_precision_travel_raw() -> None:
    assert encode(np.array([1e-45, 0], np.float32), "int8").codec == "raw"
    assert encode(np.array([[0, 1e-45] * 20], np.float32), "int8-channel").codec == "raw"


def test_a_loud_channel_costs_the_others_nothing() -> None:
    array = ACTIVATIONS.copy()
    array[0, 0] *= 1000
    quiet = np.abs(round_trip(array, "int8-channel") - array)[0, 1:].max()
    assert quiet < 0.02 < np.abs(round_trip(array, "int8") - array)[0, 1:].max()


def test_channels_that_are_too_short_to_gain_travel_raw() -> None:
    assert encode(np.ones((1, 50, 1, 1), np.float32), "int8-channel").codec == "raw"


def test_a_tensor_that_does_not_shrink_is_not_compressed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 4096).astype(np.uint8)
    assert encode(noise, "lossless").codec == "raw"


def test_the_source_array_is_not_changed() -> None:
    before = ACTIVATIONS.copy()
    for codec in CODECS:
        encode(ACTIVATIONS, codec)
    np.testing.assert_array_equal(ACTIVATIONS, before)


def test_sizes_are_known_before_coding() -> None:
    for codec in CODECS:
        encoded = encode(ACTIVATIONS, codec)
        assert encoded.codec == codec
        most = layout_bytes(codec, "float32", ACTIVATIONS.shape)
        assert encoded.payload.nbytes < most if CODECS[codec].compresses else encoded.payload.nbytes == most


def test_threads_code_side_by_side() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        mine = ACTIVATIONS * (number + 1)
        same = [bits(round_trip(mine, "lossless")) == bits(mine) for _ in range(20)]
        wrong.extend(number for equal in same if not equal)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_codecs_that_cannot_be_run_here_are_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="'zip' is unknown: use one of raw, fp16"):
        encode(np.zeros(1, np.float32), "zip")
    with pytest.raises(FrameMalformed, match=r"'zip' is unknown.*the sender's edgesplit is newer"):
        payload_layout("zip", "float32", (1,), 4)
    with pytest.raises(FrameMalformed, match="does not apply to int64"):
        payload_layout("int8", "int64", (1,), 1)
    monkeypatch.setattr("edgesplit.wire.codecs.available_codecs", lambda: ("raw", "fp16"))
    with pytest.raises(InvalidInput, match="needs the zstandard package"):
        encode(np.zeros(1, np.float32), "lossless")
    assert set(available_codecs()) == set(CODECS)


@pytest.mark.parametrize("parameters", [{}, {"scale": float("nan"), "zero_point": 0.0}, {"scale": 1.0}])
def test_senseless_parameters_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(FrameMalformed, match="scale and zero_point"):
        decode(np.zeros(1, np.uint8), "int8", "float32", (1,), parameters)


def test_senseless_channel_parameters_are_refused() -> None:
    payload = encode(ACTIVATIONS, "int8-channel").payload.copy()
    payload[:4] = np.array([np.inf], "<f4").view(np.uint8)
    with pytest.raises(FrameMalformed, match="finite steps"):
        decode(payload, "int8-channel", "float32", ACTIVATIONS.shape, {})


def bomb(size: int, *, announced: bool = True) -> Array:
    """Few bytes that unfold to `size` zeros."""
    compressor = zstandard.ZstdCompressor(write_content_size=announced)
    return np.frombuffer(compressor.compress(bytes(size)), np.uint8)


@pytest.mark.parametrize(
    "payload",
    [
        bomb(1 << 26),
        bomb(1 << 26, announced=False),
        bomb(64, announced=False),
        np.concatenate([bomb(64), bomb(1 << 26)]),
        np.concatenate([bomb(64), np.zeros(3, np.uint8)]),
        bomb(64)[:-1],
        np.frombuffer(b"no compressed data", np.uint8),
    ],
)
def test_a_payload_that_unfolds_to_another_size_is_refused(payload: Array) -> None:
    assert decode(bomb(64), "lossless", "float32", (16,), {}).tolist() == [0.0] * 16
    with pytest.raises(FrameMalformed, match="lossless"):
        decode(payload, "lossless", "float32", (16,), {})


@settings(max_examples=200, deadline=None)
@given(codec=st.sampled_from([*LOSSY, "lossless"]), at=st.integers(0, 400), value=st.integers(0, 255))
def test_damaged_payloads_raise_frame_malformed_and_nothing_else(codec: str, at: int, value: int) -> None:
    encoded = encode(ACTIVATIONS[:, :2, :8, :8].copy(), codec)
    damaged = encoded.payload.reshape(-1).view(np.uint8).copy()
    damaged[at % damaged.size] = value
    payload = damaged.view(encoded.payload.dtype).reshape(encoded.payload.shape)
    try:
        decoded = decode(payload, encoded.codec, "float32", (1, 2, 8, 8), encoded.parameters)
    except FrameMalformed:
        return
    assert decoded.shape == (1, 2, 8, 8)


@settings(max_examples=200, deadline=None)
@given(array=hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)))
def test_bfloat16_is_rounded_as_ml_dtypes_rounds(array: Array) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = array.astype(ml_dtypes.bfloat16)
    found = as_bfloat16(array)
    assert found.dtype == DTYPES["bfloat16"]
    assert found.shape == array.shape
    np.testing.assert_array_equal(widened(found), wanted.astype(np.float32))


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_activations_in_bfloat16_are_coded_like_those_in_float32(codec: str) -> None:
    array = as_bfloat16(ACTIVATIONS)
    encoded = encode(array, codec)
    assert encoded.payload.nbytes <= array.nbytes
    decoded = round_trip(array, codec)
    assert decoded.dtype == DTYPES["bfloat16"]
    assert np.abs(widened(decoded) - widened(array)).max() <= (0.0 if CODECS[codec].lossless else 0.05)


def test_bfloat16_is_taken_however_it_was_kept(tmp_path: Path) -> None:
    array = ACTIVATIONS.astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "kept.npz", x=array)
    with np.load(tmp_path / "kept.npz", allow_pickle=False) as kept:
        saved = kept["x"]
    for form in (array, array[:, ::2][:, ::1].copy(), saved, as_bfloat16(ACTIVATIONS)):
        assert dtype_name(contiguous("x", form)) == "bfloat16"
    np.testing.assert_array_equal(widened(contiguous("x", saved)), array.astype(np.float32))
    assert given_out(contiguous("x", array)).dtype == ml_dtypes.bfloat16
    assert given_out(ACTIVATIONS) is ACTIVATIONS


@settings(max_examples=200, deadline=None)
@given(
    array=hnp.arrays(
        object, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=st.text(max_size=9)
    ),
    codec=st.sampled_from(sorted(CODECS)),
)
def test_any_texts_come_back_whatever_codec_was_wanted(array: Array, codec: str) -> None:
    encoded = encode(contiguous("x", array), codec)
    layout = payload_layout(encoded.codec, TEXT, array.shape, encoded.payload.nbytes)
    assert (encoded.codec, encoded.payload.shape) == ("raw", layout.shape)
    decoded = decode(encoded.payload, encoded.codec, TEXT, array.shape, encoded.parameters)
    assert decoded.shape == array.shape
    assert decoded.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("payload", "shape"),
    [
        (b"\x91\xa1a", (2,)),
        (b"\x92\xa1a\x01", (2,)),
        (b"\xdd\xff\xff\xff\xff\xa0", (3,)),
        (b"\x91\xa2\xff\xfe", (1,)),
        (b"\x91", (1,)),
    ],
)
def test_bytes_that_are_not_so_many_texts_are_refused(payload: bytes, shape: tuple[int, ...]) -> None:
    with pytest.raises(FrameMalformed):
        decode(np.frombuffer(payload, np.uint8), "raw", TEXT, shape, {})


def test_more_texts_than_bytes_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(FrameMalformed):
        payload_layout("raw", TEXT, (1 << 40,), 100)
    with pytest.raises(FrameMalformed):
        payload_layout("lossless", TEXT, (1,), 100)


def test_objects_that_are_no_texts_and_texts_that_are_no_unicode_are_refused_by_name() -> None:
    with pytest.raises(InvalidTensor, match="'x' holds an object that is int"):
        contiguous("x", np.array(["a", 1], dtype=object))
    with pytest.raises(InvalidTensor, match="cannot be sent"):
        encode(contiguous("x", np.array(["\ud800"], dtype=object)), "raw")
