"""Timing of wire codecs on this node.

Owns: timing every codec it can run on tensors of a few sizes, the fit of seconds per tensor and per byte, and the file
that keeps them. Its rule: they are timed in the thread that will run them, after every request and no longer than one
coding at a time. Not here: running codecs while serving (`compute/coding.py`).

The tensors are seeded noise: what takes a codec's time is its passes over memory and the entropy of what it compresses,
and activations are close to noise in both.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import structlog

from edgesplit.control.profile_messages import CodecTimes
from edgesplit.wire.codecs import CODECS, available_codecs
from edgesplit.wire.frames import pack_tensor, unpack_tensors
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.runtime import RuntimeOptions
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker
from edgesplit_agent.profiling.machine_lock import machine_lock
from edgesplit_agent.profiling.profile_store import replace_file

__all__ = ["CodecTimer", "CodecTiming", "fit_line"]

T = TypeVar("T")

CHANNELS = 64
SIDES = (16, 48, 96)
"""Tensors of 64 KiB, 576 KiB and 2.25 MiB in float32, shape (1, CHANNELS, side, side)."""
SERIES_S = 0.008
"""Codings in a row take at least so long: under a processor quota each runs at once or waits for the next period, and
only their mean says what coding takes from a node that computes. [s]"""
LEAST_ROUNDS, MOST_ROUNDS = 2, 20
REST_S, RESTED_ROUNDS = 0.2, 1
"""A request's tensors are coded after a pause, into memory that was not touched lately. On a virtual machine whose host
takes such pages away that is several times slower than in a loop."""
FORMAT = 3
"""Of the file; another way of timing is another format."""


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
        self.timing = CodecTiming({}, {})
        """Empty until `ensure` was awaited."""

    async def ensure(self) -> CodecTiming:
        """Time the codecs, or take what was found before under the same conditions."""
        async with self._one_at_a_time:
            if not self.timing.of_float:
                self.timing = await self._kept_or_timed()
        return self.timing

    async def _kept_or_timed(self) -> CodecTiming:
        path = self._folder / f"codecs-{_conditions(self._options())}.json"
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(path.read_bytes(), type=CodecTiming)
        activations = [_activations(side) for side in SIDES]
        names = [name for name in available_codecs() if name != "raw"]
        integers = [np.clip(array * 32 + 128, 0, 255).astype(np.uint8) for array in activations]
        options = self._options()
        # A clock of the thread's own does not count what others do meanwhile.
        async with machine_lock(enabled=options.alone and options.clock is not time.thread_time):
            of_float = {name: await self._time(name, activations) for name in names}
            apply = [name for name in names if CODECS[name].applies_to("uint8")]
            of_integers = {name: await self._time(name, integers) for name in apply}
        able = _one_of_each_kind(names)
        rested = await asyncio.gather(*(self._rested(name, activations[1].copy()) for name in able.values()))
        extra = dict(zip(able, rested, strict=True))
        timing = CodecTiming(
            {name: _beyond(times, extra.get(_kind(name))) for name, times in of_float.items()},
            {name: _beyond(times, extra.get(_kind(name))) for name, times in of_integers.items()},
        )
        try:
            replace_file(path, msgspec.json.encode(timing))
        except OSError as error:
            structlog.get_logger(part="profiling").warning("codec-times-not-written", path=str(path), error=str(error))
        return timing

    async def _time(self, codec: str, tensors: Sequence[Array]) -> CodecTimes:
        encoding: list[tuple[int, float]] = []
        decoding: list[tuple[int, float]] = []
        for tensor in tensors:
            encode_s, decode_s = await self._in_a_row(codec, tensor)
            encoding.append((tensor.nbytes, encode_s))
            decoding.append((tensor.nbytes, decode_s))
        encode_s, encode_s_per_byte = fit_line(encoding)
        decode_s, decode_s_per_byte = fit_line(decoding)
        return CodecTimes(
            encode_s=encode_s,
            encode_s_per_byte=encode_s_per_byte,
            decode_s=decode_s,
            decode_s_per_byte=decode_s_per_byte,
        )

    async def _in_a_row(self, codec: str, tensor: Array) -> tuple[float, float]:
        """Mean times of coding and of restoring, the slowest left out. [s, s]"""
        rounds: list[tuple[float, float]] = []
        while len(rounds) < LEAST_ROUNDS or (len(rounds) < MOST_ROUNDS and sum(map(sum, rounds)) < SERIES_S):
            rounds.append(await self._round(codec, tensor))
        encode_s, decode_s = (sorted(series)[:-1] for series in zip(*rounds, strict=True))
        return statistics.mean(encode_s), statistics.mean(decode_s)

    async def _rested(self, codec: str, tensor: Array) -> tuple[float, float]:
        """What coding and restoring take longer after a pause, by byte of the tensor. [s/B, s/B]"""
        encode_s, decode_s = await self._in_a_row(codec, tensor)
        packed = pack_tensor("t", tensor, codec)
        rested: list[tuple[float, float]] = []
        for _ in range(RESTED_ROUNDS):
            await asyncio.sleep(REST_S)
            encoding_s, _ = await self._timed(lambda: pack_tensor("t", tensor, codec))
            await asyncio.sleep(REST_S)
            decoding_s, _ = await self._timed(lambda: unpack_tensors([packed.head], [packed.payload]))
            rested.append((encoding_s, decoding_s))
        encoding, decoding = (statistics.mean(series) for series in zip(*rested, strict=True))
        return max(encoding - encode_s, 0.0) / tensor.nbytes, max(decoding - decode_s, 0.0) / tensor.nbytes

    async def _round(self, codec: str, tensor: Array) -> tuple[float, float]:
        """Code once and back, each a turn of its own in the worker. [s, s]"""
        encode_s, packed = await self._timed(lambda: pack_tensor("t", tensor, codec))
        decode_s, _ = await self._timed(lambda: unpack_tensors([packed.head], [packed.payload]))
        return encode_s, decode_s

    async def _timed(self, work: Callable[[], T]) -> tuple[float, T]:
        clock = self._options().clock

        def run() -> tuple[float, T]:
            started = clock()
            done = work()
            return clock() - started, done

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


def _beyond(times: CodecTimes, extra: tuple[float, float] | None) -> CodecTimes:
    """Times with what they are longer after a pause."""
    if extra is None:
        return times
    return msgspec.structs.replace(
        times,
        encode_s_per_byte=times.encode_s_per_byte + extra[0],
        decode_s_per_byte=times.decode_s_per_byte + extra[1],
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
    parts = (str(FORMAT), np.__version__, *available_codecs(), options.clock.__name__)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
