"""Quantization arithmetic: scales, zero points and integer values from ranges and weights.

Owns: the formulas. Its rule: numpy in, numpy out, and zero is always represented exactly. Not here: ONNX, sessions,
which operator gets quantized.

Activations are unsigned 8 bit with a zero point, weights signed 8 bit and symmetric per output channel: the pair
for which x86 (VNNI) and Arm have dot products. On x86 without VNNI the product of two neighbouring 16 bit sums may
saturate; `reduce_range` halves the weights' range to rule that out, at the price of one bit of precision.

References:
    [1] B. Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
        Inference, CVPR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ActivationParameters", "QuantizedWeight", "activation_parameters", "quantize_bias", "quantize_weight"]

_ACTIVATION_LEVELS = 255
_INT32_LIMIT = float(2**31 - 1)


@dataclass(frozen=True)
class ActivationParameters:
    """How float activations become unsigned 8 bit integers.

    Attributes:
        scale: Float step of one integer level.
        zero_point: The integer that stands for 0.0, 0 to 255.
    """

    scale: float
    zero_point: int


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight in signed 8 bit integers.

    Attributes:
        values: Shape as the float weight. [int8]
        scales: One step per channel, shape (channels,). [float32]
        axis: The channel axis.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    axis: int


def activation_parameters(low: float, high: float) -> ActivationParameters:
    """Affine parameters that cover a range, widened to hold zero.

    Args:
        low: Least float value seen.
        high: Greatest float value seen.

    Returns:
        Scale and zero point; formula (1) of [1].
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / _ACTIVATION_LEVELS))
    if scale < float(np.finfo(np.float32).tiny):
        return ActivationParameters(1.0, 0)
    return ActivationParameters(scale, int(np.clip(np.rint(-low / scale), 0, _ACTIVATION_LEVELS)))


def quantize_weight(
    weight: NDArray[np.float32],
    axis: int,
    *,
    input_scale: float,
    bias: NDArray[np.float32] | None = None,
    reduce_range: bool = False,
) -> QuantizedWeight:
    """Symmetric signed weights with one scale per channel.

    Args:
        weight: Float weight. [float32]
        axis: Its output channel axis.
        input_scale: Scale of the operator's input; a bias is counted in steps of input scale x weight scale.
        bias: The operator's bias, shape (channels,): a channel whose weights are so small that its bias would
            not fit 32 bits gets a coarser scale.
        reduce_range: Use 7 bits (see the module's docstring).

    Returns:
        Integer weights and scales.
    """
    levels = 63 if reduce_range else 127
    others = tuple(index for index in range(weight.ndim) if index != axis)
    largest = np.abs(weight).max(axis=others).astype(np.float64)
    scales = largest / levels
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias.astype(np.float64)) / (input_scale * _INT32_LIMIT * 0.5))
    scales = np.where(scales < float(np.finfo(np.float32).tiny), 1.0, scales).astype(np.float32)
    shape = [1] * weight.ndim
    shape[axis] = -1
    values = np.clip(np.rint(weight / scales.reshape(shape)), -levels, levels).astype(np.int8)
    return QuantizedWeight(values, scales, axis)


def quantize_bias(
    bias: NDArray[np.float32], weight_scales: NDArray[np.float32], input_scale: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """A bias in the accumulator's steps.

    Args:
        bias: Shape (channels,). [float32]
        weight_scales: Shape (channels,). [float32]
        input_scale: Scale of the operator's input.

    Returns:
        Integer bias and its scales, both of shape (channels,).
    """
    scales = (np.float32(input_scale) * weight_scales).astype(np.float32)
    scales = np.where(scales < float(np.finfo(np.float32).tiny), np.float32(1.0), scales).astype(np.float32)
    steps = np.rint(bias.astype(np.float64) / scales.astype(np.float64))
    return np.clip(steps, -_INT32_LIMIT, _INT32_LIMIT).astype(np.int32), scales
