"""Timing of wire codecs on this node.

Owns: timing every codec it can run on tensors of a few sizes, at a few moments, the fit of seconds per tensor and per byte, and
the file that keeps them. Its rule: they are timed in the thread that will run them, after every request and no longer than one
coding at a time; every moment times all of them, so that a spell of the machine catches none more than others. Not here: running
codecs while serving (`compute/coding.py`).

The tensors are seeded noise: what takes a codec's time is its passes over memory and the entropy of what it compresses,
and activations are close to noise in both.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from edgesplit.control.profile_messages import CodecTimes
from edgesplit.late_libraries import np
from edgesplit.wire.codecs import CODECS, available_codecs
from edgesplit.wire.frames import pack_tensor, unpack_tensors
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.emulated_slowness import DISPLACING_BYTES, repeats
from edgesplit_agent.compute.recent_runs import quickest_mean
from edgesplit_agent.compute.runtime import RuntimeOptions
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker
from edgesplit_agent.profiling.machine_lock import machine_lock
from edgesplit_agent.profiling.profile_store import replace_file
from edgesplit_agent.profiling.timing.robust_statistics import location, standard_error

__all__ = ["CodecTimer", "CodecTiming", "Rested", "RestedMoments", "codec_times", "fit_line", "rested_times"]

T = TypeVar("T")

CHANNELS = 64
SIDES = (16, 48, 96)
"""Tensors of 64 KiB, 576 KiB and 2.25 MiB in float32, shape (1, CHANNELS, side, side)."""
MOMENTS = 3
"""At each everything is timed once; two seconds in all."""
SERIES_S = 0.004
"""Codings in a row take at least so long: under a processor quota each runs at once or waits for the next period, and
only their mean says what coding takes from a node that computes. [s]"""
MOST_ROUNDS = 5
REST_S = 0.2
"""A request's tensors are coded after a pause, into memory that was not touched lately. On a virtual machine whose host
takes such pages away that is several times slower than in a loop. [s]"""
LEAST_S = 1e-9
"""A clock that did not advance has seen that much. [s]"""
LEAST_SHARE = 0.5
"""Of a time in a row, whatever a codec of its kind seemed to gain by pauses. [1]"""
FORMAT = 4
"""Of the file; another way of timing is another format where what an earlier one found is wrong, not only less sure: a fleet that
is updated would time everything again."""


@dataclass(frozen=True)
class Rested:
    """What pauses do to one codec.

    Attributes:
        s_per_byte: What it takes longer then, by byte of the tensor; below 0 where it takes less. [s/B]
        error: Standard error of how many times longer. [1]
    """

    s_per_byte: float
    error: float


NO_REST = Rested(0.0, 0.0)


@dataclass
class _Moments:
    """What one codec took on tensors of some sizes, one figure a moment.

    Attributes:
        encoding: By bytes of the tensor. [s]
        decoding: The same of restoring. [s]
    """

    encoding: dict[int, list[float]] = field(default_factory=lambda: defaultdict[int, list[float]](list))
    decoding: dict[int, list[float]] = field(default_factory=lambda: defaultdict[int, list[float]](list))


@dataclass
class RestedMoments:
    """A codec's times after a pause over those right behind, and these, one a moment. [1, s]"""

    encoding: list[float] = field(default_factory=list[float])
    encoding_s: list[float] = field(default_factory=list[float])
    decoding: list[float] = field(default_factory=list[float])
    decoding_s: list[float] = field(default_factory=list[float])


class CodecTiming(msgspec.Struct, frozen=True):
    """Times by codec, without emulated slowness.

    Attributes:
        of_float: Of float32 tensors.
        of_integers: Of the integers that a quantized operator yields.
    """

    of_float: dict[str, CodecTimes]
    of_integers: dict[str, CodecTimes]


