"""Scales, zero points and integer weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit_controller.quantization.parameters import activation_parameters, quantize_bias, quantize_weight

FLOATS = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=200, deadline=None)
@given(FLOATS, FLOATS)
def test_activation_range_and_zero_are_covered_within_a_step(one: float, other: float) -> None:
    low, high = min(one, other, 0.0), max(one, other, 0.0)
    parameters = activation_parameters(min(one, other), max(one, other))
    assert 0 <= parameters.zero_point <= 255
    step = parameters.scale
    least, greatest = -parameters.zero_point * step, (255 - parameters.zero_point) * step
    assert least <= low + step and greatest >= high - step


def test_range_without_width_gives_a_harmless_scale() -> None:
    parameters = activation_parameters(0.0, 0.0)
    assert (parameters.scale, parameters.zero_point) == (1.0, 0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2), st.floats(1e-5, 1e3))
def test_weights_come_back_within_half_a_step(seed: int, axis: int, size: float) -> None:
    weight = np.random.default_rng(seed).normal(0, size, (4, 3, 5)).astype(np.float32)
    integers = quantize_weight(weight, axis, input_scale=0.1)
    shape = [1, 1, 1]
    shape[axis] = -1
    scales = integers.scales.reshape(shape)
    assert integers.scales.shape == (weight.shape[axis],)
    assert (np.abs(integers.values * scales - weight) <= scales * 0.501).all()


@pytest.mark.parametrize(("reduce_range", "largest"), [(False, 127), (True, 63)])
def test_reduced_range_keeps_one_bit_free(reduce_range: bool, largest: int) -> None:
    weight = np.array([[-2.0, 1.0]], np.float32)
    integers = quantize_weight(weight, 0, input_scale=1.0, reduce_range=reduce_range)
    assert np.abs(integers.values).max() == largest


def test_dead_channel_has_zero_weights_and_a_usable_scale() -> None:
    integers = quantize_weight(np.zeros((2, 3), np.float32), 0, input_scale=0.1)
    assert not integers.values.any()
    assert (integers.scales > 0).all()


def test_bias_far_beyond_the_weights_still_fits_the_accumulator() -> None:
    weight, bias = np.full((1, 4), 1e-9, np.float32), np.array([1000.0], np.float32)
    integers = quantize_weight(weight, 0, input_scale=1e-3, bias=bias)
    steps, scales = quantize_bias(bias, integers.scales, 1e-3)
    assert abs(int(steps[0])) < 2**31 - 1
    assert float(steps[0]) * float(scales[0]) == pytest.approx(1000.0, rel=1e-6)
