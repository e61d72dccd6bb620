"""Running a normalised graph or a component in this process.

Owns: building an onnxruntime session whose weights come straight from the blob store. Its rule: weights are mapped
from their files, never copied through a protobuf message. Not here: the agent's sessions (agents have no onnx).
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.protos import external_fields, is_external, numpy_name

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["open_session", "run_session"]

_QUIET = 3  # onnxruntime's severity "error": its warnings about unused or reshaped values are not the user's


def open_session(
    proto: onnx.ModelProto,
    blobs: BlobStore,
    *,
    threads: int = 1,
    optimize: bool = True,
) -> onnxruntime.InferenceSession:
    """Load a graph whose large initializers refer to blobs.

    Args:
        proto: Normalised graph or component.
        blobs: Where its weights lie.
        threads: Threads inside one operator.
        optimize: Whether onnxruntime may fuse and fold; without, loading is faster.

    Raises:
        InvalidModel: onnxruntime refuses the graph.
        ArtifactMissing: A weight's blob is not in the store.
    """
    import onnxruntime  # noqa: PLC0415 - half a second that commands without sessions need not pay

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Repacking the weights would read all of them and keep a second copy.
        options.add_session_config_entry("session.disable_prepacking", "1")
    weights = [tensor for tensor in proto.graph.initializer if is_external(tensor)]
    values = [onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(_mapped(tensor, blobs), tensor.data_type)
              for tensor in weights]  # fmt: skip
    options.add_external_initializers([tensor.name for tensor in weights], values)
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of its own
        raise InvalidModel(f"onnxruntime does not load the model ({_first_line(error)}): export it again") from error
    # The values only borrow the mapped files; neither may go before the session does.
    weakref.finalize(session, values.clear)
    return session


def run_session(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Run once and return the wanted outputs by name (arrays, or lists for sequences).

    Raises:
        InvalidModel: The run failed.
    """
    if not outputs:
        return {}
    try:
        results = session.run(list(outputs), dict(feeds))
    except Exception as error:  # onnxruntime's exceptions share no base class of its own
        raise InvalidModel(f"the model does not run ({_first_line(error)}): check it with onnxruntime") from error
    return dict(zip(outputs, results, strict=True))


def _mapped(tensor: onnx.TensorProto, blobs: BlobStore) -> np.ndarray:
    path = blobs.path(external_fields(tensor)["location"])
    name = numpy_name(tensor.data_type)
    dtype = np.dtype(name) if name in np.sctypeDict else np.dtype(f"u{_itemsize(tensor)}")
    return np.memmap(path, dtype=dtype, mode="r", shape=tuple(tensor.dims))


def _itemsize(tensor: onnx.TensorProto) -> int:
    return int(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
