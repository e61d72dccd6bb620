"""Probing of links: the size of probes, the pauses between them, and what they may cost.

Owns: what probes may take of a link, on average, and the debt of those that were sent ahead of it. Its rule: pure;
whatever a link does, its probes do not take more than their allowance over time. Not here: what a probe tells
(`link_estimator.py`).

A slow link's probes take a hundredth of its time, at most 50 kB/s. A fast link's take a thousandth, at most 100 kB/s:

    rate [MB/s]          0.1    1     5    20     50    100   1000
    probes [kB/s]          1   10    50    50     50     75     75
    share of the link    1 %  1 %   1 %  0.25 %  0.1 %  0.08 %  0.01 %

A halved link is noticed within 10 s where a probe that outweighs the round trip's jitter fits in there; a long fat one
(20 MB/s at 50 ms: 24 s; 100 MB/s at 55 ms: 90 s) is noticed later while it is idle, and at once when it is used, for
tensors measure it too. Probes that follow up a suspicion are not put off, but paid for: pauses are longer afterwards.
"""

from __future__ import annotations

__all__ = [
    "EVERY_S",
    "INITIAL_WINDOW_BYTES",
    "PROBE_FIRST_BYTES",
    "PROBE_MAX_BYTES",
    "PROBE_MIN_BYTES",
    "ProbeBudget",
    "ProbePace",
    "allowance_bytes_per_s",
    "probe_size",
]

INITIAL_WINDOW_BYTES = 14_600
"""What TCP sends at first without waiting for anything (RFC 6928)."""
PROBE_MIN_BYTES = 2_048
"""No less, however slow the link: it takes a packet or two."""
PROBE_FIRST_BYTES = 16_384
PROBE_MAX_BYTES = 1 << 23
PROBE_MAX_NEAR_BYTES = 1 << 22
"""Where a round trip takes no time no window has to open, and a few milliseconds tell enough."""
PROBE_TARGET_S = 0.07
"""Long enough to outweigh the round trip's jitter; at one hundredth of the link, one (or a pair of halves) fits in 7 s."""
EVERY_S = 6.0
"""Probes get smaller until one (or a pair) fits in this time, as long as they tell enough. [s]"""
SLOW_SHARE, SLOW_BYTES_PER_S = 0.01, 50e3
FAST_SHARE, FAST_BYTES_PER_S = 0.00075, 75e3
"""A quarter less than what is allowed, for suspicions and the first estimate come on top."""
PROBE_MIN_INTERVAL_S = 2.0
CONFIRM_INTERVAL_S = 0.2
CONFIRM_AHEAD, CONFIRM_AHEAD_BYTES = 6, 1 << 23
"""So many probes may follow each other to confirm a suspicion before they wait for their allowance; of large ones two, or
these bytes. [1, B]"""
REPAID_S = 0.001
"""A pause that is left of this counts as none: floating point. [s]"""
ALL_PROBES_SHARE = 0.05
"""Share of a node's time that probes on all its links together may take."""
ALL_PROBES_BYTES_PER_S = 5 * FAST_BYTES_PER_S


def allowance_bytes_per_s(bandwidth_bytes_per_s: float) -> float:
    """What probes may take of a link of this rate on average. [B/s]"""
    slow = min(SLOW_SHARE * bandwidth_bytes_per_s, SLOW_BYTES_PER_S)
    return min(max(slow, FAST_SHARE * bandwidth_bytes_per_s), FAST_BYTES_PER_S)


def probe_size(bandwidth_bytes_per_s: float, *, at_least_s: float, pair: bool, near: bool) -> int:
    """Size of each probe. [B]

    Args:
        bandwidth_bytes_per_s: What the link is believed to carry. [B/s]
        at_least_s: What it must take to tell anything. [s]
        pair: Probes come in pairs.
        near: The round trip takes no time.
    """
    affordable_s = EVERY_S * allowance_bytes_per_s(bandwidth_bytes_per_s) / bandwidth_bytes_per_s
    target_s = max(min(affordable_s, PROBE_TARGET_S) / (2 if pair else 1), at_least_s)
    most = PROBE_MAX_NEAR_BYTES if near else PROBE_MAX_BYTES
    return int(min(max(bandwidth_bytes_per_s * target_s, PROBE_MIN_BYTES), most))


class ProbePace:
    """When the next probe of one link is due.

    What is owed is kept as a pause: bytes sent to a link believed fast, which turned out slow meanwhile, are not paid off at
    the slow link's allowance, or a link that fell would not be looked at for minutes.
    """

    def __init__(self) -> None:
        self._debt_s = 0.0
        self._at = float("-inf")

    def sent(self, nbytes: int, now: float, allowance: float) -> None:
        """A probe left. [B, s, B/s]"""
        self._debt_s = self._left_s(now) + nbytes / allowance
        self._at = now

    def due(self, nbytes: int, now: float, measured_at: float, allowance: float) -> bool:
        """Whether to look how the link is; traffic that measures it makes that needless.

        Args:
            nbytes: Of the probe, or of both of a pair. [B]
            now: [s]
            measured_at: When anything last told what the link carries. [s]
            allowance: [B/s]
        """
        pause_s = max(PROBE_MIN_INTERVAL_S, nbytes / allowance)
        return now - max(self._at, measured_at) >= pause_s and self.repaid(now)

    def repaid(self, now: float) -> bool:
        """Whether all that was sent is within the allowance."""
        return self._left_s(now) <= REPAID_S

    def may_confirm(
        self, nbytes: int, now: float, measured_at: float, allowance: float, after_s: float = CONFIRM_INTERVAL_S
    ) -> bool:
        """Whether a probe of this size may follow up a suspicion, so long after the measurement before."""
        if now - max(self._at, measured_at) < after_s:
            return False
        ahead_bytes = min(CONFIRM_AHEAD * nbytes, max(2 * nbytes, CONFIRM_AHEAD_BYTES))
        return self._left_s(now) <= ahead_bytes / allowance

    def forgive(self, beyond_s: float = 0.0) -> None:
        """Finding out what a new link carries is free, and what a change of it took is not owed beyond a pause. [s]"""
        self._debt_s = min(self._debt_s, beyond_s)

    def _left_s(self, now: float) -> float:
        return max(0.0, self._debt_s - (now - self._at)) if self._debt_s else 0.0


class ProbeBudget:
    """Keeps the probes of a node with many peers from adding up, and from measuring each other."""

    def __init__(self) -> None:
        self._next_at = float("-inf")

    def allows(self, now: float) -> bool:
        """Whether any link may be probed now."""
        return now >= self._next_at

    def spend(self, seconds: float, now: float, nbytes: int = 0) -> None:
        """A probe left that will occupy its link for `seconds`. [s, B]"""
        self._next_at = now + max(seconds / ALL_PROBES_SHARE, nbytes / ALL_PROBES_BYTES_PER_S)
