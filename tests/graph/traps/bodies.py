"""Bodies of If, Loop and Scan that read what is around them, and what they yield."""

from __future__ import annotations

import numpy as np

from tests.graph.traps.trap import SQUARE, Trap

__all__ = ["BODIES"]

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
