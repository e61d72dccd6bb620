"""A YOLO-like instance segmentation network of some 650 operators: backbone, neck and the graph as a whole.

Owns the topology up to the three feature maps; the heads are in `yolo_heads`. Written from the descriptions of the
architecture family: cross-stage partial blocks with nested ones inside, spatial pyramid pooling, position-sensitive
attention on the deepest map, a path aggregation neck.

References:
    [1] C.-Y. Wang et al., CSPNet: A New Backbone that can Enhance Learning Capability of CNN, CVPR Workshops 2020.
    [2] K. He et al., Spatial Pyramid Pooling in Deep Convolutional Networks, ECCV 2014.
    [3] S. Liu et al., Path Aggregation Network for Instance Segmentation, CVPR 2018.
    [4] R. Khanam, M. Hussain, YOLOv11: An Overview of the Key Architectural Enhancements, arXiv 2410.17725, 2024.
    [5] A. Wang et al., YOLOv10: Real-Time End-to-End Object Detection, NeurIPS 2024 (partial self-attention).
"""

from __future__ import annotations

import numpy as np
import onnx

from bench.zoo.builder import GraphBuilder, Value, scaled_channels
from bench.zoo.yolo_heads import add_heads, conv_silu

__all__ = ["build_yolo_seg"]

# Channels at strides 2, 4, 8, 16 and 32 of the large variant; scale 1 gives some 62 million weights.
_CHANNELS = (96, 192, 384, 768, 768)
_HEAD_FEATURES = 64


def build_yolo_seg(seed: int, scale: float, size: int) -> onnx.ModelProto:
    """Build the network: input `images` (1, 3, size, size), outputs `predictions` and `prototypes`.

    `predictions` has shape (1, 4 + 80 + 32, anchors): box centre and size in pixels, class scores, mask coefficients.
    `prototypes` has shape (1, 32, size / 4, size / 4).

    Args:
        seed: Seed of the weights.
        scale: Multiplier of all channel counts.
        size: Height and width of the image, a multiple of 32. [pixel]
    """
    if size % 32:
        raise ValueError(f"an image of {size} pixels does not divide into strides of 32; take a multiple of 32")
    builder = GraphBuilder("yolo_seg", seed)
    image = builder.input("images", (1, 3, size, size))
    channels = [scaled_channels(count, scale) for count in _CHANNELS]
    eighth, sixteenth, deepest = _backbone(builder, image, channels)
    maps = _neck(builder, eighth, sixteenth, deepest, channels)
    predictions, prototypes = add_heads(builder, maps, size)
    return builder.finish({"predictions": predictions, "prototypes": prototypes})


