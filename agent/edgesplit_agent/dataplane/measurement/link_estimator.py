"""Estimator of one directed link: latency from pings, bandwidth from bytes over time-to-acknowledgement.

Owns: the estimate and the decision when and how large to probe. Its rule: pure; events and clock values come in,
estimates go out. Not here: connections and timers (`outgoing.py`).

A frame's transmission time is its arrival minus the later of (sent + way there) and the arrival before it: the first
removes the latency, the second the wait behind earlier frames. Arrivals are on the peer's clock, which acknowledgements and
pongs tell, so that what waits on the way back does not count; of a peer that does not tell, acknowledgements and round
trips stand in. While pings take longer than they did, nothing is learned: a longer way would read as a slower link. Frames may leave in parts, between each
other; so an acknowledgement says how many bytes have arrived in all, and a sample is what arrived since the one before.

A frame whose parts are told apart is timed by how far apart they came, where that is less: neither a longer way nor what
waited before it left reads as a slower link, and when its first part came tells the way, which pings behind data do not.

What leaves while TCP keeps its window shut tells nothing, unless that is a small part of the time it takes. Frames that arrive as
fast as their connection lets them leave may have met nothing else, and now and then one starts afresh to see (`own_pace.py`).

A new connection starts slowly: its window begins at ten segments and doubles each round trip [1], [2]. Nothing is
believed before three probes in a row, each right behind the other, found the same, and one afresh no more (`calibration.py`).

After a pause TCP may start slowly again, so a frame sent then says only that the bandwidth lies between its bytes over
the whole time and what was left over the time that was left after that ramp. Such a sample moves the estimate only if
the estimate lies outside, and makes a slower link only suspected, until a frame without pause confirms it. Probes on
long fat links therefore come in pairs, the first to open the window. Whether a pause matters at all is learned: it does
to CUBIC, not to BBR [3].

References: [1] RFC 5681, TCP Congestion Control, 2009, 3.1 and 4.1. [2] RFC 6928, Increasing TCP's Initial Window, 2013.
[3] N. Cardwell and others, BBR: Congestion-Based Congestion Control, ACM Queue 14 (5), 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edgesplit.significance import RATE_CHANGE, differs
from edgesplit_agent.dataplane.measurement.calibration import LinkCalibration
from edgesplit_agent.dataplane.measurement.fallen_rate import FallenRate, ReturnedLink, glance_bytes
from edgesplit_agent.dataplane.measurement.link_delays import LinkDelays
from edgesplit_agent.dataplane.measurement.link_estimate import LinkEstimate
from edgesplit_agent.dataplane.measurement.own_pace import OwnPace
from edgesplit_agent.dataplane.measurement.probing import (
    EVERY_S,
    INITIAL_WINDOW_BYTES,
    PROBE_FIRST_BYTES,
    PROBE_MAX_BYTES,
    PROBE_MAX_NEAR_BYTES,
    ProbePace,
    allowance_bytes_per_s,
    probe_size,
)
from edgesplit_agent.dataplane.measurement.rate_estimate import WARY_INTERVAL_S, RateEstimate
from edgesplit_agent.dataplane.measurement.slow_start import IDLE_RESET_S, halved_window, ramp

__all__ = ["LinkEstimate", "LinkEstimator"]

MIN_SAMPLE_S = 0.002
MARGIN, MARGIN_NEAR = 1.2, 2.0
"""A probe takes so many times what it must, for a link may turn out faster than believed: if only slow ones counted, a
link beside other work would look slow. [1]"""
GROWTH = 2
"""Not more, so that TCP's window keeps pace with the first probes."""
FAST_ROUND_TRIP_S = 0.001
CALIBRATED_ROUND_TRIPS, CALIBRATED_S = 1, 0.04
"""The first samples must take this many round trips, or they may have measured TCP's window, and so long. [1, s]"""
DOUBTFUL_LATENCY_S = 0.03
"""A frame that takes this long outweighs the jitter of any round trip."""
UNHURT, HURT = 0.85, 0.25
"""A frame after a pause that reached this share of the bandwidth, where slow start would have cost this share of its time, met none."""
TIGHT = 1.1
"""Bounds this close are a sample."""
SHUT_S, SHUT_SHARE = 0.2, 0.1
"""For so long, and a round trip, a window stays shut; less than this share of what a frame takes does not count. [s, 1]"""


@dataclass(frozen=True)
class _Sent:
    nbytes: int
    at: float
    warm_bytes: int
    ahead_bytes: int
    pause_s: float
    afresh: bool
    pace: float | None
    tensors: bool


