"""Recovery watch of a link whose rate fell: whether its probes leave as on a new connection.

Owns: the rate that was believed before the fall. Its rule: pure; after a while a link that fell counts as one that is slow.
Not here: what a probe tells (`link_estimator.py`), how a connection forgets the rate it knew (`edgesplit.wire.tcp_options`).

A connection that was idle goes on at the rate it knew, where its congestion control models the path (BBR), so a probe on
it finds that rate on a link that has become faster as well. One that starts afresh finds at least that the link is faster;
that it is slower such a probe can only suspect, as it may begin with a small window.
"""

from __future__ import annotations

from edgesplit.significance import RATE_CHANGE

__all__ = ["FallenRate"]

WATCHED_S = 900.0
"""After this a link that fell is one that is slow."""


class FallenRate:
    """Whether a link is slower than it was."""

    def __init__(self) -> None:
        self._best = 0.0
        self._fell_at: float | None = None

    def believed(self, rate: float, now: float) -> None:
        """What is believed of the link. [B/s, s]"""
        self._best = max(self._best, rate)
        if rate >= self._best * (1 - RATE_CHANGE):
            self._fell_at = None
        elif self._fell_at is None:
            self._fell_at = now
        elif now - self._fell_at > WATCHED_S:
            self._best, self._fell_at = rate, None

    @property
    def watched(self) -> bool:
        """Whether it is worth looking whether the link is as it was."""
        return self._fell_at is not None
