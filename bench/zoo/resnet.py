"""ResNet-50: bottleneck residual blocks for 1000-class image classification.

Owns this one topology; layers come from `builder`. The stride sits in the 3x3 convolution and batch normalisation
is folded into the convolutions, as exporters deliver the network.

References:
    [1] K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, CVPR 2016, table 1.
"""

from __future__ import annotations

import onnx

from bench.zoo.builder import GraphBuilder, Value, scaled_channels

__all__ = ["build_resnet50"]

# Blocks, bottleneck channels and stride of the four stages.
_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
_EXPANSION = 4
_CLASSES = 1000


def build_resnet50(seed: int, scale: float, size: int) -> onnx.ModelProto:
    """Build ResNet-50: input `image` (1, 3, size, size), output `logits` (1, 1000).

    Args:
        seed: Seed of the weights.
        scale: Multiplier of all channel counts; 1 gives 25.5 million weights.
        size: Height and width of the image; 224 in the paper. [pixel]
    """
    builder = GraphBuilder("resnet50", seed)
    image = builder.input("image", (1, 3, size, size))
    stem = builder.conv("stem/conv", image, scaled_channels(64, scale), kernel=7, stride=2)
    value = builder.max_pool("stem/pool", builder.activation("Relu", "stem/relu", stem), kernel=3, stride=2)
    for stage, (blocks, channels, stride) in enumerate(_STAGES, start=1):
        for block in range(blocks):
            name = f"stage{stage}/block{block + 1}"
            value = _bottleneck(builder, name, value, scaled_channels(channels, scale), stride if block == 0 else 1)
    return builder.finish({"logits": builder.classifier("classifier", value, _CLASSES)})


def _bottleneck(builder: GraphBuilder, name: str, value: Value, channels: int, stride: int) -> Value:
    """Reduce, convolve, expand and add the shortcut, projected where the shape changes."""
    reduced = builder.activation("Relu", f"{name}/reduce/relu", builder.conv(f"{name}/reduce/conv", value, channels))
    middle = builder.conv(f"{name}/middle/conv", reduced, channels, kernel=3, stride=stride)
    middle = builder.activation("Relu", f"{name}/middle/relu", middle)
    expanded = builder.conv(f"{name}/expand/conv", middle, channels * _EXPANSION)
    shortcut = value
    if stride != 1 or value.channels != expanded.channels:
        shortcut = builder.conv(f"{name}/shortcut/conv", value, channels * _EXPANSION, stride=stride)
    return builder.activation("Relu", f"{name}/relu", builder.add(f"{name}/add", expanded, shortcut))
