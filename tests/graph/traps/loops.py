"""What loops and branches yield, declared or not."""

from __future__ import annotations

import numpy as np

from tests.graph.traps.trap import SQUARE, Trap, undeclared

__all__ = ["LOOPS"]

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
        change=undeclared,
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
    "ifundeclared": Trap(
        "loop",
        """g (float[1,64] x, bool c) => (float[1,64] out) {
        y = MatMul (x, w)
        b = If (c) <then_branch = t () => (float[?,?] o1) { o1 = Neg (y) },
                    else_branch = e () => (float[?,?] o2) { o2 = Identity (y) }>
        out = MatMul (b, w) }""",
        SQUARE,
        change=undeclared,
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
    "declared_state_of_a_body_that_inference_does_not_know": Trap(
        "loop",
        """g (float[1,64] x) => (float[1,32] out) <int64 n = {3}, bool t = {1}, float[1,64] l> {
        y = MatMul (x, w)
        l = Loop (n, t, y) <body = b (int64 i, bool c, float[1,64] s) => (bool c2, float[1,64] s2) {
            c2 = Identity (c)  s2 = com.microsoft.Gelu (s) }>
        out = MatMul (l, v) }""",
        {"w": (64, 64), "v": (64, 32)},
    ),
}
