"""Planning shapes that a user names: shapes of several inputs belong together in their order."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgesplit.errors import InvalidInput
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.intake.stages import take_in
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.named_shapes import Shape, combined_shapes
from edgesplit_controller.models.submission import Submission

SMALL, LARGE = (1, 3, 48, 320), (1, 3, 48, 640)


def test_one_shape_is_one_planning_shape_and_none_is_none() -> None:
    assert combined_shapes({"x": [SMALL]}) == ({"x": SMALL},)
    assert combined_shapes({}) == ()
    assert combined_shapes({"x": []}) == ()


def test_several_shapes_of_one_input_are_several_planning_shapes_each_once() -> None:
    assert combined_shapes({"x": [SMALL, LARGE, SMALL]}) == ({"x": SMALL}, {"x": LARGE})


def test_shapes_of_several_inputs_belong_together_in_their_order_and_a_single_one_goes_with_all() -> None:
    assert combined_shapes({"x": [(1, 8), (1, 16)], "mask": [(1, 9), (1, 17)], "level": [(2,)]}) == (
        {"x": (1, 8), "mask": (1, 9), "level": (2,)},
        {"x": (1, 16), "mask": (1, 17), "level": (2,)},
    )


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"x": [(1, 3, 0, 320)]}, "--shape x=1x3x0x320 has a size below 1"),
        ({"x": [(1, 3, -1, 320)]}, "--shape x=1x3x-1x320 has a size below 1"),
        (
            {"x": [(1, 8), (1, 9)], "mask": [(1, 8), (1, 9), (1, 10)]},
            "--shape names 2 shapes of x and 3 of mask, which belong together in their order: "
            "name equally many of each input, or one that goes with all",
        ),
        (
            {"x": [(1, 3, 48, width) for width in range(1, 18)]},
            "--shape names 17 shapes to plan for, more than 16: name those that matter",
        ),
    ],
    ids=["zero", "negative", "counts that differ", "too many"],
)
def test_what_cannot_belong_together_is_refused_in_a_sentence(named: dict[str, list[Shape]], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(sentence)):
        combined_shapes(named)


def added(folder: Path, shapes: dict[str, tuple[Shape, ...]], *, fixed: bool = False) -> ModelRecord:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "open",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "length"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, "length"])],
    )
    file = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    submission = Submission("m", file, {}, None, 0, (), shapes=shapes, fixed=fixed)
    return take_in(submission, BlobStore(folder / "blobs"), lambda _text, _part: None)


def test_a_model_is_planned_for_the_shape_that_was_named_and_takes_others(tmp_path: Path) -> None:
    (x,) = added(tmp_path, {"x": ((2, 3, 50),)}).inputs
    assert (x.shape, x.typical) == ((-1, 3, -1), (2, 3, 50))


def test_a_fixed_model_has_that_shape_alone(tmp_path: Path) -> None:
    (x,) = added(tmp_path, {"x": ((2, 3, 50),)}, fixed=True).inputs
    assert (x.shape, x.typical) == ((2, 3, 50), ())


def test_the_first_of_several_is_the_models_own_and_fixed_sizes_leave_one(tmp_path: Path) -> None:
    shapes: dict[str, tuple[Shape, ...]] = {"x": ((2, 3, 50), (2, 3, 60))}
    (x,) = added(tmp_path, shapes).inputs
    assert x.typical == (2, 3, 50)
    with pytest.raises(InvalidInput, match="names 2 sizes to plan for, and --fixed leaves one"):
        added(tmp_path, shapes, fixed=True)
