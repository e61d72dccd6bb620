"""Activation ranges: what values float tensors take on calibration samples.

Owns: running the float model with inner tensors as outputs. Its rule: memory stays bounded by the tensors of one
sample, in batches if those are many. Not here: what the ranges are used for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgesplit.errors import InvalidCalibration, InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import open_session, run_session
from edgesplit_controller.quantization.calibration import Sample

__all__ = ["activation_ranges"]

_BATCH_BYTES = 24 << 20


def activation_ranges(
    graph: ModelGraph,
    blobs: BlobStore,
    samples: Sequence[Sample],
    tensors: Sequence[str],
    *,
    percentile: float = 100.0,
    threads: int = 2,
) -> dict[str, tuple[float, float]]:
    """Observe least and greatest values of float tensors.

    Args:
        graph: The float model.
        blobs: Where its weights lie.
        samples: The calibration part of the samples.
        tensors: Names of float tensors.
        percentile: Below 100, values beyond this percentile (and its mirror image) of each sample are ignored:
            coarser for outliers, finer for the rest.
        threads: Of onnxruntime.

    Returns:
        Range of each tensor over all samples.

    Raises:
        InvalidCalibration: The model refuses a sample, or one drives a tensor to NaN or infinity.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for batch in _batches(graph, tensors):
        inner = [name for name in batch if name not in graph.inputs]
        session = open_session(_with_outputs(graph, inner), blobs, threads=threads) if inner else None
        for sample in samples:
            values = dict(sample)
            if session is not None:
                values.update(_outputs(session, inner, sample))
            for name in batch:
                low, high = _extremes(name, values[name], percentile)
                known = ranges.get(name, (low, high))
                ranges[name] = (min(known[0], low), max(known[1], high))
            values.clear()  # else they would lie beside the next sample's
    return ranges


def _outputs(session: Any, names: Sequence[str], sample: Sample) -> dict[str, NDArray[Any]]:
    try:
        outputs = run_session(session, names, sample)
    except InvalidModel as error:
        raise InvalidCalibration(f"on a calibration sample {error}") from error
    return {name: np.asarray(output) for name, output in outputs.items()}


def _batches(graph: ModelGraph, tensors: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    nbytes = 0
    for name in dict.fromkeys(tensors):
        size = graph.tensors[name].nbytes
        if batch and nbytes + size > _BATCH_BYTES:
            yield batch
            batch, nbytes = [], 0
        batch.append(name)
        nbytes += size
    if batch:
        yield batch


def _with_outputs(graph: ModelGraph, tensors: Sequence[str]) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    for name in tensors:
        if name not in graph.outputs:
            shape = graph.tensors[name].shape
            proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    return proto


def _extremes(name: str, values: NDArray[Any], percentile: float) -> tuple[float, float]:
    if not np.isfinite(values).all():
        raise InvalidCalibration(f"a calibration sample makes {name!r} NaN or infinite; check the samples' scale")
    if percentile >= 100.0:
        return float(values.min()), float(values.max())
    low, high = np.percentile(values, (100.0 - percentile, percentile))
    return float(low), float(high)
