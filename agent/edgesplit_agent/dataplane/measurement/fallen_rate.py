"""Recovery watch of a link: whether what is believed of it is what it was, and to be looked for by probes that start afresh.

Owns: the rate that was believed before it fell, and whether the peer was silent since anything was measured. Its rule:
pure; after a while a link that fell counts as one that is slow. Not here: what a probe tells (`link_estimator.py`), how a
connection forgets the rate it knew (`edgesplit.wire.tcp_options`).

A connection that was idle goes on at the rate it knew, where its congestion control models the path (BBR), so a probe on
it finds that rate on a link that has become faster as well. One that starts afresh finds at least that the link is faster;
that it is slower such a probe can only suspect, as it may begin with a small window.

A connection also counts as lost when its link became so much slower that nothing came for a while: what was learned of it
is then the last thing to plan with.
"""

from __future__ import annotations

from edgesplit.significance import RATE_CHANGE

__all__ = ["FallenRate", "ReturnedLink"]

WATCHED_S = 900.0
"""After this a link that fell is one that is slow."""
PROVEN_WITHIN_S = 3.0
"""What was learned before counts again after this, whatever came of looking at it."""


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


class ReturnedLink:
    """Whether a link was looked at since its silent peer came back."""

    def __init__(self) -> None:
        self._since: float | None = None

    def connected(self, now: float, *, doubted: bool) -> None:
        """There is a new connection; `doubted`: what was learned on the one before may hold no more. [s]"""
        self._since = now if doubted else None

    def told(self, *, sure: bool) -> None:
        """Something was measured; `sure`: nothing follows it up."""
        if sure:
            self._since = None

    def unproven(self, now: float) -> bool:
        """Whether not yet. [s]"""
        return self._since is not None and now - self._since < PROVEN_WITHIN_S
