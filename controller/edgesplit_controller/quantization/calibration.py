"""Calibration samples: what the quantizer takes as typical input.

Owns: reading, checking and dividing samples. Its rule: a `Calibration` that exists fits its model; a file of hundreds of megabytes
is never in memory, only a sample of it at a time. Not here: running the model on them (see `ranges` and `noise`).
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgesplit.errors import InvalidCalibration, InvalidTensor
from edgesplit.wire.tensors import FLOAT_DTYPES, TEXT, contiguous, drawn, dtype_name, widened
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import GraphTensor, ModelGraph
from edgesplit_controller.graph.runner import RunRefused, open_session, shapes_of
from edgesplit_controller.graph.samples import InputRange, input_ranges, made_up
from edgesplit_controller.quantization.tensor_file import Chosen, kept_samples

__all__ = [
    "LEAST_SAMPLES",
    "Calibration",
    "Sample",
    "evenly",
    "further_samples",
    "integer_values",
    "load_calibration",
    "sample_shapes",
    "split",
    "that_run",
]

LEAST_SAMPLES = 4
"""Fewer say too little: half of them would set the ranges, half measure the noise."""

_MOST_HELD_OUT = 32
_FURTHER_SEED = 1

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
        samples: At least `LEAST_SAMPLES`; large ones lie in a file and are read one at a time.
        origin: `generated` when they are noise for want of the user's own.
        guessed: Inputs whose generated values say nothing of the user's: how far those go is not known.
        fixed: Ranges of inputs that were set so that the model takes what is generated.
    """

    samples: Sequence[Sample]
    origin: Literal["user", "generated"]
    guessed: tuple[str, ...] = ()
    fixed: Mapping[str, InputRange] = field(default_factory=dict[str, InputRange])


def load_calibration(path: Path | None, graph: ModelGraph, *, seed: int = 0, samples: int = 16) -> Calibration:
    """Read a calibration file, or make samples of uniform noise (see `graph.samples`).

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
    if path is None:
        return _generated(graph, {}, seed, samples)
    with _archive(path) as archive:
        columns = _columns(path, archive)
        if extra := sorted(columns.keys() - set(graph.inputs)):
            raise InvalidCalibration(f"{path} holds {extra[0]!r}, which is no input of the model; remove it")
        for name in graph.inputs:
            _check(path, columns, graph.tensors[name])
        counts = {name: columns[name].shape[0] for name in graph.inputs}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name!r} {count}" for name, count in counts.items())
            raise InvalidCalibration(f"{path} holds different numbers of samples ({told}); give each input the same")
        count = min(counts.values(), default=0)
        if count < LEAST_SAMPLES:
            raise InvalidCalibration(f"{path} holds {count} samples; at least {LEAST_SAMPLES} are needed")
        inputs = [graph.tensors[name] for name in graph.inputs]
        read = ({entry.name: _next(path, columns[entry.name], entry) for entry in inputs} for _ in range(count))
        return Calibration(kept_samples(read), "user")


def sample_shapes(path: Path | None) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays in a calibration file, from their headers; what cannot be read is told by who reads it."""
    if path is None:
        return {}
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    shapes[name.removesuffix(".npy")] = _header(member, np.lib.format.read_magic(member))[0]
    except _UNREADABLE:
        return {}
    return shapes


def that_run(calibration: Calibration, graph: ModelGraph, blobs: BlobStore) -> Calibration:
    """Generated samples that the model takes: it may refuse an index, a count or a divisor of its inputs.

    Args:
        calibration: Returned as it is unless it is generated and has integers.
        graph: The model.
        blobs: Where its weights lie.

    Raises:
        InvalidCalibration: None of those tried is taken.
    """
    if calibration.origin == "user" or not _ranges(graph):
        return calibration
    session = open_session(graph.proto, blobs)
    refusal = ""
    for same in (None, 0, 1):
        fixed = {} if same is None else dict.fromkeys(_ranges(graph), InputRange(same, same, known=False))
        tried = calibration if same is None else _generated(graph, fixed, 0, len(calibration.samples))
        try:
            for sample in tried.samples:
                shapes_of(session, graph.outputs, sample)
        except RunRefused as error:
            refusal = refusal or error.reason
        else:
            return tried
    raise InvalidCalibration(f"the model does not run on made-up samples ({refusal})")


