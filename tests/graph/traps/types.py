"""Opsets from before the present form of operators, and element types that do not travel."""

from __future__ import annotations

import numpy as np
import onnx

from tests.graph.traps.trap import SQUARE, Trap

__all__ = ["DTYPES", "OLD"]

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
