"""Requests to any ONNX file, drawn: what it answers to them means nothing, and takes as long as ever.

Owns: the draw. Its rule: the same file and seed give the same numbers. Not here: inputs that a model was trained for
(`bench/shipped_models/real_inputs.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

__all__ = ["drawn_inputs"]


def drawn_inputs(path: Path, count: int, seed: int) -> list[dict[str, NDArray[Any]]]:
    """Inputs in [0, 1), integers 0 or 1; a dimension that is not fixed is 1.

    Args:
        path: The ONNX file.
        count: How many requests.
        seed: Of the draw.

    Returns:
        Requests, each an array of the input's shape and type by its name.
    """
    graph = onnx.load(path, load_external_data=False).graph
    weights = {entry.name for entry in graph.initializer}
    generator = np.random.default_rng(seed)
    drawn: list[dict[str, NDArray[Any]]] = []
    for _ in range(count):
        request: dict[str, NDArray[Any]] = {}
        for entry in graph.input:
            if entry.name in weights:
                continue
            tensor = entry.type.tensor_type
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            values = generator.random([size.dim_value or 1 for size in tensor.shape.dim])
            request[entry.name] = values.astype(dtype) if dtype.kind == "f" else (values > 0.5).astype(dtype)
        drawn.append(request)
    return drawn
