"""Outputs that have a name and no reader."""

from __future__ import annotations

from tests.graph.traps.trap import SQUARE, Trap

__all__ = ["UNREAD"]

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
