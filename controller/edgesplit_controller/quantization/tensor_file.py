"""Tensors in a file: what is needed again but not now, so that memory holds one sample's at a time.

Owns: an unnamed file of arrays, and samples that lie in one. Its rule: what is read is what was written, bit for bit; a read makes an
array of its own, so that the file may be read by several threads at a time. Not here: which tensors are worth it.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["FILED", "FILED_BYTES", "Chosen", "SampleFile", "TensorFile", "kept_samples"]

Sample = Mapping[str, NDArray[Any]]

FILED = frozenset({"float64", "float32", "float16"})
FILED_BYTES = 64 << 10
"""Of a run's tensors, types and least bytes of those that are worth a file. [B]"""
IN_MEMORY_BYTES = 16 << 20
"""Samples of no more together stay in memory. [B]"""


class TensorFile:
    """Arrays in a file without a name, which goes with this object.

    Args:
        folder: On whose file system it lies; the one for temporary files by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - it lives as long as this object
        self.nbytes = 0
        """Of the file. [B]"""
        self._places: dict[str, tuple[int, np.dtype[Any], tuple[int, ...]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def put(self, name: str, array: NDArray[Any]) -> None:
        """Write an array of numbers under a name, in the place of one as large that was there."""
        whole = np.ascontiguousarray(array)
        rest = whole.reshape(-1).view(np.uint8).data
        place, dtype, shape = self._places.get(name, (self.nbytes, array.dtype, array.shape))
        if name not in self._places or rest.nbytes != dtype.itemsize * math.prod(shape):
            place, self.nbytes = self.nbytes, self.nbytes + rest.nbytes
        self._places[name] = place, array.dtype, array.shape
        while rest.nbytes:
            written = os.pwrite(self._file.fileno(), rest, place)
            place, rest = place + written, rest[written:]

    def get(self, name: str) -> NDArray[Any]:
        """Read it."""
        place, dtype, shape = self._places[name]
        array = np.empty(shape, dtype)
        rest = array.reshape(-1).view(np.uint8).data
        while rest.nbytes:
            count = os.preadv(self._file.fileno(), [rest], place)
            if not count:
                raise OSError(f"the file of tensors ends before {name}")
            place, rest = place + count, rest[count:]
        return array


class SampleFile(Sequence[Sample]):
    """Samples in a file, read one at a time.

    Args:
        samples: Of arrays of numbers, all with the same names.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._file = TensorFile()
        self._names: list[tuple[str, ...]] = []
        for index, sample in enumerate(samples):
            self._names.append(tuple(sample))
            for name, array in sample.items():
                self._file.put(f"{index} {name}", np.asarray(array))

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return Chosen(self, range(len(self))[index])
        place = range(len(self))[index]
        return {name: self._file.get(f"{place} {name}") for name in self._names[place]}


class Chosen(Sequence[Sample]):
    """Some of other samples.

    Args:
        samples: The others.
        places: Which.
    """

    def __init__(self, samples: Sequence[Sample], places: Sequence[int]) -> None:
        self._samples = samples
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return Chosen(self._samples, self._places[index])
        return self._samples[self._places[index]]


def kept_samples(samples: Iterable[Sample]) -> Sequence[Sample]:
    """Samples in memory where they are small, else in a file; they are taken one at a time."""
    small: list[Sample] = []
    nbytes, coming = 0, iter(samples)
    for sample in coming:
        small.append(sample)
        nbytes += sum(np.asarray(array).nbytes for array in sample.values())
        if nbytes > IN_MEMORY_BYTES and all(np.asarray(array).dtype.kind in "fiub" for array in sample.values()):
            return SampleFile(_both(small, coming))
    return tuple(small)


def _both(first: list[Sample], then: Iterable[Sample]) -> Iterable[Sample]:
    """The first ones, which are given up as they are taken, and the others."""
    while first:
        yield first.pop(0)
    yield from then
