"""Files that commands read and write for the user.

Owns: writing a file whole or not at all, and .npz archives whose entries bear ONNX names. Its rule: no pickle, and a
file that exists is replaced only by a complete one. Not here: models (`cli/model_files/uploads.py`), problems (`edgesplit.planning.problem`).
"""

from __future__ import annotations

import contextlib
import gzip
import os
import tempfile
import zipfile
import zlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from edgesplit.errors import InvalidInput
from edgesplit.wire.tensors import Array, contiguous

__all__ = ["filled_beside", "read_arrays", "write_arrays", "write_problem", "write_whole"]


def read_arrays(file: Path) -> dict[str, Array]:
    """Read the arrays of an .npz archive.

    Raises:
        InvalidInput: It is none, is damaged, or holds Python objects.
    """
    if not zipfile.is_zipfile(file):
        raise InvalidInput(f"{file} is no .npz archive: write one with numpy.savez, one array for each input")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInput(
            f"{file} is damaged or holds more than plain arrays ({error}): write it again with numpy.savez"
        ) from error


def write_arrays(file: Path, arrays: Mapping[str, Array]) -> None:
    """Write an .npz archive; unlike numpy.savez it takes any name and leaves the file's suffix alone.

    Texts become those of one width, bfloat16 a structure of one uint16: neither needs more than numpy to be read.
    """
    with _replacing(file) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, _plain(name, array), allow_pickle=False)


def _plain(name: str, array: Array) -> Array:
    array = contiguous(name, array)
    return array.astype(np.str_) if array.dtype.hasobject else array


def write_problem(file: Path, document: bytes) -> None:
    """Write a problem file, compressed when its name ends in .gz."""
    with _replacing(file) as stream:
        stream.write(gzip.compress(document, mtime=0) if file.suffix == ".gz" else document)


def write_whole(file: Path, content: bytes) -> None:
    """Write a file of any kind."""
    with _replacing(file) as stream:
        stream.write(content)


@contextlib.contextmanager
def _replacing(file: Path) -> Generator[IO[bytes], None, None]:
    """A stream whose content becomes `file` when all of it was written."""
    if file.exists() and not file.is_file():  # /dev/stdout and its like take bytes as they come
        with file.open("wb") as stream:
            yield stream
        return
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def filled_beside(file: Path) -> Generator[Path, None, None]:
    """A file of this user's alone to be filled, which takes the place of `file` once that was done."""
    descriptor, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.")  # made with 0600
    os.close(descriptor)
    try:
        yield Path(name)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
