"""Running a normalised graph or a component with onnxruntime in this process.

Owns: building an onnxruntime session whose weights come straight from the blob store. Its rule: weights are mapped
from their files, never copied through a protobuf message, and what a run took goes back behind it; so do the pages of weights, of
which kernels mostly keep a form of their own. Not here: the agent's sessions (agents have no onnx).
"""

from __future__ import annotations

import math
import mmap
import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgesplit.daemon.inference_runtime.runtime_abilities import as_value, run_arrays
from edgesplit.errors import InvalidModel
from edgesplit.wire.tensors import TEXT, dtype_name
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.protos import external_fields, is_external, numpy_name

__all__ = [
    "GraphRefused",
    "RunRefused",
    "WorkShare",
    "open_session",
    "refusal_of",
    "run_session",
    "run_values",
    "shapes_of",
    "shared_out",
]

_QUIET = 4  # onnxruntime's severity "fatal": its errors come as exceptions, its warnings are not the user's
_PLACE = re.compile(r"Load model from \S+ failed: ?")


_LARGE_BYTES = 32 << 20
"""Of all tensors of a model together: of a larger one, memory holds one sample's at a time. [B]"""


@dataclass(frozen=True)
class WorkShare:
    """How the work on many samples is shared out.

    Attributes:
        workers: Samples at a time.
        threads: Inside one operator.
    """

    workers: int
    threads: int


def shared_out(graph: ModelGraph) -> WorkShare:
    """Two samples at a time on a thread each, or one on two threads where its tensors are large."""
    large = sum(tensor.nbytes for tensor in graph.tensors.values()) > _LARGE_BYTES
    return WorkShare(1, 2) if large else WorkShare(2, 1)


class GraphRefused(InvalidModel):
    """onnxruntime does not load a graph: the user's own, or one that was made of it.

    Attributes:
        reason: What onnxruntime says.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"onnxruntime refuses a graph that was made of the model ({reason}): report it with the model")
        self.reason = reason


class RunRefused(InvalidModel):
    """onnxruntime does not run a graph on some inputs.

    Attributes:
        reason: What onnxruntime says.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the model does not run ({reason}): check it with onnxruntime")
        self.reason = reason


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
        GraphRefused: onnxruntime does not load it.
        ArtifactMissing: A weight's blob is not in the store.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait for work would take it from agents and from the sessions beside.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _QUIET
    # Noise is modelled with hundreds of sessions at a time: an arena each would hold all that they ever took, rounded up.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Repacking the weights would read all of them and keep a second copy.
        options.add_session_config_entry("session.disable_prepacking", "1")
    weights = [tensor for tensor in proto.graph.initializer if is_external(tensor)]
    files = [_file_map(tensor, blobs) for tensor in weights]
    values = [onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(_mapped(tensor, file), tensor.data_type)
              for tensor, file in zip(weights, files, strict=True)]  # fmt: skip
    options.add_external_initializers([tensor.name for tensor in weights], values)
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of its own
        raise GraphRefused(_first_line(error)) from error
    # The values only borrow the mapped files; neither may go before the session does.
    weakref.finalize(session, values.clear)
    for file in files:
        file.madvise(mmap.MADV_DONTNEED)  # what is needed again comes from the file again
    return session


def refusal_of(path: Path) -> str | None:
    """Say why onnxruntime does not load a user's file as it is; None where it does."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of its own
        return _first_line(error)
    return None


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
        results = run_arrays(session, outputs, feeds)
    except Exception as error:  # onnxruntime's exceptions share no base class of its own
        raise _not_running(error) from error
    return dict(zip(outputs, results, strict=True))


def run_values(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Mapping[str, Any]
) -> list[onnxruntime.OrtValue]:
    """Run once on onnxruntime's own values and return such.

    Raises:
        InvalidModel: The run failed.
    """
    try:
        return list(session.run_with_ort_values(list(outputs), dict(feeds)))
    except Exception as error:  # onnxruntime's exceptions share no base class of its own
        raise _not_running(error) from error


def shapes_of(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]
) -> dict[str, tuple[int, ...]]:
    """Run once and return the outputs' shapes, whatever their element types; those that are no tensors are left out.

    Raises:
        InvalidModel: The run failed.
    """
    if any(dtype_name(array) == TEXT for array in feeds.values()):
        # onnxruntime makes no values of its own of texts.
        arrays = run_session(session, outputs, feeds)
        return {name: array.shape for name, array in arrays.items() if isinstance(array, np.ndarray)}
    given = {name: as_value(array) for name, array in feeds.items()}
    values = run_values(session, outputs, given)
    return {name: tuple(value.shape()) for name, value in zip(outputs, values, strict=True) if value.is_tensor()}


def _not_running(error: Exception) -> RunRefused:
    return RunRefused(_first_line(error))


def _file_map(tensor: onnx.TensorProto, blobs: BlobStore) -> mmap.mmap:
    with blobs.path(external_fields(tensor)["location"]).open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _mapped(tensor: onnx.TensorProto, file: mmap.mmap) -> np.ndarray:
    name = numpy_name(tensor.data_type)
    dtype = np.dtype(name) if name in np.sctypeDict else np.dtype(f"u{_itemsize(tensor)}")
    return np.frombuffer(file, dtype, math.prod(tensor.dims)).reshape(tuple(tensor.dims))


def _itemsize(tensor: onnx.TensorProto) -> int:
    return int(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize)


def _first_line(error: Exception) -> str:
    # Where the file lay meanwhile says nothing to whoever sent it.
    return _PLACE.sub("", str(error)).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
