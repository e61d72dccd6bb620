"""Calibration files: what fits a model and what does not."""

from __future__ import annotations

import contextlib
import dataclasses
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgesplit.errors import InvalidCalibration
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.quantization.calibration import Calibration, load_calibration, split
from edgesplit_controller.quantization.ranges import activation_ranges


@pytest.fixture
def graph(tmp_path: Path) -> ModelGraph:
    nodes = [
        helper.make_node("Sqrt", ["a"], ["root"], name="root"),
        helper.make_node("Mul", ["root", "root"], ["y"], name="square"),
        helper.make_node("Cast", ["k"], ["kf"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Add", ["kf", "kf"], ["z"], name="add"),
    ]
    described = helper.make_tensor_value_info
    inputs = [described("a", TensorProto.FLOAT, (1, 3)), described("k", TensorProto.INT64, (2,))]
    outputs = [described("y", TensorProto.FLOAT, (1, 3)), described("z", TensorProto.FLOAT, (2,))]
    proto = helper.make_model(
        helper.make_graph(nodes, "two-inputs", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(proto, str(tmp_path / "model.onnx"))
    return import_model(tmp_path / "model.onnx", BlobStore(tmp_path / "blobs"))


Arrays = dict[str, NDArray[Any]]
GOOD: Arrays = {"a": np.ones((5, 3), np.float32), "k": np.ones((5, 2), np.int64)}


def save(folder: Path, arrays: Arrays) -> Path:
    path = folder / "samples.npz"
    np.savez(path, allow_pickle=True, **arrays)
    return path


def test_first_axis_counts_samples_and_a_leading_one_may_be_left_out(graph: ModelGraph, tmp_path: Path) -> None:
    for array in (np.ones((5, 3), np.float32), np.ones((5, 1, 3), np.float32)):
        calibration = load_calibration(save(tmp_path, {**GOOD, "a": array}), graph)
        assert calibration.origin == "user"
        assert len(calibration.samples) == 5
        assert {name: value.shape for name, value in calibration.samples[0].items()} == {"a": (1, 3), "k": (2,)}


def test_without_a_file_samples_are_seeded_noise_between_0_and_1(graph: ModelGraph) -> None:
    one, same, other = (load_calibration(None, graph, seed=seed, samples=6) for seed in (1, 1, 2))
    assert one.origin == "generated"
    assert len(one.samples) == 6
    values = np.concatenate([sample["a"] for sample in one.samples])
    assert values.dtype == np.float32
    assert 0 <= values.min() < values.max() <= 1
    assert np.array_equal(one.samples[3]["a"], same.samples[3]["a"])
    assert not np.array_equal(one.samples[3]["a"], other.samples[3]["a"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"a": np.ones((5, 4), np.float32)}, "expected (samples, 3)"),
        ({"a": np.ones((5, 3), np.float64)}, "is float64"),
        ({"a": np.full((5, 3), np.nan, np.float32)}, "NaN or infinite"),
        ({"a": np.full((5, 3), np.inf, np.float32)}, "NaN or infinite"),
        ({"a": np.array(1.0, np.float32)}, "expected (samples, 3)"),
        ({"a": np.ones((6, 3), np.float32)}, "different numbers of samples"),
        ({"b": np.ones((5, 3), np.float32)}, "no input of the model"),
        ({"a": np.ones((3, 3), np.float32), "k": np.ones((3, 2), np.int64)}, "holds 3 samples"),
    ],
)
def test_samples_that_do_not_fit_are_named(graph: ModelGraph, tmp_path: Path, change: Arrays, said: str) -> None:
    with pytest.raises(InvalidCalibration) as raised:
        load_calibration(save(tmp_path, {**GOOD, **change}), graph)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
def test_samples_are_those_that_were_saved_however_they_lie(graph: ModelGraph, tmp_path: Path, save_as: Any) -> None:
    random = np.random.default_rng(3)
    wanted, integers = random.random((7, 3), np.float32), random.integers(0, 9, (7, 2))
    for a, k in ((wanted, integers), (np.asfortranarray(wanted), integers.astype(">i8"))):
        save_as(tmp_path / "samples.npz", a=a, k=k)
        samples = load_calibration(tmp_path / "samples.npz", graph).samples
        assert np.array_equal(np.concatenate([sample["a"] for sample in samples]), wanted)
        assert np.array_equal(np.stack([sample["k"] for sample in samples]), integers)
        assert {sample["k"].dtype for sample in samples} == {np.dtype(np.int64)}
        assert all(array.flags.writeable and array.flags.c_contiguous for array in samples[0].values())


def test_a_sample_in_the_middle_that_is_no_number_is_found(graph: ModelGraph, tmp_path: Path) -> None:
    a = GOOD["a"].copy()
    a[3, 1] = np.inf
    with pytest.raises(InvalidCalibration, match="'a' holds NaN or infinite"):
        load_calibration(save(tmp_path, {**GOOD, "a": a}), graph)


def test_memory_holds_a_sample_at_a_time_of_a_file(graph: ModelGraph, tmp_path: Path) -> None:
    wide = dataclasses.replace(graph.tensors["a"], shape=(1, 1 << 20))
    of_wide = dataclasses.replace(graph, tensors={**graph.tensors, "a": wide})
    path = save(tmp_path, {"a": np.ones((12, 1 << 20), np.float32), "k": np.ones((12, 2), np.int64)})
    tracemalloc.start()
    try:
        assert len(load_calibration(path, of_wide).samples) == 12
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 32 << 20, "of 48 MB, 16 may stay, and beside them the one that comes"


def test_a_file_that_ends_in_the_middle_of_a_sample_is_refused(graph: ModelGraph, tmp_path: Path) -> None:
    whole = save(tmp_path, GOOD)
    with zipfile.ZipFile(whole) as file:
        content = {name.removesuffix(".npy"): file.read(name) for name in file.namelist()}
    with pytest.raises(InvalidCalibration, match=r"cannot be read as \.npz"):
        load_calibration(archive(tmp_path / "cut.npz", a=content["a"][:-4], k=content["k"]), graph)


def test_a_missing_input_is_named(graph: ModelGraph, tmp_path: Path) -> None:
    with pytest.raises(InvalidCalibration, match="lacks the model's input 'k'"):
        load_calibration(save(tmp_path, {"a": GOOD["a"]}), graph)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 half"])
def test_a_file_that_is_no_archive_is_refused(graph: ModelGraph, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "samples.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidCalibration, match=r"cannot be read as \.npz"):
        load_calibration(path, graph)


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def test_an_archive_of_something_else_is_refused(graph: ModelGraph, tmp_path: Path) -> None:
    path = archive(tmp_path / "samples.npz", a=b"hello", k=b"world")
    with pytest.raises(InvalidCalibration, match="'a', which is no array"):
        load_calibration(path, graph)


def test_an_array_larger_than_any_memory_is_refused(graph: ModelGraph, tmp_path: Path) -> None:
    described = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999, 3), }"
    header = b"\x93NUMPY\x01\x00v\x00" + described.ljust(117) + b"\n"
    with pytest.raises(InvalidCalibration, match=r"cannot be read as \.npz"):
        load_calibration(archive(tmp_path / "samples.npz", a=header), graph)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_archive_is_read_or_refused_in_a_sentence(
    graph: ModelGraph, tmp_path: Path, damage: list[tuple[float, int]]
) -> None:
    path = tmp_path / "samples.npz"
    np.savez_compressed(path, allow_pickle=True, **GOOD)
    content = bytearray(path.read_bytes())
    for place, value in damage:
        content[int(place * len(content))] = value
    path.write_bytes(bytes(content))
    with contextlib.suppress(InvalidCalibration):
        load_calibration(path, graph)


def test_a_file_that_is_not_there_is_refused(graph: ModelGraph, tmp_path: Path) -> None:
    with pytest.raises(InvalidCalibration, match="cannot be read"):
        load_calibration(tmp_path / "none.npz", graph)


def test_a_plain_array_and_pickled_objects_are_refused(graph: ModelGraph, tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", GOOD["a"])
    with pytest.raises(InvalidCalibration, match=r"no \.npz archive"):
        load_calibration(tmp_path / "array.npy", graph)
    objects = np.array([{"evil": 1}] * 5, object)
    with pytest.raises(InvalidCalibration):
        load_calibration(save(tmp_path, {**GOOD, "a": objects}), graph)


@pytest.mark.parametrize(
    ("count", "inside_count", "held"), [(4, 2, 2), (8, 4, 4), (16, 8, 8), (100, 68, 32), (400, 368, 32)]
)
def test_held_out_samples_set_no_range(count: int, inside_count: int, held: int) -> None:
    samples = tuple({"a": np.array([float(index)])} for index in range(count))
    inside, outside = split(Calibration(samples, "user"))
    assert (len(inside), len(outside)) == (inside_count, held)
    setting, measuring = ({float(sample["a"][0]) for sample in part} for part in (inside, outside))
    assert not setting & measuring
    assert {0.0, count - 1.0} <= measuring
    assert len(setting | measuring) == count or count - inside_count > held


def test_ranges_span_all_samples(graph: ModelGraph, tmp_path: Path) -> None:
    samples = [{"a": np.array([[low, 1, 4]], np.float32), "k": np.array([0, 1])} for low in (0.25, 9.0)]
    ranges = activation_ranges(graph, BlobStore(tmp_path / "blobs"), samples, ["a", "root", "y"])
    assert ranges == {"a": (0.25, 9.0), "root": (0.5, 3.0), "y": (0.25, 9.0)}


def test_percentile_ignores_outliers(graph: ModelGraph, tmp_path: Path) -> None:
    samples = [{"a": np.array([[0.0, 1.0, 100.0]], np.float32), "k": np.array([0, 1])}]
    ranges = activation_ranges(graph, BlobStore(tmp_path / "blobs"), samples, ["a"], percentile=75.0)
    assert ranges["a"] == (0.5, 50.5)


def test_samples_that_drive_the_model_out_of_numbers_are_refused(graph: ModelGraph, tmp_path: Path) -> None:
    samples = [{"a": np.full((1, 3), -1, np.float32), "k": np.array([0, 1])}]
    with pytest.raises(InvalidCalibration, match="'root' NaN"):
        activation_ranges(graph, BlobStore(tmp_path / "blobs"), samples, ["root"])
