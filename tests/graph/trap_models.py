"""Small models as people have them: each holds one trap beside an operator that may run in int8.

Owns: the models, by the kind of their trap. Its rule: plain onnxruntime runs every one of them. Not here: what is
asked of them (the tests that import this).
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

__all__ = ["TRAPS", "Trap", "random_inputs"]


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
        opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in domains.items()]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=self.ir)
        if self.change is not None:
            self.change(model)
        return model


def random_inputs(proto: onnx.ModelProto, seed: int = 0, high: int = 2) -> dict[str, NDArray[Any]]:
    """Noise for floats, small numbers below `high` for integers."""
    random = np.random.default_rng(seed)
    weights = {tensor.name for tensor in proto.graph.initializer}
    feeds: dict[str, NDArray[Any]] = {}
    for value in proto.graph.input:
        if value.name in weights:
            continue
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        shape = tuple(dim.dim_value or 1 for dim in kind.shape.dim)
        if np.dtype(dtype).kind == "f":
            feeds[value.name] = np.asarray(random.random(shape), dtype=dtype)
        else:
            feeds[value.name] = np.asarray(random.integers(0, high, shape), dtype=dtype)
    return feeds


def _undeclared(model: onnx.ModelProto) -> None:
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


SQUARE = {"w": (64, 64)}
CONV = {"w": (8, 3, 3, 3)}

UNREAD = {
    "split_second": Trap(
        "unread",
        """g (float[1,64] x) => (float[1,32] out) {
        y = MatMul (x, w)  a, b = Split <axis=1> (y)  out = Relu (a) }""",
        SQUARE,
        opset=13,
    ),
    "split_first": Trap(
        "unread",
        """g (float[1,64] x) => (float[1,32] out) {
        y = MatMul (x, w)  a, b = Split <axis=1> (y)  out = Relu (b) }""",
        SQUARE,
        opset=13,
    ),
    "split_before": Trap(
        "unread",
        """g (float[1,128] x) => (float[1,64] out) {
        a, b = Split <axis=1> (x)  r = Relu (a)  out = MatMul (r, w) }""",
        SQUARE,
        opset=13,
    ),
    "lstm_all": Trap(
        "unread",
        """g (float[4,1,64] x) => (float[4,1,1,16] out) {
        y = MatMul (x, w)  out, h, c = LSTM <hidden_size=16> (y, lw, lr) }""",
        {"w": (64, 64), "lw": (1, 64, 64), "lr": (1, 64, 16)},
    ),
    "lstm_last": Trap(
        "unread",
        """g (float[4,1,64] x) => (float[1,1,8] out) {
        y = MatMul (x, w)  a, h, c = LSTM <hidden_size=16> (y, lw, lr)  out = MatMul (h, w2) }""",
        {"w": (64, 64), "lw": (1, 64, 64), "lr": (1, 64, 16), "w2": (16, 8)},
    ),
    "gru": Trap(
        "unread",
        """g (float[4,1,64] x) => (float[4,1,1,8] out) {
        y = MatMul (x, w)  a, h = GRU <hidden_size=16> (y, lw, lr)  out = MatMul (a, w2) }""",
        {"w": (64, 64), "lw": (1, 48, 64), "lr": (1, 48, 16), "w2": (16, 8)},
    ),
    "layer_norm": Trap(
        "unread",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  n, mean, dev = LayerNormalization <axis=-1> (y, s)  out = MatMul (n, w) }""",
        {"w": (64, 64), "s": (64,)},
    ),
    "max_pool": Trap(
        "unread",
        """g (float[1,3,16,16] x) => (float[1,8,8,8] out) {
        y = Conv <pads=[1,1,1,1]> (x, w)  p, i = MaxPool <kernel_shape=[2,2], strides=[2,2]> (y)
        out = Conv (p, v) }""",
        {"w": (8, 3, 3, 3), "v": (8, 8, 1, 1)},
    ),
    "top_k_values": Trap(
        "unread",
        """g (float[1,64] x) => (float[1,8] out)
        <int64[1] k = {8}> { y = MatMul (x, w)  out, i = TopK (y, k) }""",
        SQUARE,
    ),
    "top_k_indices": Trap(
        "unread",
        """g (float[1,64] x) => (int64[1,8] out, float[1,64] o2)
        <int64[1] k = {8}> { v, out = TopK (x, k)  y = MatMul (x, w)  o2 = Relu (y) }""",
        SQUARE,
    ),
    "dropout": Trap(
        "unread",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  d, m = Dropout (y)  out = MatMul (d, w) }""",
        SQUARE,
    ),
    "dropout_7": Trap(
        "unread",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  d, m = Dropout <ratio=0.5> (y)  out = MatMul (d, w) }""",
        SQUARE,
        opset=7,
        ir=3,
    ),
    "unique": Trap(
        "unread",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  u, f, i, c = Unique (x)  s = ReduceSum <keepdims=0> (u)  out = Add (y, s) }""",
        SQUARE,
    ),
    "loop_scan_output": Trap(
        "unread",
        """g (float[1,64] x) => (float[1,64] out)
        <int64 n = {3}, bool t = {1}> {
        y = MatMul (x, w)
        z, all = Loop (n, t, y) <body = b (int64 i, bool c, float[1,64] s) => (bool c2, float[1,64] s2, float[1,64] e) {
            c2 = Identity (c)  s2 = Relu (s)  e = Neg (s) }>
        out = MatMul (z, w) }""",
        SQUARE,
    ),
}

BODIES = {
    "if_weight": Trap(
        "body",
        """g (float[1,16] x) => (float[1,32] out) <float zero = {0}> {
        h = MatMul (x, w1)  m = ReduceMax <keepdims=0> (h)  c = Greater (m, zero)
        out = If (c) <then_branch = t () => (float[1,32] o1) { o1 = MatMul (h, w2) },
                      else_branch = e () => (float[1,32] o2) { n = Neg (h)  o2 = MatMul (n, w2) }> }""",
        {"w1": (16, 16), "w2": (16, 32)},
    ),
    "loop_weight": Trap(
        "body",
        """g (float[1,16] x) => (float[1,16] out) <int64 n = {3}, bool t = {1}> {
        h = MatMul (x, w1)
        l = Loop (n, t, h) <body = b (int64 i, bool c, float[1,16] s) => (bool c2, float[1,16] s2) {
            c2 = Identity (c)  m = MatMul (s, w2)  s2 = Tanh (m) }>
        out = MatMul (l, w1) }""",
        {"w1": (16, 16), "w2": (16, 16)},
    ),
    "scan_weight": Trap(
        "body",
        """g (float[5,1,16] x) => (float[1,16] out) {
        h = MatMul (x, w1)
        l, all = Scan (z, h) <num_scan_inputs=1, body = b (float[1,16] s, float[1,16] e) =>
            (float[1,16] s2, float[1,16] e2) { a = Add (s, e)  s2 = MatMul (a, w2)  e2 = Identity (s2) }>
        out = MatMul (l, w1) }""",
        {"w1": (16, 16), "w2": (16, 16)},
        {"z": np.zeros((1, 16), np.float32)},
    ),
    "nested_weight": Trap(
        "body",
        """g (float[1,16] x) => (float[1,16] out)
        <int64 n = {3}, bool t = {1}, float zero = {0}> {
        h = MatMul (x, w1)
        l = Loop (n, t, h) <body = b (int64 i, bool c, float[1,16] s) => (bool c2, float[1,16] s2) {
            c2 = Identity (c)  m = ReduceMax <keepdims=0> (s)  p = Greater (m, zero)
            s2 = If (p) <then_branch = t () => (float[1,16] o1) { o1 = MatMul (s, w2) },
                         else_branch = e () => (float[1,16] o2) { o2 = Add (h, small) }> }>
        out = MatMul (l, w1) }""",
        {"w1": (16, 16), "w2": (16, 16), "small": (16,)},
    ),
    "if_reads_convolution": Trap(
        "body",
        """g (float[1,3,8,8] x, bool c) => (float[1,8,8,8] out) {
        y = Conv <pads=[1,1,1,1]> (x, w)  n = BatchNormalization (y, s, s, s, v)  r = Relu (n)
        b = If (c) <then_branch = t () => (float[1,8,8,8] o1) { o1 = Neg (y) },
                    else_branch = e () => (float[1,8,8,8] o2) { o2 = Abs (y) }>
        out = Add (r, b) }""",
        {"w": (8, 3, 3, 3), "s": (8,)},
        {"v": np.ones(8, np.float32)},
    ),
    "if_reads_before_relu": Trap(
        "body",
        """g (float[1,64] x, bool c) => (float[1,64] out) {
        y = MatMul (x, w)  r = Relu (y)
        b = If (c) <then_branch = t () => (float[1,64] o1) { o1 = Neg (y) },
                    else_branch = e () => (float[1,64] o2) { o2 = Identity (y) }>
        out = Add (r, b) }""",
        SQUARE,
    ),
    "only_a_body_reads": Trap(
        "body",
        """g (float[1,64] x, bool c) => (float[1,64] out) {
        y = MatMul (x, w)
        out = If (c) <then_branch = t () => (float[1,64] o1) { o1 = Neg (y) },
                      else_branch = e () => (float[1,64] o2) { o2 = Identity (y) }> }""",
        SQUARE,
    ),
    "branch_is_an_outer_tensor": Trap(
        "body",
        """g (float[1,64] x, bool c) => (float[1,64] out) {
        y = MatMul (x, w)  z = Relu (y)
        b = If (c) <then_branch = t () => (float[1,64] o1) { o1 = Identity (z) },
                      else_branch = e () => (float[1,64] o2) { o2 = Add (x, y) }>
        out = MatMul (b, w) }""",
        SQUARE,
    ),
    "alias_in_a_body": Trap(
        "body",
        """g (float[1,16] x, bool c) => (float[1,16] out) {
        v = Identity (w1)  h = MatMul (x, w1)
        out = If (c) <then_branch = t () => (float[1,16] o1) { o1 = MatMul (h, v) },
                      else_branch = e () => (float[1,16] o2) { o2 = Neg (h) }> }""",
        {"w1": (16, 16)},
    ),
    "alias_captured": Trap(
        "body",
        """g (float[1,16] x) => (float[1,16] out) <int64 n = {2}, bool t = {1}> {
        v = Identity (w1)  h = MatMul (x, w1)
        l = Loop (n, t, h) <body = b (int64 i, bool c, float[1,16] w1) => (bool c2, float[1,16] s2) {
            c2 = Identity (c)  m = MatMul (w1, v)  s2 = Tanh (m) }>
        out = Relu (l) }""",
        {"w1": (16, 16)},
    ),
    "shadowed_input": Trap(
        "body",
        """g (float[1,16] x) => (float[1,16] out) <int64 n = {2}, bool t = {1}> {
        h = MatMul (x, w1)
        l = Loop (n, t, h) <body = b (int64 i, bool c, float[1,16] h) => (bool c2, float[1,16] s2) {
            c2 = Identity (c)  m = MatMul (h, w1)  s2 = Add (m, x) }>
        out = Add (l, h) }""",
        {"w1": (16, 16)},
    ),
    "shadowed_weight": Trap(
        "body",
        """g (float[1,16] x) => (float[1,16] out) <int64 n = {2}, bool t = {1}> {
        h = MatMul (x, w1)
        l = Loop (n, t, h) <body = b (int64 i, bool c, float[1,16] s) => (bool c2, float[1,16] s2)
            <float[1] w1 = {0.5}> { c2 = Identity (c)  s2 = Mul (s, w1) }>
        out = Add (l, h) }""",
        {"w1": (16, 16)},
    ),
    "body_reads_the_input": Trap(
        "body",
        """g (float[1,64] x, bool c) => (float[1,64] out) {
        y = MatMul (x, w)
        b = If (c) <then_branch = t () => (float[1,64] o1) { o1 = Neg (x) },
                    else_branch = e () => (float[1,64] o2) { o2 = Identity (x) }>
        out = Add (y, b) }""",
        SQUARE,
    ),
    "constant_if": Trap(
        "body",
        """g (float[1,16] x) => (float[1,16] out) <bool yes = {1}, float zero = {0}> {
        h = MatMul (x, w1)
        l = If (yes) <then_branch = t () => (float[1,16] o1) {
              m = ReduceMax <keepdims=0> (h)  p = Greater (m, zero)
              o1 = If (p) <then_branch = t () => (float[1,16] q1) { k = MatMul (h, w2)  q1 = Tanh (k) },
                           else_branch = e () => (float[1,16] q2) { q2 = Add (h, m) }> },
            else_branch = e () => (float[1,16] o2) { o2 = Neg (h) }>
        out = MatMul (l, w1) }""",
        {"w1": (16, 16), "w2": (16, 16)},
    ),
    "body_reads_shape_arithmetic": Trap(
        "body",
        """g (float[1,16] x, bool c) => (float[4,4] out)
        <int64[2] four = {4, 4}, int64[1] one = {1}> {
        h = MatMul (x, w1)  target = Mul (four, one)
        out = If (c) <then_branch = t () => (float[4,4] o1) { o1 = Reshape (h, target) },
                      else_branch = e () => (float[4,4] o2) { n = Neg (h)  o2 = Reshape (n, target) }> }""",
        {"w1": (16, 16)},
    ),
    "constant_output_and_body": Trap(
        "body",
        """g (float[1,16] x, bool c) => (float[1,16] out, float[16,16] w1) {
        h = MatMul (x, w1)
        out = If (c) <then_branch = t () => (float[1,16] o1) { o1 = MatMul (h, w1) },
                      else_branch = e () => (float[1,16] o2) { o2 = Neg (h) }> }""",
        {"w1": (16, 16)},
    ),
}

SCALARS = {
    f"scalar_{dtype}": Trap(
        "scalar",
        f"""g (float[1,64] x, {dtype} n) => (float[1,64] out) {{
        y = MatMul (x, w)  f = Cast <to=1> (n)  out = Mul (y, f) }}""",
        SQUARE,
    )
    for dtype in ("int64", "int32", "bool", "uint8", "float16", "double")
} | {
    "scalar_float": Trap(
        "scalar",
        """g (float[1,64] x, float n) => (float[1,64] out) {
        y = MatMul (x, w)  out = Mul (y, n) }""",
        SQUARE,
    ),
    "scalar_outputs": Trap(
        "scalar",
        """g (float[1,64] x) => (float a, int64 b, bool c, float[1,64] out)
        <float zero = {0}> {
        y = MatMul (x, w)  a = ReduceSum <keepdims=0> (y)  f = Reshape (y, flat)  b = ArgMax <keepdims=0> (f)
        c = Greater (a, zero)  out = MatMul (y, w) }""",
        SQUARE,
        {"flat": np.array([-1], np.int64)},
    ),
    "scalar_between": Trap(
        "scalar",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  s = ReduceMax <keepdims=0> (y)  e = Exp (s)  z = MatMul (y, w)  d = Div (z, e)
        out = MatMul (d, w) }""",
        SQUARE,
    ),
    "scalar_selects": Trap(
        "scalar",
        """g (float[1,64] x, bool c) => (float[1,64] out) {
        y = MatMul (x, w)  z = Neg (y)  out = Where (c, y, z) }""",
        SQUARE,
    ),
}

