"""Prepacked weights: graphs as onnxruntime optimized them once, their weights in blobs that all sessions map.

Owns: the packed form of components' graphs in the cache folder. onnxruntime reorders and packs weights for the
processor, which gives every session a private copy of them and takes most of the time of building one. A packed graph
went through that already: it opens in milliseconds, and its weights, in blobs named by what they hold, are pages of
files that sessions of any epochs and components share. Its rule: a packed graph is used only where it was made
(`runtime.fingerprint`), and only if it gave exactly the outputs of the graph it was made of; before that it has no name
that another agent on this folder would look for. Not here: when one is made (`compute/session_pool.py`), which blobs are kept
(`artifacts/cache.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from edgesplit.control.component_messages import ComponentSpec
from edgesplit.errors import PreparationFailed, RuntimeStarved
from edgesplit.late_libraries import np
from edgesplit.wire.tensors import FLOAT_DTYPES, Array, drawn
from edgesplit_agent.compute.prepacking.external_data import Entries, external_entries, with_external_entries
from edgesplit_agent.compute.prepacking.prepacked_format import SAVES_PREPACKED, TRIED, is_prepacked, moved_buffers
from edgesplit_agent.compute.runtime import (
    RuntimeOptions,
    fingerprint,
    has_integers,
    on_processor_alone,
    open_session,
    refusal,
    runtime_version,
    zeros,
)

__all__ = ["PackedGraphs"]

LEAST_BYTES = 1024
"""Smaller weights stay in the graph. [B]"""
PAGE_BYTES = mmap.ALLOCATIONGRANULARITY
PATIENCE_S = 60.0
"""How long to wait for another agent that packs the same graph; then both do. [s]"""
LOOK_EVERY_S = 0.05
_SCRATCH, _NEW = ".packing-", ".new-packing-"
_GRAPH, _WEIGHTS = "graph.onnx", "weights.bin"


class PackedGraphs:
    """The packed graphs of a cache folder.

    Args:
        folder: Where blobs lie; other agents may use it, too.
        touch: Notes a file as used now.
    """

    def __init__(self, folder: Path, touch: Callable[[Path], None] = os.utime) -> None:
        self._folder = folder
        self._touch = touch
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
                self._touch(self._folder / name)
        except (OSError, KeyError, PreparationFailed):
            return None
        return names

    def make(self, component: ComponentSpec, options: RuntimeOptions) -> set[str] | None:
        """Pack a component's graph; blocking, for as long as building its session takes, twice.

        Returns:
            Its blobs, or None where packed graphs cannot be used; its session is built from the graph itself then.

        Raises:
            PreparationFailed: onnxruntime refuses the graph.
        """
        digest = component.graph.digest
        if digest in self._refused or not on_processor_alone(options):
            return None
        if not TRIED.covers(runtime_version()):
            self._refused.add(digest)
            self._log.info(
                "not-packed", digest=digest, component=component.component, error=TRIED.text(runtime_version())
            )
            return None
        try:
            with self._alone(digest) as waited, self._scratch() as scratch:
                made = self.weights(digest) if waited else None
                return made or self._make(component, options, scratch)
        except (OSError, KeyError, ValueError, _NotPacked) as error:
            if not isinstance(error, OSError):  # room on disk may be made
                self._refused.add(digest)
            self._log.warning("not-packed", digest=digest, component=component.component, error=str(error))
            return None

    def _make(self, component: ComponentSpec, options: RuntimeOptions, scratch: Path) -> set[str]:
        digest = component.graph.digest
        wanted = _save_optimized(self._folder / digest, component, options, scratch)
        # Beside the blobs, for it finds them by their names.
        candidate = self._folder / f"{scratch.name}.onnx"
        try:
            names = self._take_over(candidate, scratch)
            # What was saved must compute the same, bit for bit: it is the same kernels on the same weights.
            _compare(wanted, _outputs(open_session(candidate, options, optimized=True), component))
            candidate.replace(self.path(digest))
        finally:
            candidate.unlink(missing_ok=True)
        return names

    @contextmanager
    def _alone(self, digest: str) -> Generator[bool]:
        """Keep other agents from packing the same graph meanwhile; whether one of them just did.

        One that dies lets go, one that hangs is passed.
        """
        path = self._folder / f"{_SCRATCH}{digest}.lock"
        with path.open("ab") as file:
            until_s = time.monotonic() + PATIENCE_S
            waited = False
            while not _locks(file.fileno()) and time.monotonic() < until_s:
                waited = True
                time.sleep(LOOK_EVERY_S)
            try:
                yield waited
            finally:
                path.unlink(missing_ok=True)

    @contextmanager
    def _scratch(self) -> Generator[Path]:
        """A folder of one's own; what agents that died left behind goes with it."""
        new = Path(tempfile.mkdtemp(prefix=_NEW, dir=self._folder))
        descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
        # Under its name it is locked from the first moment on: one that is not is taken for that of a dead process.
        _locks(descriptor)
        scratch = new.replace(new.with_name(_SCRATCH + new.name.removeprefix(_NEW)))
        try:
            self._sweep(scratch)
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            os.close(descriptor)

    def _sweep(self, own: Path) -> None:
        for other in self._folder.glob(f"{_SCRATCH}*/"):
            if other != own and _is_abandoned(other):
                shutil.rmtree(other, ignore_errors=True)
                other.with_name(f"{other.name}.onnx").unlink(missing_ok=True)
        for other in self._folder.glob(f"{_NEW}*/"):
            with contextlib.suppress(OSError):  # somebody else swept, or has it renamed
                if time.time() - other.stat().st_mtime > PATIENCE_S:
                    other.rmdir()

    def _take_over(self, candidate: Path, scratch: Path) -> set[str]:
        """Turn what onnxruntime saved into blobs and a graph that names them."""
        saved = (scratch / _GRAPH).read_bytes()
        names: set[str] = set()
        weights = scratch / _WEIGHTS
        with weights.open("rb") if weights.exists() else (scratch / _GRAPH).open("rb") as file:

            def relocate(entries: Entries) -> Entries:
                moved = self._blob(file, entries, scratch)
                names.add(moved["location"])
                return moved

            packed = with_external_entries(saved, relocate)
        _write_durably(candidate, packed)
        return names

    def _blob(self, file: BinaryIO, entries: Entries, scratch: Path) -> dict[str, str]:
        """Copy one weight, and its packed forms, into a blob of their own."""
        if entries["location"] != _WEIGHTS:
            raise _NotPacked(f"a weight of it lies in {entries['location']}")
        content = bytearray(_read(file, int(entries["offset"]), int(entries["length"])))
        moved = {"offset": "0", "length": entries["length"]}
        for key, value in entries.items():
            if is_prepacked(key):
                moved[key] = moved_buffers(value, lambda offset, length: _appended(content, file, offset, length))
        name = hashlib.sha256(content).hexdigest()
        path = self._folder / name
        if not _holds(path, content):
            temporary = scratch / name
            _write_durably(temporary, content)
            temporary.replace(path)
        return {"location": name, **moved}


