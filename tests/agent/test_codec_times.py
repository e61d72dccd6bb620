"""What codecs take here: fitted, kept, and as slow as the node is played."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.wire.codecs import available_codecs
from edgesplit_agent.compute.session_pool import RuntimeOptions
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.codec_times import CodecTimer, fit_line

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
