"""MobileNetV2: inverted residuals with linear bottlenecks for 1000-class image classification.

Owns this one topology; layers come from `builder`. Batch normalisation stays a node of its own, as in training
graphs, so that importers meet Conv, BatchNormalization and Clip.

References:
    [1] M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen, MobileNetV2: Inverted Residuals and Linear
        Bottlenecks, CVPR 2018, table 2.
"""

from __future__ import annotations

import onnx

from bench.zoo.builder import GraphBuilder, Value, scaled_channels

__all__ = ["build_mobilenet_v2"]

# Expansion, channels, blocks and first stride of each row of table 2.
_ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_CLASSES = 1000


def build_mobilenet_v2(seed: int, scale: float, size: int) -> onnx.ModelProto:
    """Build MobileNetV2: input `image` (1, 3, size, size), output `logits` (1, 1000).

    Args:
        seed: Seed of the weights.
        scale: The paper's width multiplier; 1 gives 3.5 million weights.
        size: Height and width of the image; 224 in the paper. [pixel]
    """
    builder = GraphBuilder("mobilenet_v2", seed)
    image = builder.input("image", (1, 3, size, size))
    value = _conv(builder, "stem", image, scaled_channels(32, scale), kernel=3, stride=2)
    for row, (expansion, channels, blocks, first_stride) in enumerate(_ROWS, start=1):
        for block in range(blocks):
            value = _inverted_residual(
                builder,
                f"row{row}/block{block + 1}",
                value,
                expansion=expansion,
                channels=scaled_channels(channels, scale),
                stride=first_stride if block == 0 else 1,
            )
    head = _conv(builder, "head", value, scaled_channels(1280, max(1.0, scale)))
    return builder.finish({"logits": builder.classifier("classifier", head, _CLASSES)})


def _conv(
    builder: GraphBuilder,
    name: str,
    value: Value,
    channels: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    activated: bool = True,
) -> Value:
    """Convolve, normalise and, unless it is a linear bottleneck, apply ReLU6."""
    convolved = builder.conv(f"{name}/conv", value, channels, kernel, stride=stride, groups=groups, biased=False)
    normed = builder.batch_norm(f"{name}/norm", convolved)
    return builder.activation("Clip", f"{name}/relu6", normed) if activated else normed


def _inverted_residual(
    builder: GraphBuilder, name: str, value: Value, *, expansion: int, channels: int, stride: int
) -> Value:
    """Expand, convolve depthwise, project linearly; add the input where the shape allows."""
    hidden = value.channels * expansion
    expanded = value if expansion == 1 else _conv(builder, f"{name}/expand", value, hidden)
    filtered = _conv(builder, f"{name}/depthwise", expanded, hidden, kernel=3, stride=stride, groups=hidden)
    projected = _conv(builder, f"{name}/project", filtered, channels, activated=False)
    if stride == 1 and value.channels == channels:
        return builder.add(f"{name}/add", value, projected)
    return projected
