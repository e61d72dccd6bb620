"""Values that are no tensors (sequences, optionals), sparse weights, sizes of zero, functions, what was quantized before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.graph.traps.trap import SQUARE, Trap

__all__ = ["CONTAINERS", "EMPTY", "QUANTIZED"]


def _sparse(name: str) -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(np.array([1.5, -2.0, 3.0], np.float32), name)
    places = numpy_helper.from_array(np.array([1, 20, 63], np.int64), f"{name}_places")
    return helper.make_sparse_tensor(values, places, [1, 64])


def _sparse_constant(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Constant")
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("sparse_value", _sparse("")))


def _with_function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Add", ["a", "a"], ["s"]), helper.make_node("Relu", ["s"], ["b"])]
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("my.own", "Twice", ["a"], ["b"], body, imports))
    model.opset_import.append(helper.make_opsetid("my.own", 1))


CONTAINERS = {
    "split_and_join": Trap(
        "container",
        """g (float[1,64] x) => (float[1,64] out) <int64 n = {16}, int64 two = {2}> {
        y = MatMul (x, w)  s = SplitToSequence <axis=1> (y, n)  e = SequenceAt (s, two)  t = SequenceInsert (s, e)
        u = SequenceErase (t, two)  j = ConcatFromSequence <axis=1> (u)  out = MatMul (j, w) }""",
        SQUARE,
    ),
    "length": Trap(
        "container",
        """g (float[1,64] x) => (float[1,64] out, int64 length) {
        y = MatMul (x, w)  s = SequenceConstruct (x, y)  length = SequenceLength (s)
        j = ConcatFromSequence <axis=0> (s)  m = ReduceSum <keepdims=1> (j, first)  out = MatMul (m, w) }""",
        SQUARE,
        {"first": np.array([0], np.int64)},
    ),
    "sequence_state": Trap(
        "open",
        """g (float[1,64] x) => (float[1,256] out) <int64 n = {3}> {
        y = MatMul (x, w)  s = SequenceConstruct (y)
        t = Loop (n, "", s) <body = b (int64 i, bool go, seq(float[1,64]) q) => (bool on, seq(float[1,64]) q2) {
            on = Identity (go)  q2 = SequenceInsert (q, y) }>
        out = ConcatFromSequence <axis=1> (t) }""",
        SQUARE,
    ),
    "sequence_map": Trap(
        "container",
        """g (float[1,64] x) => (float[1,64] out) <int64 n = {16}> {
        y = MatMul (x, w)  s = SplitToSequence <axis=1> (y, n)
        t = SequenceMap (s) <body = b (float[1,16] q) => (float[1,16] r) { r = Neg (q) }>
        j = ConcatFromSequence <axis=1> (t)  out = MatMul (j, w) }""",
        SQUARE,
        opset=18,
    ),
    "optional_value": Trap(
        "container",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  o = Optional (y)  h = OptionalHasElement (o)  v = OptionalGetElement (o)
        f = Cast <to=1> (h)  m = Mul (v, f)  out = MatMul (m, w) }""",
        SQUARE,
        opset=18,
    ),
    "branches_of_sequences": Trap(
        "open",
        """g (float[1,64] x) => (float[2,64] out) <float zero = {0.0}> {
        y = MatMul (x, w)  m = ReduceSum <keepdims=0> (y)  c = Greater (m, zero)
        s = If (c) <then_branch = a () => (seq(float[1,64]) o1) { o1 = SequenceConstruct (x, y) },
          else_branch = b () => (seq(float[1,64]) o2) { o2 = SequenceConstruct (y, x) }>
        out = ConcatFromSequence <axis=0> (s) }""",
        SQUARE,
    ),
    "sparse_constant": Trap(
        "container",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  k = Constant <value=float {0.0}> ()  out = Add (y, k) }""",
        SQUARE,
        change=_sparse_constant,
    ),
    "sparse_weight": Trap(
        "container",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  z = Add (y, b)  out = MatMul (z, w) }""",
        SQUARE,
        change=lambda model: model.graph.sparse_initializer.append(_sparse("b")),
    ),
    "left_out_inputs": Trap(
        "container",
        """g (float[1,3,8,8] x) => (float[1,3,16,16] out, float[1,3,8,8] clipped) <float[4] s = {1,1,2,2}, float high = {0.5}> {
        c = Conv <pads=[1,1,1,1]> (x, w)  out = Resize (c, "", s)  clipped = Clip (c, "", high) }""",
        {"w": (3, 3, 3, 3)},
    ),
    "functions": Trap(
        "container",
        """g (float[1,64] x) => (float[1,64] out) {
        y = MatMul (x, w)  z = my.own.Twice (y)  out = MatMul (z, w) }""",
        SQUARE,
        change=_with_function,
    ),
}