class CodecTimer:
    """Times codecs once and remembers.

    Args:
        folder: Where the file lies.
        worker: Will run the codecs while serving.
        options: Of the runtime; its clock counts.
    """

    def __init__(self, folder: Path, worker: Worker, options: Callable[[], RuntimeOptions]) -> None:
        self._folder = folder
        self._worker = worker
        self._options = options
        self._one_at_a_time = asyncio.Lock()
        self._displacing: tuple[Array, Array] | None = None
        self.timing = CodecTiming({}, {})
        """Empty until `ensure` was awaited."""

    async def ensure(self) -> CodecTiming:
        """Time the codecs, or take what was found before under the same conditions."""
        async with self._one_at_a_time:
            if not self.timing.of_float:
                self.timing = await self._kept_or_timed()
        return self.timing

    def recall(self) -> None:
        """Take what was found before under the same conditions, if anything was."""
        if not self.timing.of_float:
            self.timing = self._kept() or self.timing

    def _kept(self) -> CodecTiming | None:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._path().read_bytes(), type=CodecTiming)
        return None

    def _path(self) -> Path:
        return self._folder / f"codecs-{_conditions(self._options())}.json"

    async def _kept_or_timed(self) -> CodecTiming:
        if (kept := self._kept()) is not None:
            return kept
        path = self._path()
        activations = [_activations(side) for side in SIDES]
        names = [name for name in available_codecs() if name != "raw"]
        integers = [np.clip(array * 32 + 128, 0, 255).astype(np.uint8) for array in activations]
        options = self._options()
        of_float = {name: _Moments() for name in names}
        of_integers = {name: _Moments() for name in names if CODECS[name].applies_to("uint8")}
        rested = {name: RestedMoments() for name in _one_of_each_kind(names).values()}
        self._displacing = np.zeros(DISPLACING_BYTES, np.uint8), np.ones(DISPLACING_BYTES, np.uint8)
        # A clock of the thread's own does not count what others do meanwhile.
        try:
            async with machine_lock(enabled=options.alone and options.clock is not time.thread_time):
                for _ in range(MOMENTS):
                    for moments, tensors in ((of_float, activations), (of_integers, integers)):
                        for name, known in moments.items():
                            await self._time(name, tensors, known)
                    await asyncio.gather(*(self._rest(name, activations[1], known) for name, known in rested.items()))
        finally:
            self._displacing = None
        # What a pause costs is this machine's: a node that plays a slower one does not multiply it.
        played = repeats(options.slow_down)
        beyond = {
            _kind(name): (NO_REST, NO_REST) if played else rested_times(activations[1].nbytes, known)
            for name, known in rested.items()
        }
        timing = CodecTiming(
            {
                name: codec_times(known.encoding, known.decoding, beyond[_kind(name)])
                for name, known in of_float.items()
            },
            {
                name: codec_times(known.encoding, known.decoding, beyond[_kind(name)])
                for name, known in of_integers.items()
            },
        )
        try:
            replace_file(path, msgspec.json.encode(timing))
        except OSError as error:
            structlog.get_logger(part="profiling").warning("codec-times-not-written", path=str(path), error=str(error))
        return timing

    async def _time(self, codec: str, tensors: Sequence[Array], known: _Moments) -> None:
        for tensor in tensors:
            encode_s, decode_s = await self._in_a_row(codec, tensor)
            known.encoding[tensor.nbytes].append(encode_s)
            known.decoding[tensor.nbytes].append(decode_s)

    async def _in_a_row(self, codec: str, tensor: Array) -> tuple[float, float]:
        """Mean times of coding and of restoring, behind a first round; the quickest on a node that plays a slower one. [s, s]"""
        await self._round(codec, tensor)
        rounds: list[tuple[float, float]] = []
        while not rounds or (len(rounds) < MOST_ROUNDS and sum(map(sum, rounds)) < SERIES_S):
            rounds.append(await self._round(codec, tensor))
        middle = quickest_mean if repeats(self._options().slow_down) else statistics.fmean
        encode_s, decode_s = (middle(series) for series in zip(*rounds, strict=True))
        return encode_s, decode_s

    async def _rest(self, codec: str, tensor: Array, known: RestedMoments) -> None:
        """Code and restore, each after a pause and in a row right behind it."""
        packed = pack_tensor("t", tensor, codec)
        works: tuple[Callable[[], object], ...] = (
            lambda: pack_tensor("t", tensor, codec),
            lambda: unpack_tensors([packed.head], [packed.payload]),
        )
        series = (known.encoding, known.encoding_s), (known.decoding, known.decoding_s)
        for work, (ratios, seconds) in zip(works, series, strict=True):
            await asyncio.sleep(REST_S)
            rested_s, _ = await self._timed(work)
            row = [(await self._timed(work))[0] for _ in range(2)]
            ratios.append(rested_s / row[1])
            seconds.append(row[1])

    async def _round(self, codec: str, tensor: Array) -> tuple[float, float]:
        """Code once and back, each a turn of its own in the worker. [s, s]"""
        encode_s, packed = await self._timed(lambda: pack_tensor("t", tensor, codec))
        decode_s, _ = await self._timed(lambda: unpack_tensors([packed.head], [packed.payload]))
        return encode_s, decode_s

    async def _timed(self, work: Callable[[], T]) -> tuple[float, T]:
        options, displacing = self._options(), self._displacing

        def run() -> tuple[float, T]:
            if displacing is not None:
                np.copyto(*displacing)
            started = options.clock()
            done = work()
            seconds = max(options.clock() - started, LEAST_S)
            return seconds, done

        return await self._worker.run(run, priority=PROFILING_PRIORITY)


