"""One small model with a trap, and inputs for it.

Owns: the form in which traps are written. Its rule: plain onnxruntime runs every one of them. Not here: the traps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser

__all__ = ["CONV", "SQUARE", "Trap", "random_inputs", "undeclared"]


@dataclass(frozen=True)
class Trap:
    """One model.

    Attributes:
        kind: Of its trap.
        text: In ONNX's text form; the graph's name is `g`.
        weights: Names and shapes of random float32 initializers.
        constants: Other initializers.
        opset: Of ONNX's own operators.
        ir: Version of the format.
        high: Least value that integer inputs may not take.
        change: What text cannot say.
    """

    kind: str
    text: str
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    opset: int = 17
    ir: int = 8
    high: int = 2
    change: Callable[[onnx.ModelProto], None] | None = None

    def proto(self) -> onnx.ModelProto:
        """The model."""
        graph = parser.parse_graph(self.text)
        random = np.random.default_rng(0)
        for name, shape in self.weights.items():
            values = random.normal(0, 1 / math.sqrt(max(math.prod(shape[1:]), 1)), shape).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(values, name))
        for name, value in self.constants.items():
            graph.initializer.append(numpy_helper.from_array(value, name))
        domains = {"": self.opset} | dict.fromkeys(re.findall(r"(com\.microsoft)\.", self.text), 1)
        domains |= dict.fromkeys(re.findall(r"(ai\.onnx\.ml)\.", self.text), 3)
        opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in domains.items()]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=self.ir)
        if self.change is not None:
            self.change(model)
        return model


def random_inputs(proto: onnx.ModelProto, seed: int = 0, high: int = 2) -> dict[str, NDArray[Any]]:
    """Noise for floats, small numbers below `high` for integers, words for texts."""
    random = np.random.default_rng(seed)
    weights = {tensor.name for tensor in proto.graph.initializer}
    feeds: dict[str, NDArray[Any]] = {}
    for value in proto.graph.input:
        if value.name in weights:
            continue
        kind = value.type.tensor_type
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        shape = tuple(dim.dim_value or 1 for dim in kind.shape.dim)
        if kind.elem_type == onnx.TensorProto.STRING:
            feeds[value.name] = np.asarray(random.choice(WORDS, shape), dtype=object)
        elif dtype.kind == "f" or dtype.name == "bfloat16":
            feeds[value.name] = np.asarray(random.random(shape), dtype=dtype)
        else:
            feeds[value.name] = np.asarray(random.integers(0, high, shape), dtype=dtype)
    return feeds


def undeclared(model: onnx.ModelProto) -> None:
    """Take the declared shapes of the outputs away."""
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


WORDS = ["word", "b", "Gr\u00f6\u00dfe", "", "two words"]
"""What texts are drawn from."""
SQUARE = {"w": (64, 64)}
CONV = {"w": (8, 3, 3, 3)}
