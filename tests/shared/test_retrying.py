"""When what failed is tried again."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    BrokerUnreachable,
    CacheUnwritable,
    InvalidModel,
    PeerUnreachable,
    PlanInfeasible,
    PreparationFailed,
    RuntimeStarved,
)
from edgesplit.retrying import Retry, RetryRule, hastened, is_passing, retry_after

RULE = RetryRule(first_s=1.0, most_s=60.0, growth=2.0, jitter=0.25)


def test_pauses_double_up_to_the_bound() -> None:
    retry: Retry | None = None
    now_s, pauses_s = 5.0, []
    for _ in range(8):
        retry = retry_after(retry, now_s, 0.0, RULE)
        pauses_s.append(retry.next_at_s - now_s)
        now_s = retry.next_at_s
    assert pauses_s == [1, 2, 4, 8, 16, 32, 60, 60]
    assert retry is not None
    assert (retry.attempts, retry.since_s) == (8, 5.0)


@given(st.integers(1, 10_000), st.floats(0.0, 1.0, exclude_max=True))
def test_a_pause_is_shortened_by_a_quarter_at_most_and_never_longer_than_the_bound(attempt: int, draw: float) -> None:
    full_s = RULE.pause_s(attempt, 0.0)
    assert 0.75 * full_s <= RULE.pause_s(attempt, draw) <= full_s <= 60.0


def test_a_cause_that_returns_makes_the_next_try_due_at_once_but_not_in_a_row() -> None:
    retry = Retry(attempts=5, since_s=0.0, failed_at_s=100.0, next_at_s=116.0)
    assert hastened(retry, 110.0).next_at_s == 110.0
    assert hastened(retry, 100.1).next_at_s == 100.5
    assert hastened(retry, 120.0).next_at_s == 116.0
    assert hastened(retry, 110.0).attempts == 5


def test_what_a_message_says_is_relative_to_it() -> None:
    said = Retry(attempts=2, since_s=10.0, failed_at_s=20.0, next_at_s=24.0).said(21.0)
    assert (said.attempts, said.failing_s, said.next_try_s) == (2, 11.0, 3.0)


@pytest.mark.parametrize(
    "error",
    [
        ArtifactMissing("the artifact server is down"),
        ArtifactCorrupt("a proxy put its own page in place of the blob"),
        CacheUnwritable("the disk is full"),
        BrokerUnreachable("no broker"),
        PeerUnreachable("no peer"),
        RuntimeStarved("no memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        ConnectionRefusedError(),
        TimeoutError(),
        TimeoutError(),
        MemoryError(),
    ],
)
def test_what_is_away_full_or_slow_may_come_back(error: BaseException) -> None:
    assert is_passing(error)


@pytest.mark.parametrize(
    "error", [PreparationFailed("refused"), InvalidModel("broken"), PlanInfeasible("none"), KeyError("a defect")]
)
def test_what_is_refused_stays_refused(error: BaseException) -> None:
    assert not is_passing(error)
