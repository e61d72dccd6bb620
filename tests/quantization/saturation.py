"""Models whose outputs saturate: a row of convolutions, sharp logits, a softmax or sigmoid.

Owns: their construction. Its rule: seeded, small, and saturated by one factor. Not here: what is tried on them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx

from tests.quantization.support import Network

__all__ = ["saturated"]


def saturated(
    head: Literal["softmax", "sigmoid", "pooled"], *, depth: int, sharpness: float, seed: int = 0
) -> onnx.ModelProto:
    """A model of `depth` convolutions and a head.

    Args:
        head: A softmax at every place, a sigmoid of one channel, or one softmax of two classes.
        depth: Convolutions before the head; every second one is added to what it read.
        sharpness: Factor on the logits; outputs are near 0 and 1 from some tens on.
        seed: Of the weights.
    """
    net, width, classes = Network(seed=seed), 12, {"softmax": 20, "sigmoid": 1, "pooled": 2}[head]
    value = net.add("Relu", "relu0", [net.conv("conv0", "image", (3, width))])
    for index in range(1, depth):
        made = net.add("Relu", f"relu{index}", [net.conv(f"conv{index}", value, (width, width))])
        value = net.add("Add", f"sum{index}", [value, made]) if index % 2 else made
    value = net.conv("logits", value, (width, classes), kernel=1)
    size = (16, 24)
    if head == "pooled":
        value, size = net.add("GlobalAveragePool", "pool", [value]), (1, 1)
    value = net.add("Mul", "sharp", [value, net.constant("sharpness", np.array(sharpness, np.float32))])
    made = net.add("Sigmoid", "answer", [value]) if head == "sigmoid" else net.add("Softmax", "answer", [value], axis=1)
    return net.proto((1, 3, 16, 24), {made: (1, classes, *size)})