class LinkEstimator:
    """Estimate of one link, fed with what was sent and acknowledged; pings and data are numbered apart.

    Attributes:
        returned: Whether it was looked at since its silent peer came back.
        slow_start: Whether frames meet TCP's slow start; False where the rate is emulated in front of a fast link.
    """

    def __init__(self, *, slow_start: bool = True) -> None:
        self.slow_start = slow_start
        self._delays = LinkDelays()
        self._sent: dict[int, _Sent] = {}
        self._last_ack_at = self._last_arrival = float("-inf")
        self._received_bytes = 0
        self._rate = RateEstimate()
        self._fallen, self.returned = FallenRate(), ReturnedLink()
        self._at_least = 0.0
        self._sampled_at = float("-inf")
        self._probe_bytes = PROBE_FIRST_BYTES
        self._pace = ProbePace()
        self._warm_bytes = 0
        self._paired = False
        self._calibration = LinkCalibration()
        self._pauses_matter = True
        self._cold_sample: float | None = None
        self._own_pace = OwnPace()
        self._shut_at = float("-inf")

    @property
    def round_trip_s(self) -> float | None:
        """Least round trip of the window, None before the first pong. [s]"""
        return self._delays.round_trip.least_s

    @property
    def clock_ahead_s(self) -> tuple[float, float] | None:
        """How far the peer's clock is ahead, at least and at most; None before it said. [s]"""
        return self._delays.clock_ahead_s

    @property
    def waiting(self) -> bool:
        """Whether something sent was not answered yet."""
        return self._delays.waiting or bool(self._sent)

    def calm(self, now: float) -> bool:
        """Whether nothing is suspected and no data under way, so that the next probe has time. [s]"""
        suspected = self._rate.wary or self._fallen.watched or self.returned.unproven(now)
        return not (self._sent or self.ramping or suspected)

    def estimate(self) -> LinkEstimate | None:
        """What is believed now, None until both figures were measured."""
        if self._bandwidth is None or self.round_trip_s is None:
            return None
        return LinkEstimate(
            self._bandwidth,
            self.round_trip_s / 2,
            self._sampled_at,
            scatter=self._rate.scatter,
            error=self._rate.error,
            latency_error_s=max(self._delays.round_trip.jitter_s, 0.0) / 2,
        )

    def recall(self, bandwidth_bytes_per_s: float, now: float, age_s: float) -> None:
        """Begin with what an earlier run of the program believed so long ago, rather than find out anew. [B/s, s, s]"""
        self._rate.restart((bandwidth_bytes_per_s,), now)
        self._calibration.end()
        self._sampled(now)
        self._sampled_at = now - age_s

    def connected(self, now: float, *, doubted: bool = False, paced: bool = False) -> None:
        """A new connection: what was on its way is lost, what was learned stays until disproved.

        Args:
            now: [s]
            doubted: What was learned is looked at.
            paced: TCP paces what is sent by what it knows of the path.
        """
        self._calibration.paced = paced
        self._own_pace.connected(now, paced=paced)
        self.returned.connected(now, doubted=doubted and self._bandwidth is not None)
        self._delays.connected()
        self._sent.clear()
        self._last_ack_at = self._last_arrival = float("-inf")
        self._received_bytes = 0
        self._warm_bytes = 0
        self._paired = False

    def ping_sent(self, sequence: int, now: float) -> None:
        """A Ping left; one that leaves behind data measures the queue rather than the link."""
        self._delays.ping_sent(sequence, now, loaded=bool(self._sent))

    def pong_received(self, sequence: int, now: float, arrived: float | None = None) -> None:
        """A Pong came; `arrived`: when the Ping did, on the peer's clock. [s]"""
        self._delays.pong_received(sequence, now, arrived)

    def window_shut(self, now: float) -> None:
        """TCP lets next to nothing be on its way now. [s]"""
        self._shut_at = now

    def data_sent(
        self,
        sequence: int,
        nbytes: int,
        now: float,
        *,
        afresh: bool = False,
        pace: float | None = None,
        tensors: bool = False,
    ) -> None:
        """Tensors or a probe were handed over for sending.

        Args:
            sequence: Of the frame.
            nbytes: Of it. [B]
            now: [s]
            afresh: On a connection that forgot the rate it knew.
            pace: At which the connection lets bytes leave; None where it has none. [B/s]
            tensors: No probe, whose size was chosen to tell.
        """
        if afresh:
            self._own_pace.look(now)
        pause_s = 0.0 if self._sent else now - self._last_ack_at
        if not self._sent and self._idle(now):
            self._warm_bytes = 0
        ahead = sum(sent.nbytes for sent in self._sent.values())
        self._sent[sequence] = _Sent(nbytes, now, self._warm_bytes + ahead, ahead, pause_s, afresh, pace, tensors)

    def data_acknowledged(
        self,
        sequence: int,
        now: float,
        received_bytes: int | None = None,
        arrived: float | None = None,
        begun: tuple[float, int] | None = None,
    ) -> float | None:
        """An Ack came.

        Args:
            sequence: Of the frame that has arrived whole.
            now: [s]
            received_bytes: Of all bodies that arrived until then; None where the peer does not say. [B]
            arrived: When that was, on the peer's clock; None where it does not say. [s]
            begun: When its first part had arrived, on the same clock [s], and what has since then [B]; None where the
                peer does not say, or all of it came at once.

        Returns:
            Seconds the link was busy since the acknowledgement before, latency not included; None for an unknown
            sequence. [s]
        """
        sent = self._sent.pop(sequence, None)
        if sent is None:
            return None
        begun_at, round_trip, way_s = sent.at, self.round_trip_s or 0.0, self._delays.way_there.least_s
        if received_bytes is not None:
            arrived_bytes, self._received_bytes = received_bytes - self._received_bytes, received_bytes
            if arrived_bytes != sent.nbytes:
                begun_at = min((begun_at, *(other.at for other in self._sent.values())))
                sent = replace(sent, nbytes=max(arrived_bytes, 0))
        if arrived is None or way_s is None:
            path, seconds = self._delays.round_trip, now - max(begun_at + round_trip, self._last_ack_at)
        else:  # what waits on the way back does not count
            path, seconds = self._delays.way_there, arrived - max(begun_at + way_s, self._last_arrival)
        too_early = begun_at == sent.at and seconds <= 0
        spread_s = None
        if begun is not None and arrived is not None:
            spread_s = _spread_s(sent.nbytes, arrived - begun[0], begun[1])
            if spread_s is not None and begun_at == sent.at and not sent.ahead_bytes:
                self._delays.frame_began(arrived - spread_s - sent.at, now)
        seconds = max(min(seconds, spread_s or math.inf), 1e-6)
        self._last_ack_at, self._last_arrival = now, -math.inf if arrived is None else arrived
        self._warm_bytes += sent.nbytes
        unsettled = path.unsettled(now) and (spread_s is None or self._ramp(sent, halved_only=False)[0] > 0)
        shut = self._shut_at >= begun_at and seconds * SHUT_SHARE < SHUT_S + round_trip
        if sent.nbytes == 0 or too_early or unsettled or shut:
            # All of it was told with the acknowledgement before, the path became shorter or may be longer, or the window was in the way.
            return seconds
        if seconds >= MIN_SAMPLE_S:
            self._own_pace.on_way(round_trip)
            self._own_pace.sampled(sent.nbytes / seconds, sent.nbytes, sent.pace, afresh=sent.afresh)
        self._take(sent, seconds, round_trip, now)
        return seconds

    def _take(self, sent: _Sent, seconds: float, round_trip: float, now: float) -> None:
        """Learn what a frame tells by the time it took. [s]"""
        calibrating = self._calibration.active and self.slow_start
        enough_s = self._enough_s()
        if calibrating and not self._near:
            enough_s = max(round_trip * CALIBRATED_ROUND_TRIPS, CALIBRATED_S)
        if seconds < enough_s and sent.nbytes < self._most_bytes:
            self._too_short(sent, seconds, round_trip, now)
        elif calibrating:
            self._calibrate(sent, seconds, now)
        elif sent.afresh:
            self._look_for_more(sent.nbytes, seconds, now)
        else:
            self._calibration.end()
            self._learn(sent, seconds, now)
        self.returned.told(sure=not self.ramping)

    @property
    def ramping(self) -> bool:
        """Whether the next probe belongs to what is under way: it is neither put off nor rationed."""
        return self._paired or self._calibration.active or self._rate.doubted

    def probe_due(self, now: float) -> int | None:
        """Size of the probe to send now, or None. [B]"""
        if self._sent or self.round_trip_s is None:
            return None
        nbytes, allowance = self._probe_bytes, self._allowance()
        if self.ramping or self._calibration.unconfirmed:
            return nbytes if self._may_follow(now) else None
        glance = glance_bytes(self._bandwidth or 1.0) if self.starts_afresh(now) else None
        both = glance or nbytes * (2 if self._long_fat() else 1)
        wary = self._rate.wary and self._pace.may_confirm(nbytes, now, self._sampled_at, allowance, WARY_INTERVAL_S)
        soon = wary or self.returned.unproven(now) or self._own_pace.early(now)
        soon = soon or (glance is not None and self._fallen.urgent(now, self._last_ack_at))
        return glance or nbytes if soon or self._pace.due(both, now, self._sampled_at, allowance) else None

    def _may_follow(self, now: float) -> bool:
        """Whether the next probe of what is under way may leave."""
        calibration = self._calibration
        if self._paired or (
            calibration.active and (calibration.begun or self._bandwidth is None or self._pace.repaid(now))
        ):
            return True
        if self._rate.doubted:
            # A suspected change is confirmed soon, with longer probes where the first were too short to tell.
            return self._pace.may_confirm(self._probe_bytes, now, self._sampled_at, self._allowance())
        return not calibration.active

    def starts_afresh(self, now: float, frame_bytes: int | None = None) -> bool:
        """Whether what is about to leave should meet no rate that the connection knew.

        Args:
            now: [s]
            frame_bytes: Of tensors; None: a probe. [B]
        """
        if self.ramping or self._sent:
            return False
        if self._own_pace.due(now, frame_bytes):
            return True
        looked_for = self._idle(now) and (self._fallen.watched or self.returned.unproven(now))
        return frame_bytes is None and (self._calibration.unconfirmed or looked_for)

    def expected_s(self, nbytes: int) -> float:
        """Transmission time to reckon with; a short one while nothing is known. [s]"""
        return min(nbytes / max(self._bandwidth, self._at_least), 1.0) if self._bandwidth else MIN_SAMPLE_S

    def probe_sent(self, nbytes: int, now: float) -> None:
        """A probe of `probe_due` is about to leave. [B, s]"""
        if self._bandwidth is not None:  # finding out what a new link carries is free
            self._pace.sent(nbytes, now, self._allowance())
        confirms = self._calibration.sent(nbytes)
        # A glance meets no window that a second one would find open.
        cold = self._idle(now) and not confirms
        self._paired = cold and nbytes == self._probe_bytes and self._bandwidth is not None and self._long_fat()

    @property
    def _bandwidth(self) -> float | None:
        return self._rate.value

    def _idle(self, now: float) -> bool:
        """Whether TCP's window may have fallen back."""
        return now - self._last_ack_at > IDLE_RESET_S + (self.round_trip_s or 0.0)

    @property
    def _near(self) -> bool:
        """Whether a round trip takes no time, so that no window hides the link."""
        return self.round_trip_s is not None and self.round_trip_s < FAST_ROUND_TRIP_S

    @property
    def _most_bytes(self) -> int:
        return PROBE_MAX_NEAR_BYTES if self._near else PROBE_MAX_BYTES

    def _allowance(self) -> float:
        """Of the link as it is believed, or as fast as it surely is. [B/s]"""
        return allowance_bytes_per_s(max(self._bandwidth or 0.0, self._at_least, 1.0))

    def _enough_s(self) -> float:
        """What a frame must take to outweigh the jitter of the round trip. [s]"""
        return max(MIN_SAMPLE_S, min((self.round_trip_s or 0.0) / 2, DOUBTFUL_LATENCY_S))

    def _too_short(self, sent: _Sent, seconds: float, round_trip: float, now: float) -> None:
        """Latency dominates the frame: only a longer one can tell."""
        if sent.nbytes >= self._probe_bytes:
            self._probe_bytes = min(self._probe_bytes * GROWTH, self._most_bytes)
        if sent.afresh and sent.nbytes / seconds > (self._bandwidth or math.inf) * (1 + RATE_CHANGE):
            self._calibration.unconfirmed = True  # a longer one, afresh again, tells
        surely = sent.nbytes / (seconds + max(MIN_SAMPLE_S, round_trip / 4))
        expected_s = sent.nbytes / (self._bandwidth or math.inf)
        far = self._fallen.is_faster(expected_s, seconds, now, afresh=sent.afresh, tensors=sent.tensors)
        if self._bandwidth is None or (surely <= self._bandwidth * (1 + RATE_CHANGE) and not far):
            return
        # Even so the link is faster than believed; probes must not be rationed by what is no longer true.
        self._at_least = surely
        if self._near:
            self._rate.take_bound(surely, now)
        elif not self._calibration.active:
            self._calibration.begin()
            if far:
                self._pace.forgive()

    def _look_for_more(self, nbytes: int, seconds: float, now: float) -> None:
        """A probe on a connection that started afresh: the link is at least so fast, whatever the window cost. [B, s]"""
        reached, believed, self._sampled_at = nbytes / seconds, self._bandwidth or math.inf, now
        if reached > believed * (1 + RATE_CHANGE):
            self._at_least = reached
            self._calibration.begin()
            self._pace.forgive()  # what was owed was owed by a slower link
        elif reached < believed * (1 - RATE_CHANGE) and seconds - nbytes / believed > self._enough_s() / 2:
            self._rate.take_bound(reached, now)

    def _calibrate(self, sent: _Sent, seconds: float, now: float) -> None:
        """A probe behind others right before it."""
        bandwidth = sent.nbytes / seconds
        if (found := self._calibration.take(bandwidth, self.round_trip_s or 0.0, near=self._near)) is not None:
            self._pace.forgive(0.0 if self._bandwidth is None else EVERY_S)
            self._rate.restart(found, now)
            self._own_pace.found(now)
            self._sampled(now)
        else:
            self._at_least = bandwidth
            if self._calibration.probes > 1 and not self._near:
                self._probe_bytes = min(self._probe_bytes * GROWTH, self._most_bytes)

    def _learn(self, sent: _Sent, seconds: float, now: float) -> None:
        """A frame that took long enough."""
        reached = sent.nbytes / seconds
        ramp_s, ramp_bytes = self._ramp(sent, halved_only=False)
        least_s, _ = self._ramp(sent, halved_only=True)
        if self._bandwidth is not None and least_s > HURT * seconds and reached >= UNHURT * self._bandwidth:
            self._pauses_matter = False
        elif self._cold_sample is not None and reached * UNHURT > self._cold_sample:
            # What followed right behind was faster again: the pause was to blame.
            self._pauses_matter = True
        self._cold_sample = reached if ramp_s > 0 else None
        if not self._pauses_matter or ramp_s == 0:
            self._sample(reached, now, (self._delays.jitter_s / seconds) ** 2)
        elif seconds > ramp_s:
            self._bounds(reached, (sent.nbytes - ramp_bytes) / (seconds - ramp_s), now)
        else:
            self._bounds(reached, math.inf, now)

    def _long_fat(self) -> bool:
        """Whether more bytes fit on the way than TCP sends at first."""
        on_the_way = (self._bandwidth or 0.0) * (self.round_trip_s or 0.0)
        return self.slow_start and self._pauses_matter and not self._near and on_the_way > INITIAL_WINDOW_BYTES * 2

    def _ramp(self, sent: _Sent, *, halved_only: bool) -> tuple[float, float]:
        """What slow start costs a frame: round trips until the window covers frame or link [s], and what passes [B]."""
        round_trip, opened = self.round_trip_s or 0.0, float(sent.warm_bytes + INITIAL_WINDOW_BYTES)
        if not self.slow_start or self._bandwidth is None or round_trip < FAST_ROUND_TRIP_S:
            return 0.0, 0.0
        if halved_only:
            opened = max(opened, halved_window(sent.pause_s, round_trip, self._bandwidth))
        return ramp(sent.nbytes, sent.ahead_bytes, opened, round_trip, self._bandwidth)

    def _bounds(self, lower: float, upper: float, now: float) -> None:
        """Learn that the bandwidth lies between two values. [B/s]"""
        if upper <= lower * TIGHT:
            self._sample((lower + upper) / 2, now, math.log(upper / lower) ** 2 / 12)  # of a uniform distribution
        elif self._bandwidth is None or lower > self._bandwidth:
            self._sample(lower, now)
        elif upper < self._bandwidth * (1 - RATE_CHANGE):
            self._sampled_at = now
            self._rate.take_bound(upper, now)

    def _sample(self, bandwidth: float, now: float, variance: float = 0.0) -> None:
        before = self._rate.value
        self._rate.take(bandwidth, now, variance)
        if before is not None and not self._near and differs(before, self._rate.value or before, RATE_CHANGE):
            self._pace.forgive(EVERY_S)  # a link that really changed, and may soon change back
        self._sampled(now)

    def _sampled(self, now: float) -> None:
        """Something was learned: the next probe is as long as it must be."""
        self._sampled_at = now
        self._at_least = 0.0
        self._fallen.believed(self._rate.value or 0.0, now)
        self._probe_bytes = probe_size(
            self._rate.value or 1.0,
            at_least_s=self._enough_s() * (MARGIN_NEAR if self._near else MARGIN),
            pair=self._long_fat(),
            near=self._near,
        )


def _spread_s(nbytes: int, apart_s: float, rest_bytes: int) -> float | None:
    """What a frame takes by how far apart its parts came, which says nothing of the way; None where they came too close. [s]

    Args:
        nbytes: Of the frame. [B]
        apart_s: Between its first part and its end. [s]
        rest_bytes: That came behind its first part. [B]
    """
    if rest_bytes < nbytes / 2 or not apart_s >= MIN_SAMPLE_S:
        return None
    return nbytes * apart_s / rest_bytes
