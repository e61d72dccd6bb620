"""Models of every element type and of classifiers, texts and containers are served whole and split, or refused in a sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgesplit.errors import EdgesplitError, InvalidModel
from edgesplit.wire.tensors import TRAVELLING, check_inputs, widened
from edgesplit_controller.graph.cut import cut
from edgesplit_controller.graph.runner import open_session, refusal_of, run_session
from tests.controller.splitting import Arrays, SplitModel
from tests.graph.support import assert_close
from tests.graph.traps import CLASSIFIERS, TRAPS, Trap, random_inputs
from tests.graph.traps.elements import ELEMENTS, SHAPES_OF_USE, element_model

ROUNDING = {"float16": 2e-3, "bfloat16": 2e-2}
"""What a value may move, as a fraction of an output's range, where a cut has onnxruntime round that it rounds less often
inside a component. [1]"""


def at_every_place(split: SplitModel, inputs: Arrays, expected: Arrays, relative: float) -> int:
    """Cut behind every operator where all that crosses may travel; returns how many such places there are."""
    graph = split.record.graph
    names = [operator.name for operator in graph.operators]
    given = check_inputs(split.record.inputs, inputs)
    places = 0
    for place in range(1, len(names)):
        before, behind = set(names[:place]), set(names[place:])
        crossing = [
            one for one in graph.tensors.values() if one.producer in before and behind.intersection(one.consumers)
        ]
        if not all(tensor.cuttable for tensor in crossing):
            continue
        parts = cut(graph.proto, [names[:place], names[place:]], graph.tensors)
        values = dict(given)
        for part in parts:
            session = open_session(part.proto, split.blobs)
            values |= run_session(session, part.outputs, {name: values[name] for name in part.inputs})
        assert_close({name: values[name] for name in expected}, expected, relative)
        places += 1
    return places


def check(proto: onnx.ModelProto, folder: Path, inputs: Arrays, relative: float = 1e-4) -> SplitModel:
    """Take in, profile, serve whole and split."""
    split = SplitModel(proto, folder)
    expected = split.original(inputs)
    split.run_offer()
    assert_close(split.local(inputs), expected, relative)
    for seed in range(3):
        assert_close(split.split(inputs, seed), expected, relative)
    at_every_place(split, inputs, expected, relative)
    return split


def runs(proto: onnx.ModelProto, folder: Path) -> bool:
    """Whether onnxruntime loads it."""
    file = folder / "asked.onnx"
    onnx.save(proto, file)
    return refusal_of(file) is None


@pytest.mark.parametrize("element", ELEMENTS)
def test_what_onnxruntime_runs_in_a_type_is_served_and_what_it_refuses_is_refused_in_a_sentence(
    element: str, tmp_path: Path
) -> None:
    served = 0
    for use in SHAPES_OF_USE:
        folder = tmp_path / use
        folder.mkdir()
        proto = element_model(element, use).proto()
        if runs(proto, folder):
            check(proto, folder, random_inputs(proto), ROUNDING.get(element, 1e-4))
            served += 1
        else:
            with pytest.raises(InvalidModel, match="onnxruntime does not load the model") as caught:
                SplitModel(proto, folder)
            assert "\n" not in str(caught.value)
    assert served >= LEAST_SERVED.get(element, 9)


LEAST_SERVED = {
    "bfloat16": 7,
    **dict.fromkeys(("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"), 3),
    **dict.fromkeys(("int4", "uint4", "float4e2m1"), 0),
}
"""Types under which onnxruntime's processor kernels run less."""


