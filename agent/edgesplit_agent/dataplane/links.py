"""What one directed link is worth: latency from pings, bandwidth from bytes over time-to-acknowledgement.

Owns: the estimate and the decision when and how large to probe. Its rule: pure; events and clock values come in,
estimates go out. Not here: connections and timers (`outgoing.py`).

A frame's transmission time is its acknowledgement minus the later of (sent + round trip) and the acknowledgement before
it: the first removes the latency, the second the wait behind earlier frames.

After a pause TCP starts slowly: its window begins at ten segments and doubles each round trip [1], [2], so a frame sent
then says only that the bandwidth lies between its bytes over the whole time and its bytes over the time without that
ramp. Such a sample moves the estimate only if the estimate lies outside; probes on long fat links therefore come in
pairs, the first to open the window.

References: [1] RFC 5681, TCP Congestion Control, 2009, 3.1 and 4.1. [2] RFC 6928, Increasing TCP's Initial Window, 2013.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

__all__ = ["LinkEstimate", "LinkEstimator", "ProbeBudget"]

LATENCY_WINDOW_S = 15.0
CHANGE = 0.25
"""Relative change that is no noise once several samples in a row show it and agree."""
LARGE_CHANGE = 0.4
"""Relative change for which two such samples are enough; a smaller one takes three (a busy machine makes some)."""
AGREEMENT = 1.25
"""Samples agree when they are within this ratio."""
SMOOTHING = 0.15
PROBE_TARGET_S = 0.02
PROBE_MIN_BYTES = 16_384
PROBE_MAX_BYTES = 1 << 23
PROBE_SHARE = 0.01
"""Probes may take this share of the link's time, on average."""
PROBE_MIN_INTERVAL_S = 2.0
ALL_PROBES_SHARE = 0.05
"""Share of a node's time that probes on all its links together may take."""
CONFIRM_INTERVAL_S = 0.2
MIN_SAMPLE_S = 0.002
GROWTH = 2
"""Not more, so that TCP's window keeps pace with the first probes."""
INITIAL_WINDOW_BYTES = 14_600
IDLE_RESET_S = 0.2
"""TCP's window falls back after a retransmission timeout without traffic, which is at least this."""
FAST_ROUND_TRIP_S = 0.001
CALIBRATED_ROUND_TRIPS = 2
"""A first sample must take this many round trips, or it may have measured TCP's window."""
TIGHT = 1.25
"""Bounds this close are a sample."""


@dataclass(frozen=True)
class LinkEstimate:
    """Attributes: bandwidth [B/s], one-way latency [s], and the clock at the last sample [s]."""

    bandwidth_bytes_per_s: float
    latency_s: float
    at: float


@dataclass(frozen=True)
class _Sent:
    nbytes: int
    at: float
    warm_bytes: int


