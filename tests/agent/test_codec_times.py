"""What codecs take here: fitted, kept, and as slow as the node is played."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.wire.codecs import available_codecs
from edgesplit_agent.compute.session_pool import RuntimeOptions
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.codec_times import (
    MOMENTS,
    CodecTimer,
    Rested,
    RestedMoments,
    codec_times,
    fit_line,
    rested_times,
)
from tests.agent.noisy_machine import NoisyMachine

SIZES = (1 << 16, 1 << 19, 1 << 22)


@given(fixed_s=st.floats(0, 1e-3), slope=st.floats(1e-11, 1e-8))
def test_a_straight_line_is_found_again(fixed_s: float, slope: float) -> None:
    found = fit_line([(nbytes, fixed_s + slope * nbytes) for nbytes in SIZES])
    for nbytes in SIZES:
        assert found[0] + found[1] * nbytes == pytest.approx(fixed_s + slope * nbytes, rel=1e-3)


@given(seconds=st.lists(st.just(0.0) | st.floats(1e-9, 1), min_size=3, max_size=3))
def test_costs_are_never_negative_whatever_was_measured(seconds: list[float]) -> None:
    assert min(fit_line(list(zip(SIZES, seconds, strict=True)))) >= 0


async def test_every_codec_is_timed_once_and_remembered(tmp_path: Path) -> None:
    worker = Worker()
    timing = await CodecTimer(tmp_path, worker, RuntimeOptions).ensure()
    await worker.close()
    assert set(timing.of_float) == set(available_codecs()) - {"raw"}
    assert set(timing.of_integers) == {"lossless"}
    for times in (*timing.of_float.values(), *timing.of_integers.values()):
        assert times.spread > 0
        assert times.encode_s_per_byte + times.encode_s > 0
        assert times.decode_s_per_byte + times.decode_s > 0
    idle = Worker()
    await idle.close()  # nothing can be timed in it any more
    assert await CodecTimer(tmp_path, idle, RuntimeOptions).ensure() == timing


async def test_a_node_played_slower_codes_slower(tmp_path: Path) -> None:
    worker = Worker()
    timing = await CodecTimer(tmp_path, worker, RuntimeOptions).ensure()
    await worker.close()
    slower = timing.of_float["int8"].scaled(3.0)
    assert slower.encode_s_per_byte == pytest.approx(3 * timing.of_float["int8"].encode_s_per_byte)
    assert slower.decode_s == pytest.approx(3 * timing.of_float["int8"].decode_s)


async def test_times_of_an_earlier_release_are_read_and_known_to_be_of_unknown_error(tmp_path: Path) -> None:
    worker = Worker()
    timing = await CodecTimer(tmp_path, worker, RuntimeOptions).ensure()
    await worker.close()
    (path,) = tmp_path.glob("codecs-*.json")
    earlier = msgspec.json.decode(path.read_bytes())
    for times in (*earlier["of_float"].values(), *earlier["of_integers"].values()):
        del times["spread"]
    path.write_bytes(msgspec.json.encode(earlier))
    read = await CodecTimer(tmp_path, worker, RuntimeOptions).ensure()
    assert read.of_float["int8"] == msgspec.structs.replace(timing.of_float["int8"], spread=0.0)


FIXED_S, SLOPE = 2e-5, 1e-9
UNRESTED = Rested(0.0, 0.0), Rested(0.0, 0.0)
APART_S = 0.6


def moments_of(machine: NoisyMachine, count: int) -> dict[int, list[float]]:
    """Means of a few codings in a row, by size, at so many moments."""
    found: dict[int, list[float]] = {nbytes: [] for nbytes in SIZES}
    for _ in range(count):
        machine.advance(APART_S)
        for nbytes, seconds in found.items():
            seconds.append(sum(machine.take(FIXED_S + SLOPE * nbytes) for _ in range(3)) / 3)
    return found


def test_several_moments_tell_more_than_one_and_how_far_off_they_may_be() -> None:
    once, often, said = list[float](), list[float](), list[float]()
    for seed in range(200):
        machine = NoisyMachine(seed, spell_s=1.0, between_s=2.0)
        for errors, count in ((once, 1), (often, MOMENTS)):
            found = moments_of(machine, count)
            times = codec_times(found, found, UNRESTED)
            told_s = times.encode_s + SIZES[1] * times.encode_s_per_byte
            errors.append(math.log(told_s / (machine.mean_slowness * (FIXED_S + SLOPE * SIZES[1]))))
            if count > 1:
                said.append(times.spread)
    of_once, of_often, typical = (math.sqrt(sum(error**2 for error in errors) / 200) for errors in (once, often, said))
    assert of_often < 0.85 * of_once
    assert typical == pytest.approx(of_often, rel=0.5)


def test_a_pause_that_changes_nothing_adds_nothing_on_average() -> None:
    found = list[float]()
    for seed in range(200):
        machine, known = NoisyMachine(seed), RestedMoments()
        for _ in range(MOMENTS):
            machine.advance(APART_S)
            for ratios, seconds in ((known.encoding, known.encoding_s), (known.decoding, known.decoding_s)):
                rested_s, row_s = machine.take(1e-3), machine.take(1e-3)
                ratios.append(rested_s / row_s)
                seconds.append(row_s)
        found += [rested.s_per_byte for rested in rested_times(1, known)]
    assert sum(found) / len(found) == pytest.approx(0.0, abs=0.02e-3)
    assert min(found) < 0


def test_nothing_takes_less_than_half_of_what_it_did_in_a_row_whatever_pauses_did_to_others() -> None:
    found = {nbytes: [SLOPE * nbytes] for nbytes in SIZES}
    times = codec_times(found, found, (Rested(-1.0, 0.1), Rested(SLOPE, 0.1)))
    assert times.encode_s_per_byte == pytest.approx(SLOPE / 2)
    assert times.decode_s_per_byte == pytest.approx(2 * SLOPE)
    assert times.spread == pytest.approx(0.1)
