"""Every shipped topology, and the demo model, can be split anywhere without changing its outputs."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import demo
from bench import zoo
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.quantizable import candidates
from tests.graph.support import assert_split_equals_whole


@pytest.mark.parametrize(
    ("name", "scale", "size"),
    [
        ("resnet50", 0.25, 64),
        ("mobilenet_v2", 0.25, 64),
        ("yolo_seg", 0.1, 64),
        ("transformer_encoder", 0.34, 32),
    ],
)
def test_random_splits_of_a_topology_equal_the_whole(name: str, scale: float, size: int, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.onnx"
    model = zoo.build(name, scale=scale, size=size)
    onnx.save(model, str(path))
    blobs = BlobStore(tmp_path / "blobs")
    graph = import_model(path, blobs)
    assert len(graph.operators) == len(model.graph.node)
    assert len(graph.units) < len(graph.operators)
    assert len(candidates(graph)) == 12
    assert_split_equals_whole(graph, blobs, path, range(20))


def test_random_splits_of_the_demo_model_equal_the_whole(tmp_path: Path) -> None:
    path = Path(str(demo.__file__)).with_name("shapes.onnx")
    blobs = BlobStore(tmp_path / "blobs")
    graph = import_model(path, blobs)
    assert len(candidates(graph)) == 12
    assert_split_equals_whole(graph, blobs, path, range(20))