class LinkEstimator:
    """Estimate of one link, fed with what was sent and what was acknowledged.

    Sequences of pings and of data are separate number spaces. A frame may be acknowledged only after earlier ones.

    Attributes:
        slow_start: Whether frames meet TCP's slow start; False where the rate is emulated in front of a fast link.
    """

    def __init__(self, *, slow_start: bool = True) -> None:
        self.slow_start = slow_start
        self._pings: dict[int, tuple[float, bool]] = {}
        self._round_trips: deque[tuple[float, float]] = deque()
        self._round_trip_s: float | None = None
        self._sent: dict[int, _Sent] = {}
        self._last_ack_at = float("-inf")
        self._bandwidth: float | None = None
        self._samples = 0
        self._candidates: list[float] = []
        self._at_least = 0.0
        self._sampled_at = float("-inf")
        self._probe_bytes = PROBE_MIN_BYTES
        self._probe_at = float("-inf")
        self._warm_bytes = 0
        self._paired = False
        self._calibrating = True

    @property
    def round_trip_s(self) -> float | None:
        """Least round trip of the window, None before the first pong. [s]"""
        return self._round_trip_s

    @property
    def waiting(self) -> bool:
        """Whether something sent was not answered yet."""
        return bool(self._pings or self._sent)

    def estimate(self) -> LinkEstimate | None:
        """What is believed now, None until both figures were measured."""
        if self._bandwidth is None or self._round_trip_s is None:
            return None
        return LinkEstimate(self._bandwidth, self._round_trip_s / 2, self._sampled_at)

    def connected(self) -> None:
        """A new connection: what was on its way is lost, what was learned stays until disproved."""
        self._pings.clear()
        self._sent.clear()
        self._last_ack_at = float("-inf")
        self._warm_bytes = 0
        self._paired = False

    def ping_sent(self, sequence: int, now: float) -> None:
        """A Ping left; one that leaves behind data measures the queue rather than the link."""
        self._pings[sequence] = (now, bool(self._sent))

    def pong_received(self, sequence: int, now: float) -> None:
        """A Pong came; unknown sequences are ignored."""
        sent = self._pings.pop(sequence, None)
        if sent is None:
            return
        at, loaded = sent
        while self._round_trips and self._round_trips[0][0] < now - LATENCY_WINDOW_S:
            self._round_trips.popleft()
        if not loaded or not self._round_trips:
            self._round_trips.append((now, now - at))
        self._round_trip_s = min(round_trip for _, round_trip in self._round_trips)

    def data_sent(self, sequence: int, nbytes: int, now: float) -> None:
        """Tensors or a probe were handed over for sending."""
        if not self._sent and now - self._last_ack_at > IDLE_RESET_S + (self._round_trip_s or 0.0):
            self._warm_bytes = 0
        ahead = sum(sent.nbytes for sent in self._sent.values())
        self._sent[sequence] = _Sent(nbytes, now, self._warm_bytes + ahead)

    def data_acknowledged(self, sequence: int, now: float) -> float | None:
        """An Ack came.

        Returns:
            Seconds the frame occupied the link, latency not included; None for an unknown sequence. [s]
        """
        sent = self._sent.pop(sequence, None)
        if sent is None:
            return None
        round_trip = self._round_trip_s or 0.0
        seconds = max(now - max(sent.at + round_trip, self._last_ack_at), 1e-6)
        self._last_ack_at = now
        self._warm_bytes += sent.nbytes
        calibrating = self._calibrating and self.slow_start
        enough_s = max(MIN_SAMPLE_S, round_trip * (CALIBRATED_ROUND_TRIPS if calibrating else 0.5))
        if seconds < enough_s and sent.nbytes < PROBE_MAX_BYTES:
            self._too_short(sent, seconds, round_trip)
        else:
            self._calibrating = False
            self._bounds(sent.nbytes / seconds, sent.nbytes / max(seconds - self._ramp_s(sent), 1e-6), now)
        return seconds

    @property
    def ramping(self) -> bool:
        """Whether the next probe belongs to one already under way, and must follow at once."""
        return self._paired or self._calibrating

    def probe_due(self, now: float) -> int | None:
        """Size of the probe to send now, or None. [B]"""
        if self._sent or self._round_trip_s is None:
            return None
        if self.ramping:
            return self._probe_bytes
        pause = max(PROBE_MIN_INTERVAL_S, self._probe_cost_s() / PROBE_SHARE)
        if self._candidates:
            # A suspected change is confirmed soon.
            pause = CONFIRM_INTERVAL_S
        return self._probe_bytes if now - max(self._probe_at, self._sampled_at) >= pause else None

    def expected_s(self, nbytes: int) -> float:
        """Transmission time to reckon with; a short one while nothing is known. [s]"""
        return min(nbytes / max(self._bandwidth, self._at_least), 1.0) if self._bandwidth else MIN_SAMPLE_S

    def probe_sent(self, now: float) -> None:
        """A probe of `probe_due` is about to leave."""
        cold = now - self._last_ack_at > IDLE_RESET_S + (self._round_trip_s or 0.0)
        self._paired = cold and self._bandwidth is not None and self._long_fat()
        self._probe_at = now

    def _too_short(self, sent: _Sent, seconds: float, round_trip: float) -> None:
        """Latency dominates the frame: only a longer one can tell."""
        if sent.nbytes >= self._probe_bytes:
            self._probe_bytes = min(self._probe_bytes * GROWTH, PROBE_MAX_BYTES)
        surely = sent.nbytes / (seconds + max(MIN_SAMPLE_S, round_trip / 4))
        if self._bandwidth is not None and surely > self._bandwidth * (1 + CHANGE):
            # Even so the link is faster than believed; probes must not be rationed by what is no longer true.
            self._calibrating = True
            self._at_least = surely

    def _probe_cost_s(self) -> float:
        return self.expected_s(self._probe_bytes) * (2 if self._long_fat() else 1)

    def _long_fat(self) -> bool:
        """Whether more bytes fit on the way than TCP sends at first."""
        on_the_way = (self._bandwidth or 0.0) * (self._round_trip_s or 0.0)
        return self.slow_start and on_the_way > INITIAL_WINDOW_BYTES * 2

    def _ramp_s(self, sent: _Sent) -> float:
        """Time that slow start may have cost a frame: the round trips until the window covered frame or link. [s]"""
        round_trip = self._round_trip_s or 0.0
        if not self.slow_start or self._bandwidth is None or round_trip < FAST_ROUND_TRIP_S:
            return 0.0
        opened = sent.warm_bytes + INITIAL_WINDOW_BYTES
        needed = min(sent.warm_bytes + sent.nbytes, self._bandwidth * round_trip)
        return round_trip * max(0.0, math.log2(max(needed, 1.0) / opened))

    def _bounds(self, lower: float, upper: float, now: float) -> None:
        """Learn that the bandwidth lies between two values. [B/s]"""
        if self._bandwidth is None or lower > self._bandwidth or upper <= lower * TIGHT:
            self._sample(lower, now)
        elif upper < self._bandwidth:
            self._sample(upper, now)

    def _sample(self, bandwidth: float, now: float) -> None:
        self._sampled_at = now
        self._samples += 1
        self._at_least = 0.0
        if self._bandwidth is None:
            self._bandwidth = bandwidth
        elif abs(bandwidth / self._bandwidth - 1) <= CHANGE:
            self._candidates.clear()
            self._bandwidth += max(SMOOTHING, 1 / self._samples) * (bandwidth - self._bandwidth)
        else:
            self._suspect(bandwidth, self._bandwidth)
        wanted = self._bandwidth * max(PROBE_TARGET_S, self._round_trip_s or 0.0)
        self._probe_bytes = int(min(max(wanted, PROBE_MIN_BYTES), PROBE_MAX_BYTES))

    def _suspect(self, bandwidth: float, believed: float) -> None:
        """A sample far from what is believed: noise, or the first sign of a change."""
        self._candidates = [
            other
            for other in self._candidates
            if (other > believed) == (bandwidth > believed)
            and max(other, bandwidth) <= AGREEMENT * min(other, bandwidth)
        ] + [bandwidth]
        change = abs(bandwidth / believed - 1)
        if len(self._candidates) >= (2 if change >= LARGE_CHANGE else 3):
            self._bandwidth = statistics.median(self._candidates)
            self._samples = len(self._candidates)
            self._candidates.clear()


class ProbeBudget:
    """Keeps the probes of a node with many peers from adding up, and from measuring each other."""

    def __init__(self) -> None:
        self._next_at = float("-inf")

    def allows(self, now: float) -> bool:
        """Whether any link may be probed now."""
        return now >= self._next_at

    def spend(self, seconds: float, now: float) -> None:
        """A probe left that will occupy its link for `seconds`. [s]"""
        self._next_at = now + seconds / ALL_PROBES_SHARE
