"""Reading the user's file, and finding where its weights lie.

Owns: parsing an ONNX file, its digest, and moving its weights into blobs as a stream. Its rule: the file is only
read; weights outside it are never in memory all at once. Not here: changing the graph's structure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, TensorProto, numpy_helper

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.blobs import CHUNK_BYTES, BlobStore, read_range
from edgesplit_controller.graph.protos import (
    external_fields,
    has_whole_bytes,
    initializer_nbytes,
    is_external,
    set_blob,
    subgraphs,
)

__all__ = ["BLOB_MIN_BYTES", "file_digest", "load_model", "store_weights"]

BLOB_MIN_BYTES = 1024
"""Initializers from this size on become blobs; smaller ones travel inside the graph. [B]"""


def load_model(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file without its external data.

    Raises:
        InvalidModel: It is missing, no ONNX file, or holds no graph.
    """
    try:
        proto = onnx.load(str(path), format="protobuf", load_external_data=False)
    except OSError as error:
        raise InvalidModel(f"{path} cannot be read ({error.strerror}): check the path") from error
    except (DecodeError, ValueError) as error:
        raise InvalidModel(f"{path} is not an ONNX file or is damaged: export or copy it again") from error
    if not proto.graph.output or not proto.opset_import:
        # An empty or foreign file may parse as a message without content.
        raise InvalidModel(f"{path} holds no ONNX graph with outputs: export or copy it again")
    return proto


def file_digest(path: Path, proto: onnx.ModelProto) -> str:
    """Return the SHA-256 over the file and, in name order, the external data files it refers to.

    Raises:
        InvalidModel: An external data file is missing or lies outside the model's folder.
    """
    files = [path]
    locations = {external_fields(tensor).get("location", "") for tensor in _tensors(proto.graph) if is_external(tensor)}
    files += [_external_path(path, location) for location in sorted(locations)]
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from _attribute_tensors(graph)


def _attribute_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.TENSORS:
                yield from attribute.tensors
        for body in subgraphs(node):
            yield from _tensors(body)


def _external_path(model: Path, location: str) -> Path:
    # By its spelling only: download caches keep the model and its data as links into another folder.
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    path = model.parent / location
    if not posix.parts or posix.is_absolute() or windows.is_absolute() or ".." in (*posix.parts, *windows.parts):
        raise InvalidModel(f"external data {location!r} lies outside the model's folder: save the weights beside it")
    if not path.is_file():
        raise InvalidModel(f"external data file {location} is not beside {model.name}: copy it there too")
    return path


def store_weights(proto: onnx.ModelProto, path: Path, blobs: BlobStore) -> None:
    """Move every large initializer of the main graph into a blob; bring all other tensors into the message.

    Weights in external files are streamed. `proto` is changed in place.

    Raises:
        InvalidModel: A tensor's values are missing or cut short.
    """
    for tensor in proto.graph.initializer:
        nbytes = _checked_nbytes(tensor)
        if nbytes < BLOB_MIN_BYTES or not has_whole_bytes(tensor):
            if is_external(tensor):
                _bring_in(tensor, path)
            continue
        if is_external(tensor):
            offset = int(external_fields(tensor).get("offset", "0"))
            with _external_path(path, external_fields(tensor).get("location", "")).open("rb") as stream:
                digest = blobs.put_chunks(read_range(stream, offset, nbytes))
            if blobs.nbytes(digest) != nbytes:
                raise InvalidModel(_short(tensor, blobs.nbytes(digest), nbytes))
        elif tensor.HasField("raw_data"):
            digest = blobs.put(tensor.raw_data)
        else:
            digest = blobs.put(numpy_helper.to_array(tensor).tobytes())
        set_blob(tensor, digest, nbytes)
    for tensor in _attribute_tensors(proto.graph):
        if is_external(tensor):
            _bring_in(tensor, path)


def _bring_in(tensor: TensorProto, path: Path) -> None:
    nbytes = initializer_nbytes(tensor)
    fields = external_fields(tensor)
    with _external_path(path, fields.get("location", "")).open("rb") as stream:
        content = b"".join(read_range(stream, int(fields.get("offset", "0")), nbytes))
    if len(content) != nbytes:
        raise InvalidModel(_short(tensor, len(content), nbytes))
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    tensor.raw_data = content


def _checked_nbytes(tensor: TensorProto) -> int:
    nbytes = initializer_nbytes(tensor)
    if tensor.data_type == TensorProto.STRING or is_external(tensor):
        return nbytes
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != nbytes:
            raise InvalidModel(_short(tensor, len(tensor.raw_data), nbytes))
        return nbytes
    try:
        numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise InvalidModel(_short(tensor, 0, nbytes)) from error
    return nbytes


def _short(tensor: TensorProto, found: int, nbytes: int) -> str:
    return (
        f"weight {tensor.name} holds {found} of its {nbytes} bytes, so the file was stripped or cut short: "
        "export or copy the model again"
    )
