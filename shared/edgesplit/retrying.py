"""Retry with exponential backoff and jitter: when what failed for a passing reason is tried again.

Owns: the schedule, and which errors pass by themselves. Its rule: pure; clock values and draws come in, the next moment
goes out. The pauses of whoever fails grow up to a bound, each shortened by a random part so that a fleet does not come
back in step; once the cause is known to have returned, the next try is due at once. Not here: waiting, and what is tried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from edgesplit.errors import EdgesplitError

__all__ = ["PATIENT", "Retry", "RetryRule", "Retrying", "hastened", "is_passing", "retry_after"]

LEAST_PAUSE_S = 0.5
"""However often a cause is said to have returned, tries are at least so far apart. [s]"""


class Retrying(msgspec.Struct, frozen=True, kw_only=True):
    """What messages say of something that fails and is tried again; both times are relative to the message.

    Attributes:
        attempts: Failed tries so far.
        failing_s: Since the first of them. [s]
        next_try_s: Until the next one; 0: it is under way or due. [s]
    """

    attempts: int
    failing_s: float
    next_try_s: float


@dataclass(frozen=True)
class RetryRule:
    """How pauses grow.

    Attributes:
        first_s: Pause after the first failure. [s]
        most_s: Longest pause. [s]
        growth: From pause to pause. [1]
        jitter: Largest part of a pause that is left out at random. [1]
    """

    first_s: float = 1.0
    most_s: float = 60.0
    growth: float = 2.0
    jitter: float = 0.25

    def pause_s(self, attempt: int, draw: float) -> float:
        """Pause after so many failures in a row. [s]

        Args:
            attempt: 1 for the first.
            draw: Uniform in [0, 1).
        """
        # Far fewer doublings reach any bound; more would overflow.
        nominal_s = min(self.first_s * self.growth ** min(attempt - 1, 64), self.most_s)
        return nominal_s * (1.0 - self.jitter * draw)


PATIENT = RetryRule()
"""For what nobody waits for in front of a screen: fetching, profiling, preparing."""


@dataclass(frozen=True)
class Retry:
    """Something that fails and will be tried again, on the clock of whoever tries.

    Attributes:
        attempts: Failed tries so far.
        since_s: When the first of them failed. [s]
        failed_at_s: When the last one did. [s]
        next_at_s: When it is tried again. [s]
    """

    attempts: int
    since_s: float
    failed_at_s: float
    next_at_s: float

    def said(self, now_s: float) -> Retrying:
        """As a message says it now. [s]"""
        return Retrying(
            attempts=self.attempts,
            failing_s=max(now_s - self.since_s, 0.0),
            next_try_s=max(self.next_at_s - now_s, 0.0),
        )


def retry_after(before: Retry | None, now_s: float, draw: float, rule: RetryRule = PATIENT) -> Retry:
    """A try failed.

    Args:
        before: What was known of the failures before; None for the first.
        now_s: [s]
        draw: Uniform in [0, 1).
        rule: How pauses grow.
    """
    attempts = 1 if before is None else before.attempts + 1
    since_s = now_s if before is None else before.since_s
    return Retry(attempts, since_s, now_s, now_s + rule.pause_s(attempts, draw))


def hastened(retry: Retry, now_s: float) -> Retry:
    """The cause may have returned: the next try is due at once, unless the last one only just failed. [s]"""
    return replace(retry, next_at_s=min(retry.next_at_s, max(now_s, retry.failed_at_s + LEAST_PAUSE_S)))


def is_passing(error: BaseException) -> bool:
    """Whether the same try may succeed later without anybody changing what was tried.

    What is away (a server, a name, a peer), full or slow may come back; a graph that the runtime refuses stays refused.
    """
    if isinstance(error, EdgesplitError):
        return error.passing
    return isinstance(error, OSError | MemoryError)
