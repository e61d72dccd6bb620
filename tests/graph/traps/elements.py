"""Every element type of ONNX under operators of every kind.

Owns: the product of both. Its rule: what onnxruntime runs of it is served, what it refuses is refused in a sentence; which is
which, onnxruntime says.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import TensorProto

from tests.graph.traps.trap import SQUARE, Trap

__all__ = ["ELEMENTS", "SHAPES_OF_USE", "element_model"]

ELEMENTS: Mapping[str, int] = {
    name: TensorProto.DataType.Value(name.upper())
    for name in (
        *("float", "double", "float16", "bfloat16"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "string"),
        *("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "int4", "uint4", "float4e2m1"),
    )
}
"""ONNX's numbers of its element types."""

SHAPES_OF_USE: Mapping[str, str] = {
    "passed_on": "m = Identity (n)",
    "views": """r = Reshape (n, flat)  u = Unsqueeze (r, first)  t = Transpose <perm=[1,0]> (u)  s = Squeeze (t, last)
        m = Reshape (s, back)""",
    "sums": "a = Add (n, n)  m = Sub (a, n)",
    "products": "a = Mul (n, n)  m = Sub (a, n)",
    "bounds": "a = Max (n, n)  b = Min (a, n)  m = Relu (b)",
    "choices": "e = Equal (n, n)  m = Where (e, n, n)",
    "parts": """a, b = Split <axis=1> (n, halves)  c = Concat <axis=1> (b, a)  m = Gather <axis=1> (c, order)""",
    "slices": "a = Slice (n, begin, end, last)  b = Slice (n, zero, begin, last)  m = Concat <axis=1> (a, b)",
    "padded": "a = Pad (n, pads)  m = Slice (a, zero, end, last)",
    "matrices": "t = Transpose <perm=[1,0]> (n)  a = MatMul (n, t)  m = MatMul (a, n)",
    "logic": "a = Not (n)  b = And (a, n)  m = Or (b, n)",
    "branches": """g = ReduceSum <keepdims=0> (y)  c = Greater (g, nothing)
        m = If (c) <then_branch = p () => ({t}[1,64] o1) {{ o1 = Identity (n) }},
            else_branch = q () => ({t}[1,64] o2) {{ o2 = Identity (n) }}>""",
    "loops": """m = Loop (two, "", n) <body = b (int64 i, bool go, {t}[1,64] s) => (bool on, {t}[1,64] s2) {{
            on = Identity (go)  s2 = Identity (s) }}>""",
    "sequences": "s = SequenceConstruct (n, n)  m = SequenceAt (s, one)",
    "optionals": "o = Optional (n)  m = OptionalGetElement (o)",
}
"""What is done to a tensor `n` of the type `t` to make `m`, of the same type and shape."""

_CONSTANTS = """int64[1] flat = {-1}, int64[1] first = {0}, int64[1] last = {1}, int64[2] back = {1,64},
    int64[2] halves = {32,32}, int64[1] begin = {20}, int64[1] end = {64}, int64[1] zero = {0}, int64[4] pads = {0,0,0,3},
    float nothing = {0.0}, int64 two = {2}, int64 one = {1}, float eight = {8.0}"""
_OPSET, _IR = 21, 10
_NEWEST = {"float4e2m1": (23, 11)}


def element_model(element: str, use: str) -> Trap:
    """One element type under one use; `ends` has it as input and output of the model, too."""
    opset, ir = _NEWEST.get(element, (_OPSET, _IR))
    kind = ELEMENTS[element]
    if use == "ends":
        # A word is no number.
        floats = (
            'f = ai.onnx.ml.LabelEncoder <keys_strings=["b"], values_floats=[2.0]> (x)'
            if kind == 8
            else "f = Cast <to=1> (x)"
        )
        text = f"""g ({element}[1,64] x) => ({element}[1,64] out, float[1,64] y) {{
            {floats}  y = MatMul (f, w)  out = Identity (x) }}"""
        return Trap("element", text, SQUARE, opset=opset, ir=ir)
    done = SHAPES_OF_USE[use].replace("{t}", element).replace("{{", "{").replace("}}", "}")
    order = ",".join(str(63 - place) for place in range(64))
    text = f"""g (float[1,64] x) => (float[1,64] out) <{_CONSTANTS}, int64[64] order = {{{order}}}> {{
        y = MatMul (x, w)  a0 = Abs (y)  a1 = Mul (a0, eight)  n = Cast <to={kind}> (a1)  {done}
        f = Cast <to=1> (m)  z = MatMul (f, w)  out = Relu (z) }}"""
    return Trap("element", text, SQUARE, opset=opset, ir=ir)