class _NotPacked(Exception):
    """A graph cannot be used in packed form; why."""


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_abandoned(folder: Path) -> bool:
    """Whether nobody holds a folder's lock any more."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _locks(descriptor)
    finally:
        os.close(descriptor)


def _holds(path: Path, content: bytearray) -> bool:
    """Whether a blob is there, and undamaged."""
    return path.exists() and path.stat().st_size == len(content) and bytes(content) == path.read_bytes()


def _appended(content: bytearray, file: BinaryIO, offset: int, length: int) -> int:
    """Copy a buffer to the end of a blob, on a page of its own; where it lies there. [B]"""
    content += b"\0" * (-len(content) % PAGE_BYTES)
    at = len(content)
    content += _read(file, offset, length)
    return at


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
        **SAVES_PREPACKED,
    }
    session = open_session(path, options, save_to=into / _GRAPH, entries=entries)
    if not (into / _GRAPH).exists():
        raise _NotPacked("this onnxruntime saves no optimized graph")
    return _outputs(session, component)


def _outputs(session: Any, component: ComponentSpec) -> list[Array]:
    names = [output.name for output in component.outputs]
    try:
        return list(session.run(names, _samples(component)))
    except Exception as error:  # onnxruntime raises pybind types without a common base
        refused = refusal(f"component {component.component} does not run", error)
        if isinstance(refused, RuntimeStarved) or not has_integers(component.inputs, component.values):
            raise refused from error
        # Made-up values may not suit it (an index beyond its table): nothing to compare, and still it may serve.
        raise _NotPacked(str(refused)) from error


def _samples(component: ComponentSpec) -> Mapping[str, Array]:
    draw = np.random.default_rng(0)
    floats = {spec.name: drawn(spec.dtype, spec.sizes, draw) for spec in component.inputs if spec.dtype in FLOAT_DTYPES}
    return zeros(component.inputs, component.values) | floats


def _compare(wanted: list[Array], got: list[Array]) -> None:
    for one, other in zip(wanted, got, strict=True):
        if one.dtype != other.dtype or one.shape != other.shape or _content(one) != _content(other):
            raise _NotPacked("its saved form computes something else")


def _content(array: Array) -> object:
    return array.tolist() if array.dtype.hasobject else array.tobytes()
