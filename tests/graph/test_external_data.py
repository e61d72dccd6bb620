"""Models whose weights lie beside them, as those above 2 GB must."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from tests.graph.support import assert_split_equals_whole, constant, model, tensor


def saved(folder: Path) -> Path:
    draw = np.random.default_rng(3)
    weights = [constant(name, draw.random((30, 30)) - 0.5) for name in "abc"] + [constant("bias", draw.random(30))]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Add", ["h", "bias"], ["i"]),
        helper.make_node("MatMul", ["i", "b"], ["j"]),
        helper.make_node("MatMul", ["j", "c"], ["y"]),
    ]
    proto = model(nodes, [tensor("x", [2, 30])], [tensor("y", [2, 30])], weights)
    folder.mkdir(exist_ok=True)
    path = folder / "big.onnx"
    onnx.save(proto, str(path), save_as_external_data=True, location="big.data", size_threshold=0)
    return path


def test_weights_are_streamed_into_blobs(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = path.read_bytes(), (tmp_path / "big.data").read_bytes()
    blobs = BlobStore(tmp_path / "blobs")
    graph = import_model(path, blobs)
    assert len(blobs.digests()) == 3  # the bias is too small for a blob
    assert graph.sha256 == hashlib.sha256(before[0] + before[1]).hexdigest()
    assert_split_equals_whole(graph, blobs, path, range(3))
    assert (path.read_bytes(), (tmp_path / "big.data").read_bytes()) == before


def test_a_change_of_the_weights_changes_the_digest(tmp_path: Path) -> None:
    path = saved(tmp_path)
    first = import_model(path, BlobStore(tmp_path / "blobs")).sha256
    data = bytearray((tmp_path / "big.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "big.data").write_bytes(data)
    assert import_model(path, BlobStore(tmp_path / "blobs")).sha256 != first


def test_a_missing_or_short_data_file_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path)
    data = tmp_path / "big.data"
    data.write_bytes(data.read_bytes()[:5000])
    with pytest.raises(InvalidModel, match="of its 3600 bytes"):
        import_model(path, BlobStore(tmp_path / "blobs"))
    data.unlink()
    with pytest.raises(InvalidModel, match=r"big\.data is not beside"):
        import_model(path, BlobStore(tmp_path / "blobs"))


def test_links_into_a_download_cache_are_followed(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    (tmp_path / "model" / "big.onnx").rename(tmp_path / "0123")
    (tmp_path / "model" / "big.data").rename(tmp_path / "4567")
    (tmp_path / "model" / "big.onnx").symlink_to(tmp_path / "0123")
    (tmp_path / "model" / "big.data").symlink_to(tmp_path / "4567")
    graph = import_model(tmp_path / "model" / "big.onnx", BlobStore(tmp_path / "blobs"))
    assert len(graph.operators) == 4


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "sub/../../secret", ""])
def test_data_outside_the_models_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(100_000))
    path = saved(tmp_path / "model")
    proto = onnx.load(str(path), load_external_data=False)
    next(entry for entry in proto.graph.initializer[0].external_data if entry.key == "location").value = location
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidModel, match="outside the model's folder"):
        import_model(path, BlobStore(tmp_path / "blobs"))
