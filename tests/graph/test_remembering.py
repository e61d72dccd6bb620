"""Facts of a graph that are worked out once."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from bench import zoo
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.memo import once_per_graph
from edgesplit_controller.graph.model_graph import ModelGraph


def small(folder: Path) -> ModelGraph:
    """Some graph."""
    import onnx

    path = folder / "model.onnx"
    onnx.save(zoo.build("mobilenet_v2", size=32), path)
    return import_model(path, BlobStore(folder / "blobs"))


def test_a_fact_is_worked_out_once_for_each_graph_and_argument_and_goes_with_the_graph(tmp_path: Path) -> None:
    asked: list[int] = []

    @once_per_graph
    def fact(graph: ModelGraph, number: int) -> int:
        asked.append(number)
        return len(graph.operators) + number

    graph = small(tmp_path)
    assert fact(graph, 1) == fact(graph, 1) == len(graph.operators) + 1
    assert fact(graph, 2) == len(graph.operators) + 2
    assert asked == [1, 2]
    gone = weakref.ref(graph)
    del graph
    gc.collect()
    assert gone() is None
