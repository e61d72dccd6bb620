"""The control's process: it answers with a median, and says so when it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.end_to_end.subjects import from_zoo
from lab.testbed.plain_loop import LoopFailed, PlainLoop


def test_a_loop_answers_each_time_it_is_asked(tmp_path: Path) -> None:
    (subject,) = from_zoo({"mobilenet_v2": {"scale": 0.1, "size": 32}}, tmp_path)
    with PlainLoop((), subject.path, subject.request) as loop:
        assert loop.median_s() > 0
        assert loop.median_s() > 0


def test_a_loop_that_cannot_load_its_model_says_so(tmp_path: Path) -> None:
    missing = tmp_path / "missing.onnx"
    with pytest.raises(LoopFailed, match="ended with"), PlainLoop((), missing, missing):
        pass
