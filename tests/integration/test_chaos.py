"""A short seeded chaos on real processes: whatever dies, hangs or is cut off, requests are answered once and rightly."""

from __future__ import annotations

from pathlib import Path

from bench.callers import Answer
from bench.chaos import endure
from bench.failures import longest_gap_s
from tests.brokers import find_mosquitto


def test_every_request_is_answered_once_and_rightly_whatever_happens_to_other_nodes(tmp_path: Path) -> None:
    find_mosquitto()  # which the drill starts and kills itself
    found = endure(tmp_path, seed=4, rounds=8, real=False, callers=4)
    assert found.lost == []
    assert (found.wrong, found.twice) == (0, 0)
    assert found.back
    assert len(found.answers) > 20
    assert sum(found.done.values()) == 8


def test_a_gap_is_the_longest_time_without_a_completed_request() -> None:
    def at(done_s: float, error: str = "") -> Answer:
        return Answer(sent_s=0.0, done_s=done_s, error=error)

    answers = [at(1.0), at(1.5), at(3.0, "failed"), at(4.0)]
    assert longest_gap_s(answers, 1.0, 4.5) == 2.5
    assert longest_gap_s(answers, 1.0, 9.0) == 5.0
    assert longest_gap_s([], 2.0, 3.0) == 1.0
