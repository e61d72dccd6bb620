"""Calibration samples: what the quantizer takes as typical input.

Owns: reading, checking and dividing samples. Its rule: a `Calibration` that exists fits its model. Not here:
running the model on them (see `ranges` and `noise`).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgesplit.errors import InvalidCalibration

if TYPE_CHECKING:
    from edgesplit_controller.graph.model import ModelGraph, Tensor

__all__ = ["LEAST_SAMPLES", "Calibration", "Sample", "load_calibration", "split"]

LEAST_SAMPLES = 4
"""Fewer say too little: half of them would set the ranges, half measure the noise."""

_MOST_HELD_OUT = 8

_UNREADABLE = (
    *(OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RuntimeError),  # compressed or encrypted in a way that Python cannot undo
    MemoryError,  # a header that promises more than there could be
)

Sample = Mapping[str, NDArray[Any]]
"""One array for each of the model's inputs, in the input's shape."""


@dataclass(frozen=True)
class Calibration:
    """Samples that fit a model.

    Attributes:
        samples: At least `LEAST_SAMPLES`.
        origin: `generated` when they are noise for want of the user's own.
    """

    samples: tuple[Sample, ...]
    origin: Literal["user", "generated"]


def load_calibration(path: Path | None, graph: ModelGraph, *, seed: int = 0, samples: int = 16) -> Calibration:
    """Read a calibration file, or make samples of uniform noise in [0, 1].

    Args:
        path: An .npz file with one array for each input, first axis the samples: shape (n, *shape[1:]) when the
            input's first dimension is 1, or (n, *shape). None generates.
        graph: The model.
        seed: Of the generated noise.
        samples: How many to generate.

    Returns:
        The samples.

    Raises:
        InvalidCalibration: The file does not fit the model.
    """
    inputs = [graph.tensors[name] for name in graph.inputs]
    if path is None:
        random = np.random.default_rng(seed)
        made = tuple({entry.name: _generate(entry, random) for entry in inputs} for _ in range(samples))
        return Calibration(made, "generated")
    arrays = _read(path)
    if extra := sorted(arrays.keys() - set(graph.inputs)):
        raise InvalidCalibration(f"{path} holds {extra[0]!r}, which is no input of the model; remove it")
    columns = {entry.name: _checked(path, arrays, entry) for entry in inputs}
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise InvalidCalibration(f"{path} holds different numbers of samples ({told}); give each input the same")
    count = min(counts.values(), default=0)
    if count < LEAST_SAMPLES:
        raise InvalidCalibration(f"{path} holds {count} samples; at least {LEAST_SAMPLES} are needed")
    return Calibration(tuple({name: columns[name][index] for name in columns} for index in range(count)), "user")


def _generate(entry: Tensor, random: np.random.Generator) -> NDArray[Any]:
    dtype = np.dtype(entry.dtype)
    values = random.random(entry.shape)
    # An integer input is an index or a flag more often than a number: 0 and 1 are valid for both.
    return (values if dtype.kind == "f" else np.rint(values)).astype(dtype)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.lib.npyio.NpzFile):
            with archive:
                # numpy hands out the bytes of a member that is no array.
                members: dict[str, Any] = {name: archive[name] for name in archive.files}
            if strange := [name for name, member in members.items() if not isinstance(member, np.ndarray)]:
                raise InvalidCalibration(f"{path} holds {strange[0]!r}, which is no array; save it with numpy.savez")
            return members
    except _UNREADABLE as error:
        raise InvalidCalibration(f"{path} cannot be read as .npz ({error}); save it with numpy.savez") from error
    raise InvalidCalibration(f"{path} is no .npz archive but a single array; save it with numpy.savez")


def _checked(path: Path, arrays: Mapping[str, NDArray[Any]], entry: Tensor) -> NDArray[Any]:
    """Samples of one input, shape (n, *shape)."""
    name, shape = entry.name, tuple(entry.shape)
    if name not in arrays:
        raise InvalidCalibration(f"{path} lacks the model's input {name!r}; add an array of that name")
    array = arrays[name]
    if array.dtype != np.dtype(entry.dtype):
        raise InvalidCalibration(f"{path}: {name!r} is {array.dtype}, the model's input is {entry.dtype}; convert it")
    if shape and shape[0] == 1 and array.shape[1:] == shape[1:] and array.ndim == len(shape):
        array = array[:, np.newaxis]
    if array.ndim == 0 or array.shape[1:] != shape:
        expected = f"(samples, {', '.join(map(str, shape[1:] if shape[:1] == (1,) else shape))})"
        raise InvalidCalibration(f"{path}: {name!r} has shape {array.shape}, expected {expected}; reshape it")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidCalibration(f"{path}: {name!r} holds NaN or infinite values; remove those samples")
    return array


def split(calibration: Calibration) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Divide samples into those that set the ranges and those that the noise is measured on.

    Args:
        calibration: Samples.

    Returns:
        The calibration part and the held-out part: a quarter of the samples, 2 to 8, taken evenly from the whole
        since files are often sorted.
    """
    count = len(calibration.samples)
    held = min(max(2, count // 4), _MOST_HELD_OUT)
    chosen = {int(index) for index in np.linspace(0, count - 1, held).round()}
    inside = tuple(sample for index, sample in enumerate(calibration.samples) if index not in chosen)
    return inside, tuple(calibration.samples[index] for index in sorted(chosen))
