"""Inputs of rank 0, integers that are numbers, and integers that select."""

from __future__ import annotations

import numpy as np

from tests.graph.traps.trap import CONV, SQUARE, Trap

__all__ = ["INDICES", "INTEGERS", "SCALARS"]

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
