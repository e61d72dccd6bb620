"""Requests to any ONNX file, drawn: what it answers to them means nothing, and takes as long as ever.

Owns: the draw. Its rule: the same file and seed give the same numbers, and pictures are what cameras give: patches over
patches in eight bits, so that what a codec makes of them is what it makes of a frame. Not here: inputs that a model was
trained for (`bench/shipped_models/real_inputs.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

__all__ = ["drawn_inputs"]

PICTURE_CHANNELS = (1, 3, 4)
PATCHES = ((4, 0.5), (16, 0.25), (64, 0.15), (256, 0.1))
"""Patches along the longer side, and how much of the picture's range those have: finer ones less, as in photographs."""


def drawn_inputs(path: Path, count: int, seed: int) -> list[dict[str, NDArray[Any]]]:
    """Inputs in [0, 1], integers 0 or 1, floats of a picture's shape as pictures; a dimension that is not fixed is 1.

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
            shape = [size.dim_value or 1 for size in tensor.shape.dim]
            if dtype.kind == "f" and len(shape) == 4 and shape[1] in PICTURE_CHANNELS:
                request[entry.name] = _pictures(generator, shape).astype(dtype)
                continue
            values = generator.random(shape)
            request[entry.name] = values.astype(dtype) if dtype.kind == "f" else (values > 0.5).astype(dtype)
        drawn.append(request)
    return drawn


def _pictures(generator: np.random.Generator, shape: Sequence[int]) -> NDArray[np.float64]:
    """Patches of several sizes over each other, in steps of 1/255, shape (pictures, channels, height, width)."""
    pictures, channels, height, width = shape
    values = np.zeros(shape)
    for patches, share in PATCHES:
        side = -(-max(height, width) // patches)
        down, across = -(-height // side), -(-width // side)
        patch = generator.random((pictures, channels, down, across))
        values += share * patch.repeat(side, 2)[:, :, :height].repeat(side, 3)[..., :width]
    return np.round(values * 255) / 255