def _kind(codec: str) -> tuple[bool, bool]:
    """What decides how much a codec suffers from pauses: whether it compresses, and whether it converts before."""
    return CODECS[codec].compresses, CODECS[codec].lossless


def _one_of_each_kind(names: Sequence[str]) -> dict[tuple[bool, bool], str]:
    """The first codec of each kind: timed after pauses for all of its kind."""
    found: dict[tuple[bool, bool], str] = {}
    for name in names:
        found.setdefault(_kind(name), name)
    return found


def rested_times(nbytes: int, known: RestedMoments) -> tuple[Rested, Rested]:
    """What pauses do to coding and to restoring a tensor of so many bytes."""
    series = (known.encoding, known.encoding_s), (known.decoding, known.decoding_s)
    encoding, decoding = (
        Rested((location(ratios) - 1) * location(seconds) / nbytes, standard_error(ratios))
        for ratios, seconds in series
    )
    return encoding, decoding


def codec_times(
    encoding: Mapping[int, Sequence[float]], decoding: Mapping[int, Sequence[float]], rested: tuple[Rested, Rested]
) -> CodecTimes:
    """Times that explain what was measured at some moments best, as they are after a pause.

    Args:
        encoding: By bytes of the tensor, what coding took in a row, one figure a moment. [s]
        decoding: The same of restoring. [s]
        rested: What pauses do to each.
    """
    errors: list[float] = []
    fitted: list[tuple[float, float]] = []
    for series, beyond in zip((encoding, decoding), rested, strict=True):
        fixed_s, s_per_byte = fit_line([(nbytes, location(seconds)) for nbytes, seconds in series.items()])
        fitted.append((fixed_s, max(s_per_byte + beyond.s_per_byte, LEAST_SHARE * s_per_byte)))
        # A spell of the machine catches all sizes of a moment: their errors are not independent.
        in_row = statistics.fmean(standard_error(seconds) ** 2 for seconds in series.values())
        errors.append(in_row + beyond.error**2)
    (encode_s, encode_s_per_byte), (decode_s, decode_s_per_byte) = fitted
    return CodecTimes(
        encode_s=encode_s,
        encode_s_per_byte=encode_s_per_byte,
        decode_s=decode_s,
        decode_s_per_byte=decode_s_per_byte,
        spread=math.sqrt(statistics.fmean(errors)),
    )


def fit_line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Seconds per tensor and per byte that explain measured seconds best, neither below 0.

    Args:
        points: Bytes and seconds. [B, s]

    Returns:
        Least squares of relative errors, so that small tensors count as much as large ones. [s, s/B]
    """
    rows = np.array([(1 / seconds, nbytes / seconds) for nbytes, seconds in points if seconds > 0], np.float64)
    if not len(rows):
        return 0.0, 0.0
    ones = np.ones(len(rows))
    scale = np.maximum(np.linalg.norm(rows, axis=0), 1e-300)
    both = np.linalg.lstsq(rows / scale, ones, rcond=None)[0] / scale
    if len(rows) > 1 and (both >= 0).all():
        return float(both[0]), float(both[1])
    alone = [float(column @ ones / (column @ column)) for column in rows.T]
    errors = [float(np.square(rows[:, place] * alone[place] - 1).sum()) for place in range(2)]
    return (alone[0], 0.0) if errors[0] < errors[1] else (0.0, alone[1])


def _activations(side: int) -> Array:
    values = np.random.default_rng(side).normal(size=(1, CHANNELS, side, side))
    return np.asarray(values, np.float32)


def _conditions(options: RuntimeOptions) -> str:
    """What the times depend on, besides the machine: the folder is the machine's own."""
    played = ("played",) if repeats(options.slow_down) else ()
    parts = (str(FORMAT), np.__version__, *available_codecs(), options.clock.__name__, *played)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
