"""Requests for models of the integration tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

__all__ = ["random_request"]


def random_request(model: Path, folder: Path) -> Path:
    """One seeded request for a model of one image, as a file."""
    value = onnx.load(model, load_external_data=False).graph.input[0]
    shape = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    path = folder / "in.npz"
    arrays = {value.name: np.random.default_rng(1).random(shape, dtype=np.float32)}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # keywords are arrays, not allow_pickle
    return path
