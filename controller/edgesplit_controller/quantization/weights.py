"""Initializers in and out of the blob store.

Owns: how a quantized constant becomes an initializer. Its rule: what has at least `BLOB_BYTES` is a blob named by
its digest and only referenced from the graph, as the importer does it. Not here: quantization arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.protos import external_fields, is_external, set_blob

__all__ = ["BLOB_BYTES", "read_initializer", "store_initializer"]

BLOB_BYTES = 1024
"""Constants from this size on are blobs. [B]"""


def read_initializer(initializer: onnx.TensorProto, blobs: BlobStore) -> NDArray[Any]:
    """The values of an initializer, inline or in the store.

    Args:
        initializer: As in a normalised graph: a reference's location is the blob's digest.
        blobs: Where referenced bytes lie.

    Returns:
        Its values in its shape and dtype.

    Raises:
        InvalidModel: The reference does not hold the bytes its shape asks for.
    """
    if not is_external(initializer):
        return onnx.numpy_helper.to_array(initializer)
    reference = external_fields(initializer)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(initializer.data_type))
    content = blobs.read(reference["location"])
    offset = int(reference.get("offset", "0"))
    count = int(np.prod(initializer.dims, dtype=np.int64))
    if len(content) < offset + count * dtype.itemsize:
        raise InvalidModel(f"weight {initializer.name!r} is shorter than its shape; add the model again")
    return np.frombuffer(content, dtype, count, offset).reshape(tuple(initializer.dims))


def store_initializer(name: str, values: NDArray[Any], blobs: BlobStore) -> onnx.TensorProto:
    """An initializer that holds the values, or refers to them when they are large.

    Args:
        name: Its name in the graph.
        values: Its values.
        blobs: Where large values go.

    Returns:
        The initializer.
    """
    if values.nbytes < BLOB_BYTES:
        return onnx.numpy_helper.from_array(values, name)
    content = np.ascontiguousarray(values).tobytes()
    data_type = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    initializer = onnx.TensorProto(name=name, data_type=data_type, dims=values.shape)
    set_blob(initializer, blobs.put(content), len(content))
    return initializer