INTEGERS = {
    f"image_{dtype}": Trap(
        "integer",
        f"""g ({dtype}[1,32,32,3] x) => (float[1,16,1,1] out)
        <float k = {{{scale}}}> {{
        f = Cast <to=1> (x)  g = Div (f, k)  t = Transpose <perm=[0,3,1,2]> (g)
        a = Conv <pads=[1,1,1,1], strides=[2,2]> (t, w)  r = Relu (a)  b = Conv <pads=[1,1,1,1]> (r, w1)  q = Relu (b)
        out = GlobalAveragePool (q) }}""",
        {"w": (16, 3, 3, 3), "w1": (16, 16, 3, 3)},
        high=high,
    )
    for dtype, scale, high in (
        ("uint8", 255, 256),
        ("int8", 127, 128),
        ("uint16", 65535, 65536),
        ("int16", 32767, 32768),
        ("int32", 255, 256),
        ("int64", 255, 256),
        ("uint32", 255, 256),
    )
} | {
    "quantized_input": Trap(
        "integer",
        """g (uint8[1,3,16,16] x) => (float[1,8,16,16] out)
        <float s = {0.02}, uint8 z = {128}> {
        f = DequantizeLinear (x, s, z)  out = Conv <pads=[1,1,1,1]> (f, w) }""",
        CONV,
        high=256,
    ),
    "tokens": Trap(
        "integer",
        """g (int64[1,8] x, int64[1,8] m) => (float[1,8,32] out) <float one = {1}> {
        e = Gather (table, x)  y = MatMul (e, w)  f = Cast <to=1> (m)  u = Unsqueeze (f, last)  z = Mul (y, u)
        out = MatMul (z, v) }""",
        {"table": (100, 64), "w": (64, 64), "v": (64, 32)},
        {"last": np.array([-1], np.int64)},
    ),
}

