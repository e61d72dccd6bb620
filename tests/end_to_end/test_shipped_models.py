"""bench.shipped_models: which sizes are asked for, what counts as equal, what inputs look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bench.shipped_models.course import differences
from bench.shipped_models.real_inputs import real_inputs
from bench.shipped_models.sizes import Hint, PlainModel, cases, hint_for


def saved(folder: Path, axes: list[int | str], *, name: str = "model") -> Path:
    """A model that pools an image by two and multiplies it."""
    graph = helper.make_graph(
        [
            helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Add", ["p", "p"], ["y"]),
        ],
        "pools",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def found(path: Path, hint: Hint, planned: dict[str, tuple[int, ...]]) -> tuple[dict[str, Any], list[str]]:
    plain = PlainModel(path)
    tried, missing = cases(plain, hint, planned, lambda shapes: real_inputs("", plain.inputs, shapes, 0))
    return {case.name: dict(case.shapes) for case in tried}, missing


def test_hinted_sizes_are_asked_for_and_a_batch_of_four(tmp_path: Path) -> None:
    path = saved(tmp_path, ["n", 3, "h", "w"])
    hint = Hint("*", "", {"x": (1, 3, 8, 8)}, ({"x": (1, 3, 4, 6)}, {"x": (1, 3, 10, 8)}))
    tried, missing = found(path, hint, {"x": (1, 3, 8, 8)})
    assert tried == {
        "planned": {"x": (1, 3, 8, 8)},
        "1x3x4x6": {"x": (1, 3, 4, 6)},
        "1x3x10x8": {"x": (1, 3, 10, 8)},
        "batch of 4": {"x": (4, 3, 8, 8)},
    }
    assert missing == []


def test_without_a_hint_other_sizes_are_found(tmp_path: Path) -> None:
    tried, missing = found(saved(tmp_path, ["n", 3, "h", "w"]), Hint("*", ""), {"x": (1, 3, 64, 96)})
    assert len(tried) == 4
    assert tried["1x3x32x64"] == {"x": (1, 3, 32, 64)} or "1x3x32x48" in tried
    assert missing == []


def test_what_a_model_does_not_admit_is_said(tmp_path: Path) -> None:
    tried, missing = found(saved(tmp_path, [1, 3, 8, 8]), Hint("*", ""), {"x": (1, 3, 8, 8)})
    assert list(tried) == ["planned"]
    assert missing == ["admits 0 other sizes", "admits no batch"]


def test_hints_follow_from_the_name_of_file_or_folder() -> None:
    assert hint_for(Path("rapidocr/models/ch_PP-OCRv4_rec_infer.onnx")).kind == "line"
    assert hint_for(Path("magika/models/standard_v3_3/model.onnx")).kind == "bytes"
    assert hint_for(Path("elsewhere/model.onnx")) == Hint("model.onnx", "")


def test_differences_are_shares_of_an_output_s_range() -> None:
    wanted = {"y": np.array([0.0, 10.0, 5.0], np.float32), "z": np.array([3, 3], np.int64)}
    got = {"y": np.array([0.0, 10.0, 6.0], np.float32), "z": np.array([3, 3], np.int64)}
    assert differences(wanted, got) == {"y": pytest.approx(0.1), "z": 0.0}


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ([1.0, 2.0], [[1.0, 2.0]]),
        ([1.0, 2.0], [1.0, np.nan]),
        ([1.0, np.nan], [1.0, 2.0]),
        ([1.0, np.inf], [1.0, -np.inf]),
    ],
)
def test_another_shape_or_what_is_no_number_is_infinitely_far(wanted: list[Any], got: list[Any]) -> None:
    assert differences({"y": np.array(wanted)}, {"y": np.array(got)}) == {"y": float("inf")}
    assert differences({"y": np.array(wanted)}, {}) == {"y": float("inf")}


def test_what_both_have_is_no_difference() -> None:
    odd = np.array([1.0, np.nan, np.inf])
    assert differences({"y": odd, "none": np.zeros((0, 4))}, {"y": odd, "none": np.zeros((0, 4))}) == {
        "y": 0.0,
        "none": 0.0,
    }


@pytest.mark.parametrize(
    ("kind", "shape", "kind_of_number"),
    [
        ("page", (2, 3, 96, 128), "tensor(float)"),
        ("line", (1, 3, 48, 320), "tensor(float)"),
        ("photo", (1, 3, 64, 64), "tensor(float)"),
        ("speech", (1, 576), "tensor(float)"),
        ("bytes", (1, 2048), "tensor(int32)"),
    ],
)
def test_real_inputs_have_the_shape_and_say_something(kind: str, shape: tuple[int, ...], kind_of_number: str) -> None:
    (one,) = real_inputs(kind, {"x": (kind_of_number, None)}, {"x": shape}, 1).values()
    (same,) = real_inputs(kind, {"x": (kind_of_number, None)}, {"x": shape}, 1).values()
    (other,) = real_inputs(kind, {"x": (kind_of_number, None)}, {"x": shape}, 2).values()
    assert one.shape == shape
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.ptp(one) > 0.1