def integer_values(graph: ModelGraph, blobs: BlobStore, calibration: Calibration) -> dict[str, tuple[int, ...]]:
    """Values of integer inputs for nodes that profile a model, who take zeros where none are given.

    Args:
        graph: The model.
        blobs: Where its weights lie.
        calibration: Where the values come from.

    Returns:
        None where the model takes zeros.

    Raises:
        InvalidCalibration: It takes neither them nor the samples.
    """
    integers = [name for name in graph.inputs if graph.tensors[name].dtype not in {*FLOAT_DTYPES, TEXT}]
    if not integers:
        return {}
    session = open_session(graph.proto, blobs)
    noise = np.random.default_rng(0)  # as nodes draw it
    zero_sample = {name: drawn(graph.tensors[name].dtype, graph.tensors[name].shape, noise) for name in graph.inputs}
    refusal = ""
    for sample, found in ((zero_sample, ()), (calibration.samples[0], integers)):
        try:
            shapes_of(session, graph.outputs, sample)
        except RunRefused as error:
            refusal = refusal or error.reason
        else:
            return {name: tuple(int(value) for value in sample[name].reshape(-1)) for name in found}
    raise InvalidCalibration(
        f"the model does not run on made-up inputs ({refusal}), so no node could time it: add it with --calibration"
    )


def _ranges(graph: ModelGraph) -> dict[str, InputRange]:
    shapes = {name: tensor.shape for name, tensor in graph.tensors.items()}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.proto.graph.initializer}
    return input_ranges(graph.proto, shapes)


def _generated(graph: ModelGraph, fixed: Mapping[str, InputRange], seed: int, count: int) -> Calibration:
    ranges = {**_ranges(graph), **fixed}
    guessed = tuple(name for name, limits in ranges.items() if not limits.known)
    shapes = {name: graph.tensors[name].shape for name in graph.inputs}
    samples = kept_samples(made_up(graph.proto, ranges, count, seed, shapes=shapes))
    return Calibration(samples, "generated", guessed, dict(fixed))