INDICES = {
    "gather": Trap(
        "index",
        """g (float[1,64] x, int64[2] i) => (float[2,64] out) {
        y = MatMul (x, w)  out = Gather <axis=0> (y, i) }""",
        SQUARE,
        opset=13,
        high=1,
    ),
    "gather_nd": Trap(
        "index",
        """g (float[1,64] x, int64[2,1] i) => (float[2,64] out) {
        y = MatMul (x, w)  out = GatherND (y, i) }""",
        SQUARE,
        high=1,
    ),
    "gather_cast": Trap(
        "index",
        """g (float[1,64] x, int32[1,3] i) => (float[1,3] out) {
        y = MatMul (x, w)  j = Cast <to=7> (i)  k = Sub (j, one)  out = GatherElements <axis=1> (y, k) }""",
        SQUARE,
        {"one": np.array([5], np.int64)},
        high=6,
    ),
    "never_zero": Trap(
        "index",
        """g (float[1,64] x, int64[1] i) => (float[1,64] out) {
        y = MatMul (x, w)  k = Sub (i, two)  z = Gather <axis=0> (y, k)  out = Relu (z) }""",
        SQUARE,
        {"two": np.array([2], np.int64)},
        high=3,
    ),
}

OLD = {
    "upsample_8": Trap(
        "old",
        """g (float[1,3,16,16] x) => (float[1,4,32,32] out) {
        c = Conv <pads=[1,1,1,1]> (x, w)  u = Upsample <mode="nearest", scales=[1.0,1.0,2.0,2.0]> (c)
        out = Conv (u, v) }""",
        {"w": (16, 3, 3, 3), "v": (4, 16, 1, 1)},
        opset=8,
        ir=3,
    ),
    "upsample_7": Trap(
        "old",
        """g (float[1,3,16,16] x) => (float[1,4,32,32] out) {
        c = Conv <pads=[1,1,1,1]> (x, w)  u = Upsample <mode="linear", scales=[1.0,1.0,2.0,2.0]> (c)
        out = Conv (u, v) }""",
        {"w": (16, 3, 3, 3), "v": (4, 16, 1, 1)},
        opset=7,
        ir=3,
    ),
    "upsample_9": Trap(
        "old",
        """g (float[1,3,16,16] x) => (float[1,4,32,32] out) <float[4] s = {1,1,2,2}> {
        c = Conv <pads=[1,1,1,1]> (x, w)  u = Upsample <mode="nearest"> (c, s)  out = Conv (u, v) }""",
        {"w": (16, 3, 3, 3), "v": (4, 16, 1, 1)},
        opset=9,
        ir=4,
    ),
    "batch_norm_7": Trap(
        "old",
        """g (float[1,3,8,8] x) => (float[1,8,8,8] out) {
        c = Conv <pads=[1,1,1,1]> (x, w)  n = BatchNormalization <spatial=1, epsilon=0.001> (c, s, s, s, v)
        a = Relu (n)  b = Neg (c)  out = Add (a, b) }""",
        {"w": (8, 3, 3, 3), "s": (8,)},
        {"v": np.ones(8, np.float32)},
        opset=7,
        ir=3,
    ),
    "batch_norm_8_folded": Trap(
        "old",
        """g (float[1,3,8,8] x) => (float[1,8,8,8] out) {
        c = Conv <pads=[1,1,1,1]> (x, w)  n = BatchNormalization <spatial=1> (c, s, s, s, v)  out = Relu (n) }""",
        {"w": (8, 3, 3, 3), "s": (8,)},
        {"v": np.ones(8, np.float32)},
        opset=8,
        ir=3,
    ),
    "dropout_mask_8": Trap(
        "old",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  d, m = Dropout (y)  f = Cast <to=1> (m)  out = Add (d, f) }""",
        SQUARE,
        opset=8,
        ir=3,
    ),
    "scan_8": Trap(
        "old",
        """g (float[1,5,16] x) => (float[1,16] out) {
        h = MatMul (x, w)
        l, all = Scan ("", z, h) <num_scan_inputs=1, body = b (float[16] s, float[16] e) =>
            (float[16] s2, float[16] e2) { s2 = Add (s, e)  e2 = Identity (s2) }>
        out = MatMul (l, w) }""",
        {"w": (16, 16)},
        {"z": np.zeros((1, 16), np.float32)},
        opset=8,
        ir=3,
    ),
    "slice_top_k_9": Trap(
        "old",
        """g (float[1,64] x) => (float[1,4] out) {
        y = MatMul (x, w)  s = Slice <axes=[1], starts=[2], ends=[50]> (y)  out, i = TopK <k=4, axis=1> (s) }""",
        SQUARE,
        opset=9,
        ir=4,
    ),
    "slice_no_axes_8": Trap(
        "old",
        """g (float[1,64] x) => (float[1,48] out) {
        y = MatMul (x, w)  out = Slice <starts=[0,2], ends=[1,50]> (y) }""",
        SQUARE,
        opset=8,
        ir=3,
    ),
    "pools_8": Trap(
        "old",
        """g (float[1,3,16,16] x) => (float[1,8,8,8] out) {
        c = Conv <pads=[1,1,1,1]> (x, w)  p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (c)
        q = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1]> (p)  d = Dropout (q)  out = Conv (d, v) }""",
        {"w": (8, 3, 3, 3), "v": (8, 8, 1, 1)},
        opset=8,
        ir=3,
    ),
    "gemm_flatten_8": Trap(
        "old",
        """g (float[1,3,4,4] x) => (float[1,10] out) {
        f = Flatten (x)  m = Gemm (f, w, b)  p = PRelu (m, b)  s = Sum (p, m)  g = Greater (s, m)  h = Cast <to=1> (g)
        k = Softmax (s)  out = Max (h, k) }""",
        {"w": (48, 10), "b": (10,)},
        opset=8,
        ir=3,
    ),
    "upsample_in_a_loop_8": Trap(
        "old",
        """g (float[1,3,8,8] x, bool c) => (float[1,3,16,16] out) {
        y = Conv <pads=[1,1,1,1]> (x, w)
        out = If (c) <then_branch = t () => (float[1,3,16,16] o1) { o1 = Upsample <scales=[1.0,1.0,2.0,2.0]> (y) },
          else_branch = e () => (float[1,3,16,16] o2) { n = Neg (y)  o2 = Upsample <scales=[1.0,1.0,2.0,2.0]> (n) }> }""",
        {"w": (3, 3, 3, 3)},
        opset=8,
        ir=3,
    ),
}

DTYPES = {
    f"cast_{name}": Trap(
        "dtype",
        f"""g (float[1,64] x) => (float[1,64] out) {{
        y = MatMul (x, w)  n = Cast <to={kind}> (y)  f = Cast <to=1> (n)  out = MatMul (f, w) }}""",
        SQUARE,
        opset=opset,
        ir=10,
    )
    for name, kind, opset in (
        ("float8e4m3fn", 17, 19),
        ("float8e4m3fnuz", 18, 19),
        ("float8e5m2", 19, 19),
        ("float8e5m2fnuz", 20, 19),
        ("int4", 22, 21),
        ("uint4", 21, 21),
        ("bfloat16", 16, 19),
        ("string", 8, 19),
        ("float16", 10, 19),
        ("uint16", 4, 19),
        ("double", 11, 19),
    )
} | {
    "shared_float8": Trap(
        "dtype",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  n = Cast <to=17> (y)  f = Cast <to=1> (n)  h = Cast <to=10> (n)  p = MatMul (f, w)
        q = Cast <to=1> (h)  r = MatMul (q, w)  out = Add (p, r) }""",
        SQUARE,
        opset=19,
        ir=9,
    ),
    "float8_across_operators": Trap(
        "dtype",
        """g (float[1,64] x) => (float[1,64] out) <float s = {0.5}> {
        y = MatMul (x, w)  n = QuantizeLinear (y, s, z)  k = Identity (n)  t = Identity (k)
        v = DequantizeLinear (t, s, z)  out = MatMul (v, w) }""",
        SQUARE,
        opset=19,
        ir=9,
        change=lambda model: model.graph.initializer.append(
            onnx.helper.make_tensor("z", onnx.TensorProto.FLOAT8E4M3FN, [], [0.0])
        ),
    ),
    "blocked_int4_weight": Trap(
        "dtype",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  d = DequantizeLinear <axis=0> (q, s)  out = MatMul (y, d) }""",
        {"w": (64, 64), "s": (64,)},
        opset=21,
        ir=10,
        change=lambda model: model.graph.initializer.append(
            onnx.helper.make_tensor("q", onnx.TensorProto.INT4, [64, 64], np.arange(4096) % 16 - 8)
        ),
    ),
    "bfloat16_weight": Trap(
        "dtype",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  d = Cast <to=1> (q)  out = MatMul (y, d) }""",
        SQUARE,
        opset=19,
        ir=9,
        change=lambda model: model.graph.initializer.append(
            onnx.helper.make_tensor("q", onnx.TensorProto.BFLOAT16, [64, 64], np.linspace(-1, 1, 4096))
        ),
    ),
    "float8_weight": Trap(
        "dtype",
        """g (float[1,64] x) => (float[1,64] out) <float s = {0.5}> {
        y = MatMul (x, w)  d = DequantizeLinear (q, s)  out = MatMul (y, d) }""",
        SQUARE,
        opset=19,
        ir=9,
        change=lambda model: model.graph.initializer.append(
            onnx.helper.make_tensor("q", onnx.TensorProto.FLOAT8E4M3FN, [64, 64], np.linspace(-1, 1, 4096))
        ),
    ),
}

