"""Recovery watch of a link: whether what is believed of it is what it was, and to be looked for by probes that start afresh.

Owns: the rate that was believed before it fell, what short frames say against what is believed, and whether the peer was silent since
anything was measured. Its rule: pure; after a while a link that fell counts as one that is slow, and frames that were wrong are believed
ever more seldom. Not here: what a probe tells (`link_estimator.py`), how a
connection forgets the rate it knew (`edgesplit.wire.tcp_options`).

A connection that was idle goes on at the rate it knew, where its congestion control models the path (BBR), so a probe on
it finds that rate on a link that has become faster as well. One that starts afresh finds at least that the link is faster;
that it is slower such a probe can only suspect, as it may begin with a small window. Where the first window alone takes
long enough at the rate that is believed, nothing more is sent: such a glance meets no window, and is cheap enough to be
repeated every other second.

A connection also counts as lost when its link became so much slower that nothing came for a while: what was learned of it
is then the last thing to plan with.
"""

from __future__ import annotations

import math

from edgesplit.significance import RATE_CHANGE
from edgesplit_agent.dataplane.measurement.probing import INITIAL_WINDOW_BYTES, PROBE_MIN_BYTES

__all__ = ["FallenRate", "ReturnedLink", "glance_bytes"]

WATCHED_S = 900.0
"""After this a link that fell is one that is slow."""
PROVEN_WITHIN_S = 3.0
"""What was learned before counts again after this, whatever came of looking at it."""
URGENT_S, GLANCE_EVERY_S = 120.0, 3.0
"""So long after it fell a link is glanced at so often, however little it is believed to carry: two packets each time. [s]"""
GLANCE_S, GLANCE_LEAST_S = 0.02, 0.01
"""What a glance should take, and must, at the believed rate: a link twice as fast must differ from jitter. [s]"""
IN_A_ROW = 3
"""Frames of tensors which must agree that the link is faster: of a short one that arrives in a few packets, a reader that was late sees all of
them at once. [1]"""
DOUBTED_S, DOUBTED_MOST_S = 2.0, 120.0
"""Pause until such frames are believed again after it was in vain: the first, and the longest. [s]"""


def glance_bytes(bandwidth_bytes_per_s: float) -> int | None:
    """Size of a probe that tells whether a link is faster again; None where one window is over too soon to tell. [B]"""
    nbytes = max(min(bandwidth_bytes_per_s * GLANCE_S, INITIAL_WINDOW_BYTES), PROBE_MIN_BYTES)
    return int(nbytes) if nbytes >= bandwidth_bytes_per_s * GLANCE_LEAST_S else None


class FallenRate:
    """Whether a link is slower than it was."""

    def __init__(self) -> None:
        self._best = 0.0
        self._fell_at: float | None = None
        self._fast = 0
        self._pause_s, self._deaf_until, self._believed = DOUBTED_S, -math.inf, 0.0

    def believed(self, rate: float, now: float) -> None:
        """What is believed of the link. [B/s, s]"""
        if rate > self._believed * (1 + RATE_CHANGE):
            self._pause_s = DOUBTED_S
        self._believed = rate
        self._best = max(self._best, rate)
        if rate >= self._best * (1 - RATE_CHANGE):
            self._fell_at = None
        elif self._fell_at is None:
            self._fell_at = now
        elif now - self._fell_at > WATCHED_S:
            self._best, self._fell_at = rate, None
        self._fast = 0

    @property
    def watched(self) -> bool:
        """Whether it is worth looking whether the link is as it was."""
        return self._fell_at is not None

    def urgent(self, now: float, measured_at: float) -> bool:
        """Whether it fell just now and was not looked at for a while: a rate that was believed by mistake must not decide when that shows. [s]"""
        return self._fell_at is not None and now - self._fell_at < URGENT_S and now - measured_at >= GLANCE_EVERY_S

    def is_faster(self, expected_s: float, seconds: float, now: float, *, afresh: bool, tensors: bool) -> bool:
        """Whether a frame, and the ones before it, took less than half of what they would at the rate that is believed.

        Args:
            expected_s: What it would take at that rate. [s]
            seconds: What it took. [s]
            now: [s]
            afresh: Whether its connection had forgotten the rate it knew; of a probe that is enough, else it must outweigh jitter.
            tensors: No probe, whose size was chosen to tell.
        """
        fast = seconds < expected_s / 2
        if afresh and not tensors:
            return fast
        if expected_s < GLANCE_LEAST_S:
            return False
        if not tensors:
            return fast and self.watched
        self._fast = self._fast + 1 if fast else 0
        if self._fast < IN_A_ROW or now < self._deaf_until:
            return False
        self._fast = 0
        self._deaf_until, self._pause_s = now + self._pause_s, min(2 * self._pause_s, DOUBTED_MOST_S)
        return True


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