@dataclass(frozen=True)
class _SampleColumn:
    """Samples of one input in an archive.

    Attributes:
        shape: Of all of them.
        dtype: As they were saved.
        rows: Reads one after another.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: Iterator[NDArray[Any]]


@contextmanager
def _readable(path: Path) -> Generator[None]:
    """What a file that is damaged makes of reading it, as a sentence."""
    try:
        yield
    except _UNREADABLE as error:
        raise InvalidCalibration(f"{path} cannot be read as .npz ({error}); save it with numpy.savez") from error


@contextmanager
def _archive(path: Path) -> Generator[zipfile.ZipFile]:
    with _readable(path):
        with path.open("rb") as file:
            single = file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
        archive = None if single else zipfile.ZipFile(path)
    if archive is None:
        raise InvalidCalibration(f"{path} is no .npz archive but a single array; save it with numpy.savez")
    with archive:
        yield archive


def _columns(path: Path, archive: zipfile.ZipFile) -> dict[str, _SampleColumn]:
    found: dict[str, _SampleColumn] = {}
    with _readable(path):
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            column = _column(archive, member)
            if column is None:
                break
            found[name] = column
        else:
            return found
    raise InvalidCalibration(f"{path} holds {name!r}, which is no array; save it with numpy.savez")


def _header(stream: IO[bytes], version: tuple[int, int]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it lies by columns, and type of an array that is read behind its magic."""
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def _column(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _SampleColumn | None:
    """An array in an archive, whose rows are read one at a time where they lie so; None where it is none."""
    with archive.open(member) as beginning:
        if beginning.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            return None
    stream = archive.open(member)
    version = np.lib.format.read_magic(stream)
    if version in {(1, 0), (2, 0)}:
        shape, by_columns, dtype = _header(stream, version)
        if shape and not by_columns and not dtype.hasobject:
            if member.file_size - stream.tell() < math.prod(shape) * dtype.itemsize:
                raise EOFError(f"it ends before {member.filename} does")
            return _SampleColumn(shape, dtype, _rows(stream, shape, dtype))
    with archive.open(member) as again:
        array = np.lib.format.read_array(again, allow_pickle=False)
    return _SampleColumn(array.shape, array.dtype, iter(array if array.ndim else ()))


def _rows(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    nbytes = math.prod(shape[1:]) * dtype.itemsize
    for place in range(shape[0]):
        content = bytearray(stream.read(nbytes))
        if len(content) < nbytes:
            raise EOFError(f"it ends before sample {place}")
        if place == shape[0] - 1:
            stream.read(1)  # at its end its checksum is looked at
        yield np.frombuffer(content, dtype, math.prod(shape[1:])).reshape(shape[1:])


def _check(path: Path, columns: Mapping[str, _SampleColumn], entry: GraphTensor) -> None:
    """Types and shapes of the samples of one input, of which nothing is read."""
    name, wanted = entry.name, tuple(entry.shape)
    if name not in columns:
        raise InvalidCalibration(f"{path} lacks the model's input {name!r}; add an array of that name")
    shape = columns[name].shape
    try:
        none = contiguous(name, np.empty((0, *shape[1:]), columns[name].dtype))
    except InvalidTensor as error:
        raise InvalidCalibration(f"{path}: {error}") from error
    if dtype_name(none) != entry.dtype:
        raise InvalidCalibration(
            f"{path}: {name!r} is {dtype_name(none)}, the model's input is {entry.dtype}; convert it"
        )
    as_it_is = bool(shape) and shape[1:] == wanted
    if not as_it_is and not (wanted[:1] == (1,) and shape[1:] == wanted[1:] and len(shape) == len(wanted)):
        expected = f"(samples, {', '.join(map(str, wanted[1:] if wanted[:1] == (1,) else wanted))})"
        raise InvalidCalibration(f"{path}: {name!r} has shape {shape}, expected {expected}; reshape it")


def _next(path: Path, column: _SampleColumn, entry: GraphTensor) -> NDArray[Any]:
    """The next sample of one input."""
    with _readable(path):
        row = next(column.rows)
    array = contiguous(entry.name, row).reshape(tuple(entry.shape))
    if entry.dtype in FLOAT_DTYPES and not np.isfinite(widened(array)).all():
        raise InvalidCalibration(f"{path}: {entry.name!r} holds NaN or infinite values; remove those samples")
    return array


def further_samples(calibration: Calibration, graph: ModelGraph) -> Sequence[Sample]:
    """More samples that set no range, generated as a calibration's were; there are none where they are the user's own."""
    if calibration.origin == "generated":
        return _generated(graph, calibration.fixed, _FURTHER_SEED, _MOST_HELD_OUT).samples
    return ()


def split(calibration: Calibration) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Divide samples into those that set the ranges and those that the noise is measured on.

    Args:
        calibration: Samples.

    Returns:
        The calibration part and the held-out part, 2 to 32, taken evenly from the whole since files are often sorted: a half
        of the user's own, which differ from each other more than ranges do; a quarter of generated ones, which do not.
    """
    count = len(calibration.samples)
    share = 2 if calibration.origin == "user" else 4
    held = evenly(count, min(max(2, count // share), _MOST_HELD_OUT))
    inside = sorted(set(range(count)) - set(held))
    return Chosen(calibration.samples, inside), Chosen(calibration.samples, held)


def evenly(count: int, wanted: int) -> list[int]:
    """So many of a number of places at most, evenly apart, the first and the last included."""
    places = np.linspace(0, count - 1, min(wanted, count)).round()
    return [int(place) for place in places]
