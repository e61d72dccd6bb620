"""Samples and tensors that lie in a file are what they were."""

from __future__ import annotations

import numpy as np
import pytest

from edgesplit_controller.quantization import tensor_file
from edgesplit_controller.quantization.tensor_file import SampleFile, TensorFile, kept_samples


def test_arrays_come_back_bit_for_bit() -> None:
    arrays = {
        "scalar": np.array(np.nan),
        "empty": np.zeros((0, 3), np.float32),
        "strided": np.arange(24, dtype=np.int64).reshape(2, 3, 4).transpose(2, 0, 1),
        "half": np.array([1.5, -0.0], np.float16),
        "flags": np.array([[True, False]]),
    }
    kept = TensorFile()
    for name, array in arrays.items():
        kept.put(name, array)
    for name, array in arrays.items():
        got = kept.get(name)
        assert (got.dtype, got.shape, got.tobytes()) == (
            array.dtype,
            array.shape,
            np.ascontiguousarray(array).tobytes(),
        )
    assert "other" not in kept


def test_an_array_takes_the_place_of_one_as_large_under_its_name() -> None:
    kept = TensorFile()
    kept.put("x", np.zeros((2, 8), np.float32))
    kept.put("y", np.ones(4, np.float32))
    for value in range(100):
        kept.put("x", np.full((8, 2), value, np.float32))
    assert kept.nbytes == 80
    assert np.array_equal(kept.get("x"), np.full((8, 2), 99, np.float32))
    kept.put("x", np.full(32, 7, np.float32))
    assert np.array_equal(kept.get("x"), np.full(32, 7, np.float32))
    assert np.array_equal(kept.get("y"), np.ones(4, np.float32))


def test_large_samples_are_read_one_at_a_time_and_small_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_file, "IN_MEMORY_BYTES", 4096)
    samples = [{"x": np.full((64, 8), index, np.float32), "n": np.array(index)} for index in range(5)]
    large = kept_samples(iter(samples))
    assert isinstance(large, SampleFile)
    assert [int(sample["n"]) for sample in large] == [0, 1, 2, 3, 4]
    assert [float(sample["x"][0, 0]) for sample in large[1:4]] == [1.0, 2.0, 3.0]
    assert large[-1]["n"] == 4
    with pytest.raises(IndexError):
        large[5]
    assert kept_samples(samples[:1]) == tuple(samples[:1])
