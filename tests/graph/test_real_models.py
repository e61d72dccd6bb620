"""Models from exporters, where their files are at hand (in `shared/models` beside the repository)."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.quantizable import candidates
from tests.graph.support import assert_split_equals_whole, real_model
from tests.graph.test_cut_properties import check_units


@pytest.mark.parametrize(
    ("name", "operators", "most_units", "assignments"),
    [("version-RFB-640", 163, 90, 20), ("yolo11n-seg", 355, 180, 20), ("yolo11x-seg", 652, 320, 2)],
)
def test_random_splits_equal_the_whole(
    tmp_path: Path, name: str, operators: int, most_units: int, assignments: int
) -> None:
    path = real_model(name, tmp_path)
    blobs = BlobStore(tmp_path / "blobs")
    graph = import_model(path, blobs)
    assert len(graph.operators) == operators
    assert len(graph.units) <= most_units
    assert all(tensor.cuttable for tensor in graph.tensors.values())
    chosen = candidates(graph)
    assert len(chosen) == 12
    check_units(graph, set(chosen))
    assert_split_equals_whole(graph, blobs, path, range(assignments))


def test_shape_arithmetic_of_the_exporter_is_gone(tmp_path: Path) -> None:
    graph = import_model(real_model("version-RFB-640", tmp_path), BlobStore(tmp_path / "blobs"))
    assert not {"Shape", "Gather", "Unsqueeze", "Constant"} & {operator.op_type for operator in graph.operators}
    assert {tensor.dtype for tensor in graph.tensors.values()} == {"float32"}
    assert graph.tensors["boxes"].shape == (1, 17640, 4)
