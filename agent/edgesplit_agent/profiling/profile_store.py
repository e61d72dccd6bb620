"""Execution profiles on disk, whole ones and what was measured of an unfinished one.

Owns: their files beside the blobs and what makes two profiles the same. Its rule: a file that cannot be read was never
there, and one that cannot be written is kept in memory; other agents on the folder never see half of one. A profile of an
earlier release is read, without what that did not measure: a fleet that is updated does not measure everything again. What an
unfinished profiling of such a release had found out is measured again. What concerns the float graph alone goes by that graph, and
holds for a later offer with another int8 form of it. Not here: measuring (`profile_measurement.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

import msgspec
import structlog

from edgesplit.control.profile_messages import ExecutionProfile, ModelOffer
from edgesplit.planning.origins import Origin

__all__ = ["OF_FLOAT", "GraphTimes", "ProfileStore", "replace_file"]

OF_FLOAT = "float"
"""Name of the part that concerns the float graph alone."""


class GraphTimes(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one whole graph, and about the whole float model meanwhile.

    Attributes:
        shares: Unit to its share of the graph's time. [1]
        integer_shares: Unit to what its integer kernels take of that time. [1]
        provider: onnxruntime execution provider that the session got.
        origin: Of the shares; the whole is always measured.
        ratios: Time of the graph over that of the whole float model, run in turn; empty where it is that model. [1]
        moments: Where runs of the whole float model lay, at each moment. [s]
        rested: Time of a run of it after a pause over those in a row. [1]
        runs: How many the moments stand on.
        seconds: What all of it took of the node's time. [s]
        spreads: Unit to the relative standard error of its share; a unit left out is not known. [1]
    """

    shares: dict[str, float]
    integer_shares: dict[str, float]
    provider: str
    origin: Origin = "measured"
    ratios: tuple[float, ...] = ()
    moments: tuple[float, ...]
    rested: tuple[float, ...]
    runs: int
    seconds: float
    spreads: dict[str, float] = msgspec.field(default_factory=dict[str, float])


class ProfileStore:
    """Profiles of one node.

    Args:
        folder: Where they lie.
        runtime: Name and version of the runtime.
        provider: As configured.
        threads: Of the runtime.
    """

    def __init__(self, folder: Path, *, runtime: str, provider: str, threads: int) -> None:
        self._folder = folder
        self._conditions = (runtime, provider, str(threads))
        self._unwritten: dict[Path, bytes] = {}
        self._log = structlog.get_logger(part="profiling")

    def profile(self, offer: ModelOffer) -> ExecutionProfile | None:
        """What was measured of a model under these conditions."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._content(self._file(offer)), type=ExecutionProfile)
        return None

    def keep(self, offer: ModelOffer, profile: ExecutionProfile) -> None:
        """Remember a profile; what it was put together from is dropped, but for the times of the float graph."""
        self._write(self._file(offer), msgspec.json.encode(profile))
        self.keep_standing(offer, profile)
        self._forget(self._parts(self._key(offer)))

    def standing(self, offer: ModelOffer) -> ExecutionProfile | None:
        """What is known of the same float graph, quickly timed or of another offer: its float times alone."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            known = msgspec.json.decode(self._content(self._standing(offer)), type=ExecutionProfile)
            return msgspec.structs.replace(known, quantized_time_s={}, integer_time_s={}, quantized_unit_spreads={})
        return None

    def keep_standing(self, offer: ModelOffer, profile: ExecutionProfile) -> None:
        """Remember what is known of a float graph until more is."""
        self._write(self._standing(offer), msgspec.json.encode(profile))

    def part(self, offer: ModelOffer, name: str) -> GraphTimes | None:
        """What an earlier, unfinished profiling found out about one of the graphs."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._content(self._part(offer, name)), type=GraphTimes)
        return None

    def keep_part(self, offer: ModelOffer, name: str, times: GraphTimes) -> None:
        """Remember one graph's times until the profile is whole."""
        self._write(self._part(offer, name), msgspec.json.encode(times))

    def forget_parts(self, offer: ModelOffer) -> None:
        """Drop what is known of single graphs: all is to be measured again."""
        self._forget([*self._parts(self._key(offer)), *self._parts(self._float_key(offer))])

    def _forget(self, parts: list[Path]) -> None:
        for part in parts:
            self._unwritten.pop(part, None)
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def _content(self, path: Path) -> bytes:
        kept = self._unwritten.get(path)
        return path.read_bytes() if kept is None else kept

    def _write(self, path: Path, content: bytes) -> None:
        try:
            replace_file(path, content)
        except OSError as error:
            self._unwritten[path] = content
            self._log.warning("profile-not-written", path=str(path), text=f"it is lost with this agent: {error}")
        else:
            self._unwritten.pop(path, None)

    def _key(self, offer: ModelOffer) -> str:
        quantized = "" if offer.quantized_graph is None else offer.quantized_graph.digest
        parts = (
            offer.sha256,
            offer.float_graph.digest,
            quantized,
            offer.profile_plan,
            offer.calibration_plan,
            *self._conditions,
        )
        return _digest(parts)

    def _float_key(self, offer: ModelOffer) -> str:
        return _digest(("float", offer.sha256, offer.float_graph.digest, *self._conditions))

    def _file(self, offer: ModelOffer) -> Path:
        return self._folder / f"profile-{self._key(offer)}.json"

    def _standing(self, offer: ModelOffer) -> Path:
        return self._folder / f"standing-{self._float_key(offer)}.json"

    def _part(self, offer: ModelOffer, name: str) -> Path:
        key = self._float_key(offer) if name == OF_FLOAT else self._key(offer)
        return self._folder / f"profile-{key}.{name}.json"

    def _parts(self, key: str) -> list[Path]:
        pattern = f"profile-{key}.*.json"
        return sorted({*self._folder.glob(pattern), *(path for path in self._unwritten if path.match(pattern))})


def _digest(parts: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that other agents may read meanwhile: they see it whole or not at all.

    Raises:
        OSError: It cannot be written; the old one stays.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        new.write_bytes(content)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
