from __future__ import annotations

import numpy as np
import pytest

from edgesplit.errors import InvalidTensor
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array, check_inputs, contiguous, tensor_bytes

SPECS = (
    TensorSpec(name="images", dtype="float32", shape=(1, 3, 4, 4)),
    TensorSpec(name="scale", dtype="int64", shape=()),
)
GOOD = {"images": np.zeros((1, 3, 4, 4), np.float32), "scale": np.array(2)}


def test_good_inputs_come_back_in_the_models_order() -> None:
    assert list(check_inputs(SPECS, dict(reversed(GOOD.items())))) == ["images", "scale"]


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": GOOD["images"]}, r"'scale' \(int64\[\]\) is missing"),
        (GOOD | {"mask": GOOD["images"]}, "'mask' is not an input of the model: its inputs are 'images', 'scale'"),
        (GOOD | {"images": np.zeros((1, 3, 4, 4))}, "'images' has dtype float64, expected float32"),
        (GOOD | {"images": np.zeros((3, 4, 4), np.float32)}, r"has shape \[3, 4, 4\], expected \[1, 3, 4, 4\]"),
        (GOOD | {"images": np.array(["text"])}, "has dtype str, expected float32"),
        (GOOD | {"images": np.array([1j])}, "cannot be sent"),
    ],
)
def test_a_wrong_input_is_named_with_what_was_expected(arrays: dict[str, Array], sentence: str) -> None:
    with pytest.raises(InvalidTensor, match=sentence):
        check_inputs(SPECS, arrays)


def test_views_and_foreign_byte_orders_become_contiguous_and_native() -> None:
    turned = np.arange(6, dtype=">f4").reshape(2, 3).T
    straight = contiguous("x", turned)
    assert straight.flags.c_contiguous
    assert straight.dtype == np.dtype("float32")
    assert straight.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert contiguous("x", np.array(1.0)).shape == ()


OPEN = TensorSpec(name="x", dtype="float32", shape=(1, 3, -1, -1), typical=(1, 3, 48, 320))


@pytest.mark.parametrize("shape", [(1, 3, 48, 320), (1, 3, 32, 100), (1, 3, 0, 7)])
def test_open_axes_admit_any_size(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.float32)
    assert check_inputs([OPEN], {"x": array})["x"] is array


@pytest.mark.parametrize("shape", [(2, 3, 48, 320), (1, 3, 48), (1, 1, 48, 320)])
def test_a_shape_that_is_not_admitted_is_told_which_axes_are_open(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidTensor, match=r"expected \[1, 3, any, any\]"):
        check_inputs([OPEN], {"x": np.zeros(shape, np.float32)})


def test_what_is_made_up_and_counted_is_of_the_planning_shape() -> None:
    unknown = TensorSpec(name="found", dtype="int64", shape=(-1, 3), typical=(-1, 3))
    assert OPEN.sizes == (1, 3, 48, 320)
    assert tensor_bytes(OPEN) == 3 * 48 * 320 * 4
    assert unknown.sizes == (1, 3)
    assert tensor_bytes(SPECS[0]) == 3 * 16 * 4


def test_planned_is_the_planning_shape_but_for_sizes_that_nobody_could_plan() -> None:
    assert OPEN.is_planned((1, 3, 48, 320))
    assert not OPEN.is_planned((1, 3, 48, 321))
    assert TensorSpec(name="n", dtype="int64", shape=(-1, 3), typical=(-1, 3)).is_planned((7, 3))
    anything = TensorSpec(name="s", dtype="float32", shape=(), typical=(2, 3), any_rank=True)
    assert anything.admits((4,))
    assert not anything.is_planned((4,))