@pytest.mark.parametrize("element", ELEMENTS)
def test_a_type_at_the_ends_of_a_model_travels_or_is_refused_by_name(element: str, tmp_path: Path) -> None:
    proto = element_model(element, "ends").proto()
    name = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(ELEMENTS[element])).name
    if name in TRAVELLING or element == "string":
        check(proto, tmp_path, random_inputs(proto), ROUNDING.get(element, 1e-4))
        return
    with pytest.raises(InvalidModel, match="which requests cannot hold") as caught:
        SplitModel(proto, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_with_labels_and_probabilities(name: str, tmp_path: Path) -> None:
    trap = CLASSIFIERS[name]
    proto = trap.proto()
    split = check(proto, tmp_path, random_inputs(proto))
    kinds = {spec.name: spec.dtype for spec in split.record.outputs}
    if "output_probability" in kinds:
        assert kinds["output_probability"] == "float32"
        classes = "0, 1, 2" if "numbers" in name else "setosa, versicolor, virginica"
        assert f"its columns are {classes}" in split.warnings


def test_a_sequence_as_an_output_is_refused_in_a_sentence(tmp_path: Path) -> None:
    trap = Trap(
        "container",
        """g (float[1,64] x) => (seq(float[1,64]) s) { s = SequenceConstruct (x, x) }""",
    )
    with pytest.raises(InvalidModel, match="output s is a sequence") as caught:
        SplitModel(trap.proto(), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_in_half_precision_is_not_offered_in_int8_and_says_so(tmp_path: Path) -> None:
    trap = Trap(
        "element",
        "g (float16[1,64] x) => (float16[1,64] out) { y = MatMul (x, w)  r = Relu (y)  out = MatMul (r, w) }",
        {},
        {"w": np.random.default_rng(0).random((64, 64)).astype(np.float16)},
    )
    split = check(trap.proto(), tmp_path, random_inputs(trap.proto()), ROUNDING["float16"])
    assert split.quantizable == ()
    assert "MatMul compute in float16" in split.warnings


def test_bfloat16_comes_and_goes_as_its_own_type(tmp_path: Path) -> None:
    proto = element_model("bfloat16", "ends").proto()
    split = SplitModel(proto, tmp_path)
    inputs = random_inputs(proto)
    answer = split.split(inputs, 1)
    assert np.array_equal(widened(answer["out"]), inputs["x"].astype(np.float32))


def test_a_model_written_for_an_opset_beyond_this_onnxruntime_is_refused_by_both_numbers(tmp_path: Path) -> None:
    trap = Trap("element", "g (float[1,4] x) => (float[1,4] out) { out = Relu (x) }", opset=126)
    with pytest.raises(
        InvalidModel, match=r"onnxruntime \S+, which knows opset up to \d+; this model needs 126"
    ) as caught:
        SplitModel(trap.proto(), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opset", range(7, 30))
def test_every_opset_that_onnxruntime_knows_is_taken(opset: int, tmp_path: Path) -> None:
    trap = Trap(
        "old",
        "g (float[1,64] x) => (float[1,64] out) { y = MatMul (x, w)  out = Relu (y) }",
        {"w": (64, 64)},
        opset=opset,
    )
    proto = trap.proto()
    if runs(proto, tmp_path):
        check(proto, tmp_path, random_inputs(proto))
    else:
        with pytest.raises(EdgesplitError):
            SplitModel(proto, tmp_path)
    assert onnxruntime.__version__


def opened(trap: Trap) -> Trap:
    """The same with an open batch wherever it had one of 1."""
    text = trap.text
    for before, after in (("[1,", "[N,"), ("string[1] label", "string[N] label")):
        text = text.replace(before, after)
    return dataclasses.replace(trap, text=text)


OPEN = {
    **{name: CLASSIFIERS[name] for name in ("linear_open_rows", "tree_open_rows")},
    **{name: opened(TRAPS[name]) for name in ("terms", "label_encoder_of_texts")},
    **{name: opened(TRAPS[name]) for name in ("pairs", "operators", "dynamic", "blocks_of_4_bits")},
    **{name: opened(TRAPS[name]) for name in ("split_and_join", "sequence_map", "optional_value", "functions")},
    **{
        f"{element}_in_a_loop": opened(element_model(element, "loops"))
        for element in ("bfloat16", "float8e5m2", "uint16")
    },
    "texts_both_open": Trap(
        "texts", "g (string[N,K] x) => (string[K,N] out, int64[2] sizes) { out = Transpose (x)  sizes = Shape (x) }"
    ),
}


@pytest.mark.parametrize("name", OPEN)
def test_types_and_open_batches_go_together(name: str, tmp_path: Path) -> None:
    proto = OPEN[name].proto()
    split = SplitModel(proto, tmp_path)
    assert any(size < 0 for spec in split.record.inputs for size in spec.shape)
    split.run_offer()
    for rows in (1, 4):
        sized = onnx.ModelProto.FromString(proto.SerializeToString())
        for value in sized.graph.input:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:
                    dim.dim_value = rows if dim.dim_param == "N" else 3
        inputs = random_inputs(sized)
        expected = split.original(inputs)
        relative = ROUNDING["bfloat16"] if "bfloat16" in name else 1e-4
        assert_close(split.local(inputs), expected, relative)
        for seed in range(3):
            assert_close(split.split(inputs, seed), expected, relative)