EMPTY = {
    "nothing_taken": Trap(
        "empty",
        """g (float[1,64] x) => (float[1,64] out, float[1,0] none) {
        y = MatMul (x, w)  none = Slice (y, at, at, last)  j = Concat <axis=1> (y, none)  out = MatMul (j, w) }""",
        SQUARE,
        {"at": np.array([3], np.int64), "last": np.array([1], np.int64)},
    ),
    "no_rows": Trap(
        "empty",
        """g (float[1,64] x) => (float[1,64] out, float[0,64] none) {
        y = MatMul (x, w)  none = MatMul (e, w)  s = ReduceSum <keepdims=1> (none, first)  out = Add (y, s) }""",
        SQUARE,
        {"e": np.zeros((0, 64), np.float32), "first": np.array([0], np.int64)},
    ),
    "no_such_places": Trap(
        "empty",
        """g (float[1,64] x) => (float[1,64] out, int64[2,N] places) <float[1] big = {1000.0}> {
        y = MatMul (x, w)  g = Greater (y, big)  places = NonZero (g)  out = MatMul (y, w) }""",
        SQUARE,
    ),
}


def _codes(model: onnx.ModelProto) -> None:
    weight = np.random.default_rng(1).integers(-127, 128, (64, 64)).astype(np.int8)
    model.graph.initializer.append(numpy_helper.from_array(weight, "q"))


def _zero_of(kind: int) -> Callable[[onnx.ModelProto], None]:
    """Add the zero point of a type."""
    return lambda model: model.graph.initializer.append(helper.make_tensor("z", kind, [], [0]))


QUANTIZED = {
    "pairs": Trap(
        "quantized",
        """g (float[1,64] x) => (float[1,64] out) <float s = {0.02}, float k = {0.001}, uint8 z = {128}, int8 o = {0}> {
        a = QuantizeLinear (x, s, z)  b = DequantizeLinear (a, s, z)  d = DequantizeLinear (q, k, o)
        y = MatMul (b, d)  c = QuantizeLinear (y, s, z)  e = DequantizeLinear (c, s, z)  out = MatMul (e, d) }""",
        change=_codes,
    ),
    "operators": Trap(
        "quantized",
        """g (float[1,64] x) => (float[1,64] out) <float s = {0.02}, float k = {0.001}, uint8 z = {128}, int8 o = {0}> {
        a = QuantizeLinear (x, s, z)  y = QLinearMatMul (a, s, z, q, k, o, s, z)
        t = QLinearMatMul (y, s, z, q, k, o, s, z)  out = DequantizeLinear (t, s, z) }""",
        change=_codes,
    ),
    "dynamic": Trap(
        "quantized",
        """g (float[1,64] x) => (float[1,64] out) <float k = {0.001}, int8 o = {0}> {
        a, s, z = DynamicQuantizeLinear (x)  y = MatMulInteger (a, q, z, o)  f = Cast <to=1> (y)  m = Mul (s, k)
        r = Mul (f, m)  b, t, u = DynamicQuantizeLinear (r)  h = MatMulInteger (b, q, u, o)  g = Cast <to=1> (h)
        n = Mul (t, k)  out = Mul (g, n) }""",
        change=_codes,
    ),
    "convolution": Trap(
        "quantized",
        """g (float[1,3,8,8] x) => (float[1,4,8,8] out) <float k = {0.01}> {
        a, s, z = DynamicQuantizeLinear (x)  y = ConvInteger <pads=[1,1,1,1]> (a, c, z)  f = Cast <to=1> (y)
        m = Mul (s, k)  out = Mul (f, m) }""",
        {},
        {"c": (np.arange(108) % 200).reshape(4, 3, 3, 3).astype(np.uint8)},
    ),
    "blocks_of_4_bits": Trap(
        "quantized",
        """g (float[1,64] x) => (float[1,64] out) {
        y = com.microsoft.MatMulNBits <K=64, N=64, bits=4, block_size=32> (x, p, b)  out = MatMul (y, w) }""",
        {"w": (64, 64), "b": (128,)},
        {"p": (np.arange(64 * 2 * 16) % 251).reshape(64, 2, 16).astype(np.uint8)},
    ),
} | {
    f"pairs_{name}": Trap(
        "quantized",
        """g (float[1,64] x) => (float[1,64] out) <float s = {0.05}> {
        y = MatMul (x, w)  a = QuantizeLinear (y, s, z)  b = DequantizeLinear (a, s, z)  r = Relu (b)
        c = QuantizeLinear (r, s, z)  d = DequantizeLinear (c, s, z)  out = MatMul (d, w) }""",
        SQUARE,
        opset=21,
        ir=10,
        change=_zero_of(kind),
    )
    for name, kind in (
        ("int8", TensorProto.INT8),
        ("int16", TensorProto.INT16),
        ("uint16", TensorProto.UINT16),
        ("int4", TensorProto.INT4),
        ("uint4", TensorProto.UINT4),
        ("float8e4m3fn", TensorProto.FLOAT8E4M3FN),
        ("float8e5m2", TensorProto.FLOAT8E5M2),
    )
}
