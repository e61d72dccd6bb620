"""Random small models for property tests: every tensor has shape (1, 4, 5, 5)."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.graph.support import constant, model, tensor

SHAPE = [1, 4, 5, 5]
UNARY = ["Relu", "Sigmoid", "Neg", "Tanh", "Identity"]
# No products of activations: a dozen squarings overflow.
BINARY = ["Add", "Min", "Max", "Sub"]


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """A random graph with convolutions, views, splits, integer tensors, shared weights and several outputs."""
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    weights = [constant(f"w{index}", (rng.random((4, 4, 3, 3)) - 0.5) / 3) for index in range(3)]
    weights += [constant("rows", [1, 4, 25], "int64"), constant("back", SHAPE, "int64"), constant("gain", [0.5])]
    values = ["x", "z"]
    nodes: list[onnx.NodeProto] = []
    for index in range(draw(st.integers(1, 14))):
        # Looking back a little makes chains, far back makes diamonds and skips.
        first = values[-1 - draw(st.integers(0, min(3, len(values) - 1)))]
        second = values[draw(st.integers(0, len(values) - 1))]
        made = f"t{index}"
        values += _add(nodes, draw(st.integers(0, 9)), first, second, made, draw(st.integers(0, 4)))
    outputs = {values[-1], values[draw(st.integers(2, len(values) - 1))]} - {"x", "z"}
    return model(
        nodes, [tensor("x", SHAPE), tensor("z", SHAPE)], [tensor(name, SHAPE) for name in sorted(outputs)], weights
    )


def _add(nodes: list[onnx.NodeProto], kind: int, first: str, second: str, made: str, variant: int) -> list[str]:
    node = helper.make_node
    if kind <= 1:
        nodes.append(node("Conv", [first, f"w{variant % 3}"], [made], pads=[1, 1, 1, 1], name=f"conv_{made}"))
    elif kind == 2:
        nodes.append(node(UNARY[variant], [first], [made]))
    elif kind == 3:
        nodes.append(node(BINARY[variant % 4], [first, second], [made]))
    elif kind == 4:
        nodes.append(node("Split", [first], [f"{made}a", f"{made}b"], axis=1))
        nodes.append(node("Concat", [f"{made}b", f"{made}a"], [made], axis=1))
    elif kind == 5:
        nodes.append(node("Reshape", [first, "rows"], [f"{made}r"]))
        nodes.append(node("Softmax", [f"{made}r"], [f"{made}s"], axis=-1))
        nodes.append(node("Reshape", [f"{made}s", "back"], [made]))
    elif kind == 6:
        # Of a model input: rounding that differs between fused and single kernels must not flip an index.
        nodes.append(node("ArgMax", ["x"], [f"{made}i"], axis=1, keepdims=1))
        nodes.append(node("Cast", [f"{made}i"], [f"{made}f"], to=TensorProto.FLOAT))
        nodes.append(node("Add", [second, f"{made}f"], [made]))
    elif kind == 7:
        nodes.append(node("Sigmoid", [first], [f"{made}s"]))
        nodes.append(node("Mul", [first, f"{made}s"], [made]))
    elif kind == 8:
        nodes.append(node("NonZero", ["z"], [f"{made}n"]))
        nodes.append(node("Cast", [f"{made}n"], [f"{made}f"], to=TensorProto.FLOAT))
        nodes.append(node("ReduceMax", [f"{made}f"], [f"{made}m"], keepdims=0))
        nodes.append(node("Add", [second, f"{made}m"], [made]))
    else:
        nodes.append(node("ReduceMean", [first], [f"{made}m"], axes=[2, 3], keepdims=1))
        nodes.append(node("Sub", [first, f"{made}m"], [f"{made}c"]))
        nodes.append(node("Mul", [f"{made}c", "gain"], [made]))
    return [made]
