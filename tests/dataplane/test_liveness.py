"""When silence means death; times are numbers, nothing waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit_agent.dataplane.liveness import Liveness

TICK_S = 0.05


class Clock:
    """Ticks a judge."""

    def __init__(self) -> None:
        self.now_s = 10.0
        self.life = Liveness(0.7, 3.0, TICK_S, self.now_s)

    def run(self, seconds: float, *, owed: bool = True) -> None:
        """Pass time in ordinary ticks."""
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            self.life.tick(self.now_s, owed=owed)


@pytest.mark.parametrize(
    ("acknowledged", "words"), [(False, "link or the machine"), (True, "hangs"), (None, "not answered")]
)
def test_a_silent_peer_is_lost_with_the_reason(acknowledged: bool | None, words: str) -> None:
    clock = Clock()
    clock.run(0.6)
    assert clock.life.verdict(acknowledged=acknowledged) == ""
    clock.run(0.2)
    assert words in clock.life.verdict(acknowledged=acknowledged)


def test_a_peer_that_was_asked_nothing_may_be_silent() -> None:
    clock = Clock()
    clock.run(20.0, owed=False)
    assert not clock.life.overdue


def test_a_standstill_of_this_process_is_not_held_against_a_peer() -> None:
    clock = Clock()
    clock.now_s += 30.0
    clock.life.tick(clock.now_s, owed=True)
    assert not clock.life.overdue


def test_what_is_owed_since_a_moment_ago_makes_a_long_rest_no_silence() -> None:
    clock = Clock()
    clock.now_s += 2.0
    clock.life.rested(clock.now_s)
    clock.now_s += TICK_S
    clock.life.tick(clock.now_s, owed=True)
    assert not clock.life.overdue
    clock.run(0.5)
    assert not clock.life.overdue
    clock.run(0.2)
    assert clock.life.overdue


def test_a_peer_that_was_slow_lately_gets_time_but_not_where_nothing_is_acknowledged() -> None:
    clock = Clock()
    clock.life.answered(0.5, clock.now_s)
    clock.run(0.9)
    assert clock.life.verdict(acknowledged=True) == ""
    assert clock.life.verdict(acknowledged=False)
    clock.run(0.2)
    assert clock.life.verdict(acknowledged=True)


def test_slowness_is_forgotten_after_a_while_and_never_allows_more_than_the_limit() -> None:
    clock = Clock()
    clock.life.answered(2.5, clock.now_s)
    assert clock.life.allowed_s == 3.0
    clock.run(21.0, owed=False)
    assert clock.life.allowed_s == 0.7


@given(st.lists(st.floats(0.0, 5.0), max_size=50))
def test_the_slowest_answer_of_the_last_seconds_decides(answers: list[float]) -> None:
    clock = Clock()
    for took_s in answers:
        clock.now_s += 0.1
        clock.life.answered(took_s, clock.now_s)
    assert clock.life.allowed_s == min(max(0.7, 2.0 * max(answers, default=0.0)), 3.0)
