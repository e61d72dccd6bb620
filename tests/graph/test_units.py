"""Which operators stay together, and where a cut stays possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgesplit_controller.graph.model_graph import GraphOperator, GraphTensor, Unit
from edgesplit_controller.graph.units import find_units, kept_whole

Wiring = Sequence[tuple[str, str, Sequence[str], Sequence[str]]]


def graph(
    wiring: Wiring, sizes: Mapping[str, int], outputs: Sequence[str], dtypes: Mapping[str, str] | None = None
) -> tuple[list[GraphOperator], dict[str, GraphTensor]]:
    """Operators (name, type, inputs, outputs) and tensors of the given sizes; a negative size is open."""
    operators = [
        GraphOperator(name, kind, tuple(reads), tuple(makes), 0, 1000 if kind in ("Conv", "MatMul") else 1)
        for name, kind, reads, makes in wiring
    ]
    producer = {name: operator.name for operator in operators for name in operator.outputs}
    tensors: dict[str, GraphTensor] = {}
    for name, size in sizes.items():
        dtype = (dtypes or {}).get(name, "float32")
        readers = tuple(operator.name for operator in operators if name in operator.inputs)
        shape, nbytes = ((size,), 4 * size) if size >= 0 else ((-1,), 0)
        tensors[name] = GraphTensor(name, dtype, shape, nbytes, producer.get(name), readers, name in outputs)
    return operators, tensors


def groups(units: Sequence[Unit]) -> list[str]:
    return ["+".join(unit.operators) for unit in units]


CONV_BN_RELU: Wiring = [
    ("conv", "Conv", ["x"], ["a"]),
    ("bn", "BatchNormalization", ["a"], ["b"]),
    ("relu", "Relu", ["b"], ["c"]),
    ("conv2", "Conv", ["c"], ["y"]),
]
EVEN = dict.fromkeys(["x", "a", "b", "c", "y"], 100)


def test_what_onnxruntime_fuses_behind_a_convolution_joins_it() -> None:
    units = find_units(*graph(CONV_BN_RELU, EVEN, ["y"]), [])
    assert groups(units) == ["conv+bn+relu", "conv2"]
    assert [unit.name for unit in units] == ["conv", "conv2"]
    assert units[0].inputs == ("x",)
    assert units[0].outputs == ("c",)


def test_a_quantizable_operators_output_stays_a_cut() -> None:
    units = find_units(*graph(CONV_BN_RELU, EVEN, ["y"]), ["conv", "conv2"])
    assert groups(units) == ["conv", "bn+relu", "conv2"]


def test_both_ways_of_silu_join() -> None:
    wiring: Wiring = [
        ("conv", "Conv", ["x"], ["a"]),
        ("sigmoid", "Sigmoid", ["a"], ["b"]),
        ("mul", "Mul", ["a", "b"], ["c"]),
        ("conv2", "Conv", ["c"], ["y"]),
    ]
    assert groups(find_units(*graph(wiring, EVEN, ["y"]), [])) == ["conv+sigmoid+mul", "conv2"]
    assert groups(find_units(*graph(wiring, EVEN, ["y"]), ["conv"])) == ["conv", "sigmoid+mul", "conv2"]


def test_a_tensor_with_other_readers_stays_a_cut() -> None:
    wiring: Wiring = [
        ("conv", "Conv", ["x"], ["a"]),
        ("relu", "Relu", ["a"], ["b"]),
        ("conv2", "Conv", ["b"], ["c"]),
        ("conv3", "Conv", ["a"], ["y"]),
    ]
    assert groups(find_units(*graph(wiring, EVEN, ["c", "y"]), [])) == ["conv", "relu", "conv2", "conv3"]


def test_a_model_output_stays_a_cut() -> None:
    units = find_units(*graph(CONV_BN_RELU, EVEN, ["a", "y"]), [])
    assert groups(units) == ["conv", "bn+relu", "conv2"]


def test_views_and_growing_operators_join_what_reads_them() -> None:
    wiring: Wiring = [
        ("conv", "Conv", ["x"], ["a"]),
        ("pad", "Pad", ["a"], ["b"]),
        ("conv2", "Conv", ["b"], ["y"]),
        ("conv3", "Conv", ["a"], ["c"]),
    ]
    sizes = {**EVEN, "b": 150}
    assert groups(find_units(*graph(wiring, sizes, ["y", "c"]), [])) == ["conv", "pad+conv2", "conv3"]


def test_an_operator_that_makes_more_does_not_join_what_feeds_it() -> None:
    wiring: Wiring = [("conv", "Conv", ["x"], ["a"]), ("up", "Resize", ["a"], ["y"])]
    assert groups(find_units(*graph(wiring, {"x": 100, "a": 100, "y": 400}, ["y"]), [])) == ["conv", "up"]


def test_a_decomposed_normalisation_is_one_unit() -> None:
    wiring: Wiring = [
        ("first", "MatMul", ["x"], ["a"]),
        ("mean", "ReduceMean", ["a"], ["m"]),
        ("sub", "Sub", ["a", "m"], ["d"]),
        ("pow", "Pow", ["d"], ["p"]),
        ("var", "ReduceMean", ["p"], ["v"]),
        ("sqrt", "Sqrt", ["v"], ["s"]),
        ("div", "Div", ["d", "s"], ["n"]),
        ("second", "MatMul", ["n"], ["b"]),
        ("skip", "Add", ["a", "b"], ["y"]),
    ]
    sizes = {**dict.fromkeys("xadpnby", 100), "m": 10, "v": 10, "s": 10}
    units = find_units(*graph(wiring, sizes, ["y"]), [])
    assert groups(units) == ["first", "mean+sub+pow+var+sqrt+div", "second", "skip"]


def test_arithmetic_on_weights_joins_its_reader() -> None:
    wiring: Wiring = [("scale", "Mul", [], ["w"]), ("product", "MatMul", ["x", "w"], ["y"])]
    assert groups(find_units(*graph(wiring, {"x": 10, "w": 1000, "y": 10}, ["y"]), [])) == ["scale+product"]


def test_a_small_index_is_no_cut_but_two_heavy_units_stay_apart() -> None:
    wiring: Wiring = [
        ("conv", "Conv", ["x"], ["a"]),
        ("find", "ArgMax", ["a"], ["i"]),
        ("pick", "Gather", ["a", "i"], ["b"]),
        ("other", "Conv", ["z"], ["y"]),
        ("pick2", "Gather", ["y", "i"], ["c"]),
    ]
    sizes = dict.fromkeys("xabcyz", 1000) | {"i": 4}
    units = find_units(*graph(wiring, sizes, ["b", "c"], {"i": "int64"}), [])
    assert "find+pick+pick2" in groups(units)
    assert "conv" in groups(units)


def test_what_cannot_travel_ties_everything_on_its_ways() -> None:
    wiring: Wiring = [
        ("before", "Conv", ["x"], ["a"]),
        ("open", "NonZero", ["a"], ["o"]),
        ("close", "ReduceSum", ["o"], ["b"]),
        ("between", "Conv", ["b"], ["c"]),
        ("again", "Mul", ["o", "c"], ["d"]),
        ("after", "Conv", ["e"], ["y"]),
        ("last", "ReduceSum", ["d"], ["e"]),
    ]
    sizes = dict.fromkeys("xabcey", 100) | {"o": -1, "d": -1}
    operators, tensors = graph(wiring, sizes, ["y"])
    assert kept_whole(operators, tensors) == (frozenset({"open", "close", "between", "again", "last"}),)
    units = find_units(operators, tensors, ["between"])
    assert sorted(groups(units)) == ["after", "before", "open+close+between+again+last"]


def test_an_open_output_binds_its_unit_to_the_source() -> None:
    wiring: Wiring = [("conv", "Conv", ["x"], ["a"]), ("open", "NonZero", ["a"], ["o"])]
    units = find_units(*graph(wiring, {"x": 100, "a": 100, "o": -1}, ["o", "a"]), [])
    assert [unit.at_source for unit in units] == [False, True]