def _backbone(builder: GraphBuilder, image: Value, channels: list[int]) -> tuple[Value, Value, Value]:
    """Return the feature maps at strides 8, 16 and 32."""
    half, quarter, eighth, sixteenth, last = channels
    value = conv_silu(builder, "backbone/half", image, half, kernel=3, stride=2)
    value = conv_silu(builder, "backbone/quarter", value, quarter, kernel=3, stride=2)
    value = _partial_block(builder, "backbone/quarter/block", value, eighth, hidden=eighth // 4)
    value = conv_silu(builder, "backbone/eighth", value, eighth, kernel=3, stride=2)
    at_eighth = _partial_block(builder, "backbone/eighth/block", value, sixteenth, hidden=sixteenth // 4)
    value = conv_silu(builder, "backbone/sixteenth", at_eighth, sixteenth, kernel=3, stride=2)
    at_sixteenth = _partial_block(builder, "backbone/sixteenth/block", value, sixteenth, hidden=sixteenth // 2)
    value = conv_silu(builder, "backbone/last", at_sixteenth, last, kernel=3, stride=2)
    value = _partial_block(builder, "backbone/last/block", value, last, hidden=last // 2)
    value = _pyramid_pooling(builder, "backbone/pooling", value, last)
    return at_eighth, at_sixteenth, _attention_block(builder, "backbone/attention", value)


def _neck(
    builder: GraphBuilder, eighth: Value, sixteenth: Value, deepest: Value, channels: list[int]
) -> tuple[Value, Value, Value]:
    """Mix the maps top-down, then bottom-up [3]; return them at strides 8, 16 and 32."""
    _, _, fine, middle, coarse = channels
    joined = builder.concat("neck/down16/concat", [_grow(builder, "neck/down16/grow", deepest), sixteenth])
    down16 = _partial_block(builder, "neck/down16/block", joined, middle, hidden=middle // 2)
    joined = builder.concat("neck/down8/concat", [_grow(builder, "neck/down8/grow", down16), eighth])
    out8 = _partial_block(builder, "neck/down8/block", joined, fine, hidden=fine // 2)
    shrunk = conv_silu(builder, "neck/up16/shrink", out8, fine, kernel=3, stride=2)
    joined = builder.concat("neck/up16/concat", [shrunk, down16])
    out16 = _partial_block(builder, "neck/up16/block", joined, middle, hidden=middle // 2)
    shrunk = conv_silu(builder, "neck/up32/shrink", out16, middle, kernel=3, stride=2)
    joined = builder.concat("neck/up32/concat", [shrunk, deepest])
    out32 = _partial_block(builder, "neck/up32/block", joined, coarse, hidden=coarse // 2)
    return out8, out16, out32


def _partial_block(builder: GraphBuilder, name: str, value: Value, channels: int, hidden: int) -> Value:
    """Cross-stage partial block whose chain is made of two nested ones, every stage of it kept [1, 4]."""
    opened = conv_silu(builder, f"{name}/open", value, 2 * hidden)
    parts = builder.split(f"{name}/split", opened, [hidden, hidden])
    for index in range(2):
        parts.append(_nested_block(builder, f"{name}/nested{index + 1}", parts[-1]))
    return conv_silu(builder, f"{name}/close", builder.concat(f"{name}/concat", parts), channels)


def _nested_block(builder: GraphBuilder, name: str, value: Value) -> Value:
    """Cross-stage partial block: two residual bottlenecks beside a bypass [1]."""
    half = max(4, value.channels // 2)
    chain = conv_silu(builder, f"{name}/chain", value, half)
    for index in range(2):
        bottleneck = f"{name}/bottleneck{index + 1}"
        inner = conv_silu(builder, f"{bottleneck}/first", chain, half, kernel=3)
        inner = conv_silu(builder, f"{bottleneck}/second", inner, half, kernel=3)
        chain = builder.add(f"{bottleneck}/add", chain, inner)
    bypass = conv_silu(builder, f"{name}/bypass", value, half)
    return conv_silu(builder, f"{name}/merge", builder.concat(f"{name}/concat", [chain, bypass]), value.channels)


def _pyramid_pooling(builder: GraphBuilder, name: str, value: Value, channels: int) -> Value:
    """Three chained 5x5 poolings, which see 5, 9 and 13 pixels [2]."""
    stages = [conv_silu(builder, f"{name}/reduce", value, value.channels // 2)]
    for index in range(3):
        stages.append(builder.max_pool(f"{name}/pool{index + 1}", stages[-1], kernel=5))
    return conv_silu(builder, f"{name}/mix", builder.concat(f"{name}/concat", stages), channels)


def _attention_block(builder: GraphBuilder, name: str, value: Value) -> Value:
    """Two rounds of self-attention and feed-forward on half of the channels [5]."""
    half = value.channels // 2
    opened = conv_silu(builder, f"{name}/open", value, 2 * half)
    bypass, chain = builder.split(f"{name}/split", opened, [half, half])
    for index in range(2):
        stage = f"{name}/round{index + 1}"
        chain = builder.add(f"{stage}/add", chain, _self_attention(builder, f"{stage}/attention", chain))
        fed = conv_silu(builder, f"{stage}/expand", chain, 2 * half)
        chain = builder.add(f"{stage}/fed", chain, builder.conv(f"{stage}/project", fed, half))
    joined = builder.concat(f"{name}/concat", [bypass, chain])
    return conv_silu(builder, f"{name}/close", joined, value.channels)


def _self_attention(builder: GraphBuilder, name: str, value: Value) -> Value:
    """Multi-head attention over all pixels, keys half as wide as values, plus a depthwise position term [5]."""
    batch, channels, height, width = value.shape
    heads = max(1, channels // _HEAD_FEATURES)
    per_head = channels // heads
    key_features = per_head // 2
    pixels = height * width
    packed = builder.conv(f"{name}/pack", value, heads * (2 * key_features + per_head))
    by_head = builder.reshape(f"{name}/heads", packed, (batch, heads, 2 * key_features + per_head, pixels))
    query, key, values = builder.split(f"{name}/split", by_head, [key_features, key_features, per_head], axis=2)
    turned = builder.transpose(f"{name}/query/transpose", query, (0, 1, 3, 2))
    square = (batch, heads, pixels, pixels)
    scores = builder.node("MatMul", f"{name}/scores", [turned, key], square)
    factor = builder.constant(f"{name}/factor", np.array(1 / np.sqrt(key_features), np.float32))
    scaled = builder.node("Mul", f"{name}/scale", [scores, factor], square)
    weights = builder.node("Softmax", f"{name}/softmax", [scaled], square, axis=-1)
    back = builder.transpose(f"{name}/weights/transpose", weights, (0, 1, 3, 2))
    mixed = builder.node("MatMul", f"{name}/mix", [values, back], values.shape, variance=0.1)
    image_shape = (batch, heads * per_head, height, width)
    attended = builder.reshape(f"{name}/mix/image", mixed, image_shape)
    position = builder.reshape(f"{name}/values/image", values, image_shape)
    position = builder.conv(f"{name}/position", position, heads * per_head, kernel=3, groups=heads * per_head)
    return builder.conv(f"{name}/project", builder.add(f"{name}/add", attended, position), channels)


def _grow(builder: GraphBuilder, name: str, value: Value) -> Value:
    """Double height and width by repeating pixels."""
    batch, channels, height, width = value.shape
    scales = builder.constant("neck/scales", np.array([1, 1, 2, 2], np.float32))
    return builder.node(
        "Resize",
        name,
        [value, "", scales],
        (batch, channels, 2 * height, 2 * width),
        value.variance,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