LOOP_BODY = "c2 = Identity (c)  s2 = Add (s, one)"
LOOPS = {
    "loop_state": Trap(
        "loop",
        f"""g (float[1,3,16,16] x) => (float[1,8] out)
        <int64 n = {{3}}, bool t = {{1}}, float one = {{1}}> {{
        y = Conv <pads=[1,1,1,1]> (x, w)  p = GlobalAveragePool (y)  a = Flatten (p)
        l = Loop (n, t, a) <body = b (int64 i, bool c, float[1,32] s) => (bool c2, float[1,32] s2) {{ {LOOP_BODY} }}>
        out = MatMul (l, v) }}""",
        {"w": (32, 3, 3, 3), "v": (32, 8)},
    ),
    "loop_state_no_shapes": Trap(
        "loop",
        f"""g (float[1,3,16,16] x) => (float[1,8] out)
        <int64 n = {{3}}, bool t = {{1}}, float one = {{1}}> {{
        y = Conv <pads=[1,1,1,1]> (x, w)  p = GlobalAveragePool (y)  a = Flatten (p)
        l = Loop (n, t, a) <body = b (int64 i, bool c, float[?,?] s) => (bool c2, float[?,?] s2) {{ {LOOP_BODY} }}>
        out = MatMul (l, v) }}""",
        {"w": (32, 3, 3, 3), "v": (32, 8)},
        change=_undeclared,
    ),
    "loop_scan": Trap(
        "loop",
        """g (float[1,64] x) => (float[3,1,64] out)
        <int64 n = {3}, bool t = {1}, float one = {1}> {
        y = MatMul (x, w)
        l, all = Loop (n, t, y) <body = b (int64 i, bool c, float[1,64] s) => (bool c2, float[1,64] s2, float[1,64] e) {
            c2 = Identity (c)  s2 = Add (s, one)  e = Relu (s) }>
        out = MatMul (all, w) }""",
        SQUARE,
    ),
    "loop_trip_input": Trap(
        "loop",
        """g (float[1,64] x, int64 n) => (float[1,64] out) <bool t = {1}, float one = {1}> {
        y = MatMul (x, w)
        l = Loop (n, t, y) <body = b (int64 i, bool c, float[1,64] s) => (bool c2, float[1,64] s2) {
            c2 = Identity (c)  s2 = Add (s, one) }>
        out = MatMul (l, w) }""",
        SQUARE,
    ),
    "while_loop": Trap(
        "loop",
        """g (float[1,64] x) => (float[1,64] out) <bool t = {1}, float one = {1}, float five = {5}> {
        y = MatMul (x, w)
        l = Loop ("", t, y) <body = b (int64 i, bool c, float[1,64] s) => (bool c2, float[1,64] s2) {
            s2 = Add (s, one)  m = ReduceMax <keepdims=0> (s2)  c2 = Less (m, five) }>
        out = MatMul (l, w) }""",
        SQUARE,
    ),
    "growing_loop": Trap(
        "loop",
        """g (float[1,64] x) => (float[1,64] out)
        <int64 n = {3}, bool t = {1}, float one = {1}> {
        y = MatMul (x, w)
        l = Loop (n, t, y) <body = b (int64 i, bool c, float[?,64] s) => (bool c2, float[?,64] s2) {
            c2 = Identity (c)  s2 = Concat <axis=0> (s, s) }>
        m = ReduceMax <axes=[0], keepdims=1> (l)  out = MatMul (m, w) }""",
        SQUARE,
        opset=13,
    ),
    "scan": Trap(
        "loop",
        """g (float[5,1,16] x) => (float[5,1,16] out) {
        h = MatMul (x, w)
        l, all = Scan (z, h) <num_scan_inputs=1, body = b (float[1,16] s, float[1,16] e) =>
            (float[1,16] s2, float[1,16] e2) { a = Add (s, e)  s2 = Tanh (a)  e2 = Identity (s2) }>
        k = MatMul (all, w)  out = Add (k, l) }""",
        {"w": (16, 16)},
        {"z": np.zeros((1, 16), np.float32)},
    ),
    "loop_in_a_loop": Trap(
        "loop",
        """g (float[1,64] x) => (float[1,64] out)
        <int64 n = {2}, bool t = {1}, float one = {1}> {
        y = MatMul (x, w)
        l = Loop (n, t, y) <body = b (int64 i, bool c, float[1,64] s) => (bool c2, float[1,64] s2) {
            c2 = Identity (c)
            s2 = Loop (n, t, s) <body = k (int64 j, bool d, float[1,64] q) => (bool d2, float[1,64] q2) {
                d2 = Identity (d)  r = Add (q, one)  q2 = Min (r, y) }> }>
        out = MatMul (l, w) }""",
        SQUARE,
    ),
    "if_undeclared": Trap(
        "loop",
        """g (float[1,64] x, bool c) => (float[1,64] out) {
        y = MatMul (x, w)
        b = If (c) <then_branch = t () => (float[?,?] o1) { o1 = Neg (y) },
                    else_branch = e () => (float[?,?] o2) { o2 = Identity (y) }>
        out = MatMul (b, w) }""",
        SQUARE,
        change=_undeclared,
    ),
    "if_of_two_shapes": Trap(
        "loop",
        """g (float[1,64] x, bool c) => (float out) {
        y = MatMul (x, w)
        b = If (c) <then_branch = t () => (float[?,?] o1) { o1 = Concat <axis=0> (y, y) },
                    else_branch = e () => (float[?,?] o2) { o2 = Identity (y) }>
        z = MatMul (b, w)  out = ReduceMax <keepdims=0> (z) }""",
        SQUARE,
    ),
}

TRAPS: Mapping[str, Trap] = {**UNREAD, **BODIES, **SCALARS, **INTEGERS, **INDICES, **OLD, **DTYPES, **LOOPS}
