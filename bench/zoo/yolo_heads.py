"""The heads of the YOLO-like network: boxes, classes, mask coefficients and mask prototypes.

Owns everything behind the three feature maps, box decoding included, and the network's convolution-with-SiLU.
Its one rule: all of it is inside the graph, so that the outputs need no further arithmetic.

References:
    [1] X. Li et al., Generalized Focal Loss, NeurIPS 2020 (boxes as distributions over distances).
    [2] D. Bolya et al., YOLACT: Real-time Instance Segmentation, ICCV 2019 (prototypes and coefficients).
    [3] Z. Tian et al., FCOS: Fully Convolutional One-Stage Object Detection, ICCV 2019 (anchor points).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.zoo.builder import GraphBuilder, Value

__all__ = ["add_heads", "conv_silu"]

_CLASSES = 80
_MASKS = 32
_BINS = 16
_SIDES = 4


def conv_silu(
    builder: GraphBuilder,
    name: str,
    value: Value,
    channels: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
) -> Value:
    """Convolve and apply SiLU: three operators."""
    return builder.silu(name, builder.conv(f"{name}/conv", value, channels, kernel, stride=stride, groups=groups))


def add_heads(builder: GraphBuilder, maps: Sequence[Value], size: int) -> tuple[Value, Value]:
    """Add the heads to the feature maps, finest first; return predictions and prototypes.

    Args:
        builder: The graph.
        maps: Feature maps at strides 8, 16 and 32.
        size: Height and width of the image. [pixel]
    """
    box_channels = max(maps[0].channels // 4, _SIDES * _BINS)
    class_channels = max(maps[0].channels, _CLASSES)
    mask_channels = max(maps[0].channels // 4, _MASKS)
    boxes, classes, masks = [], [], []
    for index, features in enumerate(maps):
        name = f"head{index + 1}"
        box = _branch(builder, f"{name}/box", features, box_channels, _SIDES * _BINS)
        boxes.append(_flat(builder, f"{name}/box", box))
        class_logits = _class_branch(builder, f"{name}/class", features, class_channels)
        classes.append(_flat(builder, f"{name}/class", class_logits))
        mask_coefficients = _branch(builder, f"{name}/mask", features, mask_channels, _MASKS)
        masks.append(_flat(builder, f"{name}/mask", mask_coefficients))
    decoded = _decode_boxes(builder, builder.concat("decode/concat", boxes, axis=2), maps, size)
    logits = builder.concat("classes/concat", classes, axis=2)
    scores = builder.node("Sigmoid", "classes/sigmoid", [logits], logits.shape)
    coefficients = builder.concat("masks/concat", masks, axis=2)
    predictions = builder.concat("predictions/concat", [decoded, scores, coefficients])
    return predictions, _prototypes(builder, maps[0])


def _branch(builder: GraphBuilder, name: str, value: Value, hidden: int, channels: int) -> Value:
    """Two 3x3 convolutions and a linear one."""
    value = conv_silu(builder, f"{name}/first", value, hidden, kernel=3)
    value = conv_silu(builder, f"{name}/second", value, hidden, kernel=3)
    return builder.conv(f"{name}/last", value, channels)


def _class_branch(builder: GraphBuilder, name: str, value: Value, hidden: int) -> Value:
    """Two pairs of depthwise and pointwise convolutions and a linear one."""
    for stage in ("first", "second"):
        value = conv_silu(builder, f"{name}/{stage}/depth", value, value.channels, kernel=3, groups=value.channels)
        value = conv_silu(builder, f"{name}/{stage}/point", value, hidden)
    return builder.conv(f"{name}/last", value, _CLASSES)


def _flat(builder: GraphBuilder, name: str, value: Value) -> Value:
    """Join height and width into one axis of anchors."""
    batch, channels, height, width = value.shape
    return builder.reshape(f"{name}/flat", value, (batch, channels, height * width))


def _decode_boxes(builder: GraphBuilder, value: Value, maps: Sequence[Value], size: int) -> Value:
    """Turn distributions over distances into boxes: centre x, centre y, width, height in pixels [1, 3]."""
    anchors = value.shape[2]
    bins = builder.reshape("decode/bins", value, (1, _SIDES, _BINS, anchors))
    turned = builder.transpose("decode/transpose", bins, (0, 2, 1, 3))
    chances = builder.node("Softmax", "decode/softmax", [turned], turned.shape, axis=1)
    places = builder.constant("decode/places", np.arange(_BINS, dtype=np.float32).reshape(1, _BINS, 1, 1))
    expected_shape = (1, 1, _SIDES, anchors)
    expected = builder.node(
        "Conv", "decode/expectation", [chances, places], expected_shape, kernel_shape=[1, 1], pads=[0] * 4
    )
    distances = builder.reshape("decode/distances", expected, (1, _SIDES, anchors))
    to_low, to_high = builder.split("decode/split", distances, [2, 2])
    centres, strides = _anchor_points(maps, size)
    points = builder.constant("decode/points", centres)
    corner = (1, 2, anchors)
    low = builder.node("Sub", "decode/low", [points, to_low], corner)
    high = builder.node("Add", "decode/high", [to_high, points], corner)
    total = builder.node("Add", "decode/sum", [low, high], corner)
    half = builder.constant("decode/two", np.array(2, np.float32))
    centre = builder.node("Div", "decode/centre", [total, half], corner)
    extent = builder.node("Sub", "decode/extent", [high, low], corner)
    boxes = builder.concat("decode/boxes", [centre, extent])
    return builder.node("Mul", "decode/pixels", [boxes, builder.constant("decode/strides", strides)], boxes.shape)


def _anchor_points(maps: Sequence[Value], size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cells' centres, shape (1, 2, anchors) [cell], and their strides, shape (1, 1, anchors) [pixel]."""
    centres: list[NDArray[np.float32]] = []
    strides: list[NDArray[np.float32]] = []
    for features in maps:
        height, width = features.shape[2:]
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
        centres.append(np.stack([columns.ravel(), rows.ravel()]))
        strides.append(np.full((1, height * width), size / height, np.float32))
    return np.concatenate(centres, axis=1)[None], np.concatenate(strides, axis=1)[None]


def _prototypes(builder: GraphBuilder, finest: Value) -> Value:
    """Return mask prototypes at twice the finest map's height and width [2]."""
    value = conv_silu(builder, "prototypes/first", finest, finest.channels, kernel=3)
    value = builder.conv_transpose("prototypes/grow", value, finest.channels, factor=2)
    value = conv_silu(builder, "prototypes/second", value, finest.channels, kernel=3)
    return conv_silu(builder, "prototypes/third", value, _MASKS)
