"""Graphs as onnxruntime optimized them once, their weights in blobs that all sessions map.

Owns: the packed form of components' graphs in the cache folder. onnxruntime reorders and packs weights for the
processor, which gives every session a private copy of them and takes most of the time of building one. A packed graph
went through that already: it opens in milliseconds, and its weights, in blobs named by what they hold, are pages of
files that sessions of any epochs and components share. Its rule: a packed graph is used only where it was made
(`runtime.fingerprint`), and only if it gave exactly the outputs of the graph it was made of. Not here: when one is
made (`sessions.py`), which blobs are kept (`artifacts/cache.py`).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import structlog

from edgesplit.errors import PreparationFailed
from edgesplit.messages import ComponentSpec, TensorSpec
from edgesplit.tensors import Array
from edgesplit_agent.compute.onnx_wire import Entries, external_entries, with_external_entries
from edgesplit_agent.compute.runtime import RuntimeOptions, fingerprint, first_line, on_processor_alone, open_session

__all__ = ["PackedGraphs"]

LEAST_BYTES = 1024
"""Smaller weights stay in the graph. [B]"""
PAGE_BYTES = mmap.ALLOCATIONGRANULARITY
_GRAPH, _WEIGHTS = "graph.onnx", "weights.bin"
_PREPACKED = "prepacked_"


class PackedGraphs:
    """The packed graphs of a cache folder.

    Args:
        folder: Where blobs lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._refused: set[str] = set()
        self._log = structlog.get_logger(part="packing")

    def path(self, digest: str) -> Path:
        """Where the packed form of a graph lies or would lie on this machine; the cache's pruning knows such names."""
        return self._folder / f"{digest}.packed-{fingerprint()}"

    def weights(self, digest: str) -> set[str] | None:
        """Blobs of a packed graph, None where it or one of them is not there."""
        try:
            names = {entries["location"] for entries in external_entries(self.path(digest).read_bytes())}
            for name in (*names, self.path(digest).name):
                os.utime(self._folder / name)
        except (OSError, KeyError, PreparationFailed):
            return None
        return names

    def make(self, component: ComponentSpec, options: RuntimeOptions) -> set[str] | None:
        """Pack a component's graph; blocking, for as long as building its session takes, twice.

        Returns:
            Its blobs, or None where packed graphs cannot be used; its session is built from the graph itself then.

        Raises:
            PreparationFailed: onnxruntime refuses the graph, or does not run it.
        """
        digest = component.graph.digest
        if digest in self._refused or not on_processor_alone(options):
            return None
        scratch = Path(tempfile.mkdtemp(prefix=".packing-", dir=self._folder))
        try:
            wanted = _save_optimized(self._folder / digest, component, options, scratch)
            names = self._take_over(digest, scratch)
            # What was saved must compute the same, bit for bit: it is the same kernels on the same weights.
            _compare(wanted, _outputs(open_session(self.path(digest), options, optimized=True), component))
        except (OSError, KeyError, ValueError, _NotPacked) as error:
            self._refused.add(digest)
            self.path(digest).unlink(missing_ok=True)
            self._log.warning("not-packed", digest=digest, component=component.component, error=str(error))
            return None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return names

    def _take_over(self, digest: str, scratch: Path) -> set[str]:
        """Turn what onnxruntime saved into blobs and a graph that names them."""
        saved = (scratch / _GRAPH).read_bytes()
        names: set[str] = set()
        weights = scratch / _WEIGHTS
        with weights.open("rb") if weights.exists() else (scratch / _GRAPH).open("rb") as file:

            def relocate(entries: Entries) -> Entries:
                moved = self._blob(file, entries)
                names.add(moved["location"])
                return moved

            packed = with_external_entries(saved, relocate)
        temporary = scratch / "packed"
        _write_durably(temporary, packed)
        temporary.replace(self.path(digest))
        return names

    def _blob(self, file: BinaryIO, entries: Entries) -> dict[str, str]:
        """Copy one weight, and its packed forms, into a blob of their own."""
        if entries["location"] != _WEIGHTS:
            raise _NotPacked(f"a weight of it lies in {entries['location']}")
        content = bytearray(_read(file, int(entries["offset"]), int(entries["length"])))
        moved = {"offset": "0", "length": entries["length"]}
        for key, value in entries.items():
            if key.startswith(_PREPACKED):
                # Name of the kernel and a hash, then offset;length;checksum of each of its buffers.
                kernel, *buffers = value.split("|")
                moved[key] = "|".join([kernel, *(_appended(content, file, buffer) for buffer in buffers)])
        name = hashlib.sha256(content).hexdigest()
        path = self._folder / name
        if not _holds(path, content):
            descriptor, temporary = tempfile.mkstemp(prefix=".packing-", dir=self._folder)
            os.close(descriptor)
            _write_durably(Path(temporary), content)
            Path(temporary).replace(path)
        return {"location": name, **moved}


class _NotPacked(Exception):
    """A graph cannot be used in packed form; why."""


def _holds(path: Path, content: bytearray) -> bool:
    """Whether a blob is there, and undamaged."""
    return path.exists() and path.stat().st_size == len(content) and bytes(content) == path.read_bytes()


def _appended(content: bytearray, file: BinaryIO, buffer: str) -> str:
    offset, length, checksum = buffer.split(";")
    content += b"\0" * (-len(content) % PAGE_BYTES)
    at = len(content)
    content += _read(file, int(offset), int(length))
    return f"{at};{length};{checksum}"


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    content = file.read(length)
    if len(content) != length:
        raise _NotPacked("onnxruntime saved fewer bytes of its weights than it says")
    return content


def _write_durably(path: Path, content: bytes | bytearray) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        # A rename may reach the disk before the bytes do: after a power cut the name must not lie.
        os.fsync(file.fileno())
    path.chmod(0o644)


def _save_optimized(path: Path, component: ComponentSpec, options: RuntimeOptions, into: Path) -> list[Array]:
    """Have onnxruntime optimize a graph and save it; what it computes."""
    entries = {
        "session.optimized_model_external_initializers_file_name": _WEIGHTS,
        "session.optimized_model_external_initializers_min_size_in_bytes": str(LEAST_BYTES),
        "session.save_external_prepacked_constant_initializers": "1",
    }
    session = open_session(path, options, save_to=into / _GRAPH, entries=entries)
    if not (into / _GRAPH).exists():
        raise _NotPacked("this onnxruntime saves no optimized graph")
    return _outputs(session, component)


def _outputs(session: Any, component: ComponentSpec) -> list[Array]:
    names = [output.name for output in component.outputs]
    try:
        return list(session.run(names, _samples(component.inputs)))
    except Exception as error:  # onnxruntime raises pybind types without a common base
        raise PreparationFailed(f"component {component.component} does not run: {first_line(error)}") from error


def _samples(specs: tuple[TensorSpec, ...]) -> Mapping[str, Array]:
    draw = np.random.default_rng(0)
    return {
        spec.name: draw.random(spec.shape).astype(spec.dtype)
        if np.dtype(spec.dtype).kind == "f"
        else np.zeros(spec.shape, spec.dtype)
        for spec in specs
    }


def _compare(wanted: list[Array], got: list[Array]) -> None:
    for one, other in zip(wanted, got, strict=True):
        if one.dtype != other.dtype or one.shape != other.shape or one.tobytes() != other.tobytes():
            raise _NotPacked("its saved form computes something else")
