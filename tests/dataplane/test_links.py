from __future__ import annotations

import math
import random

import pytest

from edgesplit_agent.dataplane.emulation import EmulatedLink, LinkClock
from edgesplit_agent.dataplane.measurement.link_estimator import LinkEstimator
from edgesplit_agent.dataplane.measurement.probing import (
    PROBE_MAX_BYTES,
    PROBE_MIN_BYTES,
    ProbeBudget,
    allowance_bytes_per_s,
)
from edgesplit_agent.dataplane.measurement.rate_estimate import RateEstimate


class Link:
    """A perfect link in virtual time: what an estimator on it sees."""

    def __init__(self, bandwidth: float, latency_s: float) -> None:
        self.bandwidth, self.latency_s = bandwidth, latency_s
        self.estimator = LinkEstimator()
        self.now, self.sequence = 100.0, 0

    def ping(self) -> None:
        self.sequence += 1
        self.estimator.ping_sent(self.sequence, self.now)
        self.now += 2 * self.latency_s
        self.estimator.pong_received(self.sequence, self.now)

    def send(self, nbytes: int, rate: float = 1.0) -> float:
        return self._send(nbytes, rate, tensors=False)

    def send_tensors(self, nbytes: int, rate: float = 1.0) -> float:
        return self._send(nbytes, rate, tensors=True)

    def _send(self, nbytes: int, rate: float, *, tensors: bool) -> float:
        self.sequence += 1
        self.estimator.data_sent(self.sequence, nbytes, self.now, tensors=tensors)
        self.now += nbytes / (self.bandwidth * rate) + 2 * self.latency_s
        seconds = self.estimator.data_acknowledged(self.sequence, self.now)
        assert seconds is not None
        return seconds

    def believed(self) -> float:
        estimate = self.estimator.estimate()
        assert estimate is not None
        return estimate.bandwidth_bytes_per_s

    def learned(self) -> Link:
        self.ping()
        for _ in range(3):
            self.send(3_000_000)
        return self


def test_bandwidth_and_one_way_latency_are_told_apart() -> None:
    link = Link(5e6, 0.055).learned()
    estimate = link.estimator.estimate()
    assert estimate is not None
    assert estimate.latency_s == pytest.approx(0.055)
    assert estimate.bandwidth_bytes_per_s == pytest.approx(5e6)


def test_how_sure_an_estimate_is_follows_from_the_scatter_of_what_was_measured() -> None:
    steady, restless = Link(5e6, 0.055).learned(), RestlessLink(5e6, 0.055, 0.05).learned()
    for link in (steady, restless):
        for _ in range(10):
            link.send(3_000_000)
    sure, unsure = steady.estimator.estimate(), restless.estimator.estimate()
    assert sure is not None
    assert unsure is not None
    assert sure.error < 0.01 < unsure.error < 0.05
    assert sure.latency_error_s == pytest.approx(0.0, abs=1e-9)
    restless.latency_s = 0.057  # pings beside other work
    for _ in range(3):
        restless.ping()
    unsure = restless.estimator.estimate()
    assert unsure is not None
    assert unsure.latency_s == pytest.approx(0.055)
    assert 0.001 <= unsure.latency_error_s <= 0.002


def test_frames_queued_together_are_not_counted_as_waiting_for_each_other() -> None:
    link = Link(5e6, 0.01).learned()
    sent_at = link.now
    for sequence in (901, 902, 903):
        link.estimator.data_sent(sequence, 1_000_000, sent_at)
    for position, sequence in enumerate((901, 902, 903), start=1):
        seconds = link.estimator.data_acknowledged(sequence, sent_at + 0.02 + 0.2 * position)
        assert seconds == pytest.approx(0.2)
    assert link.believed() == pytest.approx(5e6)


def test_frames_whose_parts_mix_give_the_links_bandwidth_and_its_busy_time() -> None:
    link = Link(5e6, 0.01).learned()
    sent_at = link.now
    link.estimator.data_sent(901, 10_000_000, sent_at)
    # A frame of 1 MB, sent half a second later, gets every other part and overtakes.
    link.estimator.data_sent(902, 1_000_000, sent_at + 0.5)
    overtook_s = link.estimator.data_acknowledged(902, sent_at + 0.92, received_bytes=4_500_000)
    rest_s = link.estimator.data_acknowledged(901, sent_at + 2.22, received_bytes=11_000_000)
    assert overtook_s == pytest.approx(0.9)
    assert rest_s == pytest.approx(1.3)
    assert link.believed() == pytest.approx(5e6)


def test_an_acknowledgement_of_what_the_one_before_has_told_measures_nothing() -> None:
    link = Link(5e6, 0.01).learned()
    for sequence in (901, 902):
        link.estimator.data_sent(sequence, 1_000_000, link.now)
    link.estimator.data_acknowledged(901, link.now + 0.42, received_bytes=11_000_000)
    believed = link.believed()
    assert link.estimator.data_acknowledged(902, link.now + 0.72, received_bytes=11_000_000) == pytest.approx(0.3)
    assert link.believed() == believed


def test_a_halved_bandwidth_is_believed_after_two_samples() -> None:
    link = Link(5e6, 0.005).learned()
    link.bandwidth = 2.5e6
    link.send(1_000_000)
    assert link.believed() == pytest.approx(5e6)
    link.send(1_000_000)
    assert link.believed() == pytest.approx(2.5e6)


def test_one_outlier_moves_nothing() -> None:
    link = Link(5e6, 0.005).learned()
    link.send(1_000_000, rate=0.2)
    link.send(1_000_000)
    link.send(1_000_000, rate=0.2)
    assert link.believed() == pytest.approx(5e6)


def test_noise_of_a_tenth_moves_the_estimate_little() -> None:
    rng = random.Random(1)
    link = Link(5e6, 0.005).learned()
    for _ in range(200):
        link.send(1_000_000, rate=1 + rng.uniform(-0.1, 0.1))
        assert link.believed() == pytest.approx(5e6, rel=0.06)


def test_samples_dominated_by_latency_are_dropped() -> None:
    link = Link(5e6, 0.055).learned()
    for _ in range(10):
        link.sequence += 1
        link.estimator.data_sent(link.sequence, 1000, link.now)
        link.now += 0.111 + 0.01  # jitter that would read as 100 kB/s
        link.estimator.data_acknowledged(link.sequence, link.now)
    assert link.believed() == pytest.approx(5e6)


def test_pings_behind_data_do_not_raise_the_latency() -> None:
    link = Link(5e6, 0.005).learned()
    link.estimator.data_sent(801, 1_000_000, link.now)
    link.estimator.ping_sent(802, link.now)
    link.estimator.pong_received(802, link.now + 0.21)
    assert link.estimator.round_trip_s == pytest.approx(0.01)


def test_a_longer_route_is_believed_once_the_old_pings_are_forgotten() -> None:
    link = Link(5e6, 0.005).learned()
    link.latency_s = 0.05
    for _ in range(20):
        link.ping()
        link.now += 1
    assert link.estimator.round_trip_s == pytest.approx(0.1)


def test_an_unknown_acknowledgement_is_ignored() -> None:
    estimator = LinkEstimator()
    assert estimator.data_acknowledged(5, 1.0) is None
    estimator.pong_received(5, 1.0)
    assert estimator.estimate() is None
    assert not estimator.waiting


def probe(link: Link) -> int | None:
    nbytes = link.estimator.probe_due(link.now)
    if nbytes is not None:
        link.estimator.probe_sent(nbytes, link.now)
        link.send(nbytes)
    return nbytes


@pytest.mark.parametrize("bandwidth", [2e5, 5e6, 1e8, 2e9])
@pytest.mark.parametrize("latency_s", [0.0001, 0.005, 0.055])
def test_probes_find_an_estimate_within_three_seconds_and_then_keep_to_their_allowance(
    bandwidth: float, latency_s: float
) -> None:
    link = Link(bandwidth, latency_s)
    link.ping()
    started = link.now
    while link.estimator.estimate() is None:
        nbytes = probe(link)
        assert nbytes is not None
        assert PROBE_MIN_BYTES <= nbytes <= PROBE_MAX_BYTES
    assert link.now - started < 3
    assert link.believed() == pytest.approx(bandwidth, rel=0.01)
    started, sent = link.now, 0
    while link.now < started + 500:
        sent += probe(link) or 0
        link.now += 0.1
    # Minutes and a pair of 8 MB lie between two looks at the longest and fattest.
    assert 0 < sent <= 1.4 * allowance_bytes_per_s(bandwidth) * (link.now - started)


def test_a_suspected_change_is_confirmed_soon() -> None:
    link = Link(5e6, 0.005).learned()
    link.now += 10
    assert probe(link) is not None
    link.bandwidth = 5e5
    link.now += 10
    assert probe(link) is not None
    link.now += 0.2
    assert probe(link) is not None
    assert link.believed() == pytest.approx(5e5)


class StubbornLink(Link):
    """Beyond it TCP paces what is sent by the rate it knew when it stopped looking for a higher one, until it starts afresh."""

    def __init__(self, bandwidth: float, latency_s: float, paced: float) -> None:
        super().__init__(bandwidth, latency_s)
        self.estimator.connected(self.now, paced=True)
        self.pace = paced
        self.afresh = 0

    def probe(self) -> int | None:
        nbytes = self.estimator.probe_due(self.now)
        if nbytes is None:
            return None
        afresh = self.estimator.starts_afresh(self.now)
        self.estimator.probe_sent(nbytes, self.now)
        self._carry(nbytes, afresh=afresh)
        return nbytes

    def serve(self, nbytes: int, seconds: float, pause_s: float = 0.2) -> None:
        """Frames one after another for so long, and the probes that are due between them."""
        until_s = self.now + seconds
        while self.now < until_s:
            self._carry(nbytes, afresh=self.estimator.starts_afresh(self.now, nbytes), tensors=True)
            self.now += pause_s
            self.ping()
            while self.probe() is not None:
                pass

    def _carry(self, nbytes: int, *, afresh: bool, tensors: bool = False) -> None:
        if afresh:
            self.afresh += 1
            self.pace *= 3  # the window stays, and all of it leaves in a third of a round trip
        self.sequence += 1
        self.estimator.data_sent(self.sequence, nbytes, self.now, afresh=afresh, pace=self.pace, tensors=tensors)
        self.now += nbytes / min(self.pace, self.bandwidth) + 2 * self.latency_s
        if afresh:
            self.pace = min(self.pace, max(self.bandwidth, self.pace / 3))  # it has seen what arrives
        self.estimator.data_acknowledged(self.sequence, self.now)


@pytest.mark.parametrize("paced", [5e6, 1e9])
def test_what_probes_agree_on_is_looked_at_afresh_where_tcp_paces_them(paced: float) -> None:
    link = StubbornLink(1e8, 0.055, paced)
    link.ping()
    sent = 0
    while (nbytes := link.probe()) is not None:
        sent += nbytes
        assert sent < 128 << 20
    assert link.believed() == pytest.approx(1e8, rel=0.05)
    assert link.afresh == (1 if paced > 1e8 else 4)
    assert link.estimator.probe_due(link.now + 1.0) is None


@pytest.mark.parametrize("frame_bytes", [300_000, 1_150_000])
def test_frames_that_arrive_at_their_connections_own_pace_start_afresh_until_they_meet_the_link(
    frame_bytes: int,
) -> None:
    """As after a start on a busy machine: what was found then is neither the link nor looked at by frames one after another."""
    link = StubbornLink(7e6, 0.055, 7e6)
    link.ping()
    link.serve(frame_bytes, 5)
    assert link.believed() == pytest.approx(7e6, rel=0.1)
    link.bandwidth = 1e8
    link.serve(frame_bytes, 20)
    assert link.pace >= 5e7
    assert link.believed() == pytest.approx(1e8, rel=0.25)


@pytest.mark.parametrize("slower", [True, False])
def test_what_a_new_connection_found_is_looked_at_again_before_long(slower: bool) -> None:
    """A machine that has just started is busy with that, and so is its way to the network."""
    link = StubbornLink(1e7, 0.055, 1e7 if slower else 1e9)
    link.ping()
    while link.probe() is not None:
        pass
    assert link.believed() == pytest.approx(1e7)
    found_at, before = link.now, link.afresh
    link.bandwidth = 1e8
    while link.now - found_at < 4:
        link.now += 0.05
        link.probe()
    assert link.believed() >= (2e7 if slower else 9e7)
    link.now += 60
    link.ping()
    for _ in range(400):
        link.now += 0.05
        link.probe()
    assert link.believed() == pytest.approx(1e8, rel=0.1)
    assert link.afresh - before <= 12


def test_what_an_earlier_run_believed_is_looked_at_rather_than_found_out_anew() -> None:
    link = StubbornLink(1e7, 0.055, 1e9)
    link.estimator = LinkEstimator()
    link.estimator.recall(1e7, link.now, age_s=600.0)
    link.estimator.connected(link.now, doubted=True, paced=True)
    assert link.estimator.estimate() is None  # the way is not known
    link.ping()
    assert link.believed() == pytest.approx(1e7)
    assert link.estimator.returned.unproven(link.now)
    sent = 0
    while link.estimator.returned.unproven(link.now):
        sent += link.probe() or 0
        link.now += 0.05
    assert 100_000 < sent < 1_000_000


def test_short_frames_that_were_wrong_are_believed_ever_more_seldom() -> None:
    """They come in one piece whatever the link carries, as behind a radio that puts packets together."""
    link = Link(1e7, 0.055)
    link.ping()
    for _ in range(4):
        link.send(2_000_000)
    begun = 0
    for _ in range(1200):
        link.send_tensors(134_000, rate=5.0)
        link.now += 0.05
        if link.estimator.ramping:
            begun += 1
            while link.estimator.ramping:
                link.send(2_000_000)
    assert 2 <= begun <= 8
    assert link.believed() == pytest.approx(1e7)


def test_frames_that_meet_the_link_at_their_own_pace_start_afresh_ever_more_seldom() -> None:
    link = StubbornLink(7e6, 0.055, 7e6)
    link.ping()
    link.serve(1_000_000, 20)
    before = link.afresh
    link.serve(1_000_000, 600)
    assert 4 <= link.afresh - before <= 10  # two minutes apart at last
    assert link.believed() == pytest.approx(7e6, rel=0.05)


def test_another_way_is_looked_at_as_if_nothing_were_known() -> None:
    link = StubbornLink(7e6, 0.3, 7e6)
    link.ping()
    link.serve(1_000_000, 120)
    before = link.afresh
    link.latency_s, link.bandwidth = 0.055, 1e8
    link.serve(1_000_000, 20)
    assert link.afresh > before
    assert link.believed() > 5e7


def test_frames_slower_than_their_pace_never_start_afresh() -> None:
    link = StubbornLink(7e6, 0.055, 1e9)
    link.ping()
    link.serve(1_000_000, 60)
    assert link.afresh <= 3  # of a new connection
    assert link.believed() == pytest.approx(7e6, rel=0.05)


@pytest.mark.parametrize("fast_every", [1, 2, 3])
def test_short_frames_of_a_link_that_fell_bring_it_back_only_where_one_after_another_is_fast(fast_every: int) -> None:
    """They come in a few packets, and a reader that was late sees all of them at once."""
    link = Link(1e8, 0.055)
    link.ping()
    for rate in (1.0, 0.1):
        for _ in range(4):
            link.send(10_000_000, rate)
        assert link.believed() == pytest.approx(1e8 * rate)
    probing = 0
    for number in range(60):
        link.send_tensors(134_000, rate=1.0 if number % fast_every == 0 else 0.1)
        link.now += 0.1
        probing += link.estimator.ramping
    assert bool(probing) == (fast_every == 1)


@pytest.mark.parametrize("shut", [True, False])
def test_what_leaves_through_a_window_that_is_shut_tells_nothing_of_the_link(shut: bool) -> None:
    link = Link(1e7, 0.055).learned()
    for _ in range(3):
        if shut:
            link.estimator.window_shut(link.now)
        link.send(1_000_000, rate=0.2)
    assert link.believed() == pytest.approx(1e7 if shut else 2e6)


def test_a_frame_that_takes_long_tells_the_rate_though_the_window_was_shut_for_a_moment() -> None:
    link = Link(1e6, 0.005).learned()
    for _ in range(3):
        link.estimator.window_shut(link.now)
        link.send(5_000_000, rate=0.5)
    assert link.believed() == pytest.approx(5e5)


def test_there_is_no_probe_while_data_measures_the_link() -> None:
    link = Link(5e6, 0.005).learned()
    for _ in range(20):
        link.now += 1
        assert link.estimator.probe_due(link.now) is None
        link.send(1_000_000)


def test_probes_of_all_links_share_one_budget() -> None:
    budget = ProbeBudget()
    assert budget.allows(0.0)
    budget.spend(0.02, 0.0)
    assert not budget.allows(0.39)
    assert budget.allows(0.41)


def test_emulated_frames_queue_for_bandwidth_and_arrive_a_latency_later() -> None:
    clock, link = LinkClock(), EmulatedLink(bandwidth_bytes_per_s=1e6, latency_s=0.05)
    assert clock.arrival(link, 500_000, False, now=10.0) == pytest.approx(10.55)
    assert clock.arrival(link, 500_000, False, now=10.0) == pytest.approx(11.05)
    assert clock.arrival(link, 100_000, False, now=20.0) == pytest.approx(20.15)


def test_urgent_emulated_frames_pass_the_queue_but_not_the_latency() -> None:
    clock, link = LinkClock(), EmulatedLink(bandwidth_bytes_per_s=1e6, latency_s=0.05)
    clock.arrival(link, 5_000_000, False, now=10.0)
    assert clock.arrival(link, 100, True, now=10.0) == pytest.approx(10.0501)


def test_emulated_frames_keep_their_order_when_the_link_gets_faster() -> None:
    clock = LinkClock()
    late = clock.arrival(EmulatedLink(1e6, 0.5), 1000, False, now=10.0)
    assert clock.arrival(EmulatedLink(), 1000, False, now=10.1) >= late


class SlowStartLink(Link):
    """A link behind TCP: the window starts at ten segments after a pause and doubles with every round trip."""

    window = 14_600.0
    idle_since = 0.0

    def send(self, nbytes: int, rate: float = 1.0) -> float:
        if self.now - self.idle_since > 0.3:
            self.window = 14_600.0
        self.sequence += 1
        self.estimator.data_sent(self.sequence, nbytes, self.now)
        left, round_trip = float(nbytes), 2 * self.latency_s
        while left > self.window and self.window < self.bandwidth * round_trip:
            left -= self.window
            self.window *= 2
            self.now += round_trip
        self.now += left / (self.bandwidth * rate) + round_trip
        self.window += nbytes
        self.idle_since = self.now
        seconds = self.estimator.data_acknowledged(self.sequence, self.now)
        assert seconds is not None
        return seconds


class RestlessLink(Link):
    """A link of a machine that has other work: every measurement is another, the link is the same."""

    def __init__(self, bandwidth: float, latency_s: float, scatter: float, seed: int = 1) -> None:
        super().__init__(bandwidth, latency_s)
        self.scatter, self.random = scatter, random.Random(seed)

    def send(self, nbytes: int, rate: float = 1.0) -> float:
        return super().send(nbytes, rate * math.exp(self.random.gauss(0, self.scatter)))


class PacedLink(Link):
    """A link behind BBR: frames leave at the rate that was known, which grows only on a connection that starts afresh."""

    known, starting = 0.0, True

    def send(self, nbytes: int, rate: float = 1.0) -> float:
        afresh = self.estimator.starts_afresh(self.now)
        round_trip = 2 * self.latency_s
        if afresh or not self.known:
            self.starting = True
            self.known = max(2 * self.known, 14_600 / round_trip)  # what may be on the way stays
        self.sequence += 1
        self.estimator.data_sent(self.sequence, nbytes, self.now, afresh=afresh)
        self.known = min(self.known * (2.9 if self.starting else 1.0), self.bandwidth)
        self.starting = self.starting and self.known < self.bandwidth
        self.now += nbytes / self.known + round_trip
        seconds = self.estimator.data_acknowledged(self.sequence, self.now)
        assert seconds is not None
        return seconds


STUDY_LINKS = [(5e6, 0.055), (2e7, 0.05), (2e7, 0.005), (1e8, 0.0005), (1e8, 0.055), (1e6, 0.1), (5e6, 0.005)]


LONG_FAT = {(2e7, 0.05): 30.0, (1e8, 0.055): 100.0}
"""Links on which nothing less than several round trips' bytes tells the rate, and what their allowance makes of that. [s]"""


@pytest.mark.parametrize("kind", [Link, SlowStartLink])
@pytest.mark.parametrize(("bandwidth", "latency_s"), STUDY_LINKS)
def test_a_halved_bandwidth_is_believed_within_ten_idle_seconds(
    kind: type[Link], bandwidth: float, latency_s: float
) -> None:
    link, within_s = calibrated(kind(bandwidth, latency_s)), LONG_FAT.get((bandwidth, latency_s), 10.0)
    idle(link, 90)
    assert link.believed() == pytest.approx(bandwidth, rel=0.05)
    for offset_s in (0.0, 2.0, 5.0):
        link.bandwidth = bandwidth
        idle(link, 12 * within_s + offset_s)
        link.bandwidth = bandwidth / 2
        idle(link, within_s)
        assert link.believed() == pytest.approx(bandwidth / 2, rel=0.25)
        idle(link, 6 * within_s)
        assert link.believed() == pytest.approx(bandwidth / 2, rel=0.05)


@pytest.mark.parametrize("kind", [Link, SlowStartLink])
@pytest.mark.parametrize(("bandwidth", "latency_s"), STUDY_LINKS)
def test_a_halved_bandwidth_is_believed_within_five_busy_seconds(
    kind: type[Link], bandwidth: float, latency_s: float
) -> None:
    link = calibrated(kind(bandwidth, latency_s))
    nbytes = int(bandwidth * 0.2)
    idle(link, 30)
    for _ in range(100):
        link.send(nbytes)
        idle(link, 0.5)
    assert link.believed() == pytest.approx(bandwidth, rel=0.05)
    link.bandwidth = bandwidth / 2
    until = link.now + 5
    while link.now < until:
        link.send(nbytes)
        idle(link, 0.5)
    assert link.believed() == pytest.approx(bandwidth / 2, rel=0.25)


@pytest.mark.parametrize("slow_start", [True, False])
@pytest.mark.parametrize(("bandwidth", "latency_s"), [(5e6, 0.005), (5e6, 0.055), (2e7, 0.005), (1e8, 0.0005)])
def test_a_link_that_fell_to_a_tenth_and_came_back_is_believed_each_time_while_idle(
    bandwidth: float, latency_s: float, slow_start: bool
) -> None:
    """Probes of the fast link must not be paid off at the slow link's allowance, nor those of a link not known yet."""
    link = Link(bandwidth, latency_s)
    link.estimator.slow_start = slow_start
    link.ping()
    idle(link, 60)
    assert link.believed() == pytest.approx(bandwidth, rel=0.1)
    for rate in (bandwidth / 10, bandwidth, bandwidth / 10, bandwidth):
        link.bandwidth = rate
        idle(link, 25)
        assert link.believed() == pytest.approx(rate, rel=0.25)


@pytest.mark.parametrize(("bandwidth", "latency_s"), [(5e6, 0.055), (2e7, 0.005), (5e6, 0.005)])
def test_a_link_that_fell_and_came_back_is_believed_though_tcp_goes_on_at_the_rate_it_knew(
    bandwidth: float, latency_s: float
) -> None:
    link = PacedLink(bandwidth, latency_s)
    link.ping()
    idle(link, 60)
    assert link.believed() == pytest.approx(bandwidth, rel=0.1)
    before = bandwidth
    for rate in (bandwidth / 10, bandwidth, bandwidth / 4, bandwidth):
        link.bandwidth = rate
        # A glance every other second shows that a slow link is fast again; behind a faster one probes are rarer.
        back_s = 5 if before <= 1.4e6 else 10
        idle(link, back_s if rate == bandwidth else 25)
        before = rate
        assert link.believed() == pytest.approx(rate, rel=0.25)
        idle(link, 20)
        assert link.believed() == pytest.approx(rate, rel=0.1)


@pytest.mark.parametrize("kind", [Link, SlowStartLink])
@pytest.mark.parametrize(("bandwidth", "latency_s"), [(5e6, 0.055), (2e7, 0.005)])
def test_what_was_believed_before_a_peer_was_silent_is_looked_at_before_it_counts(
    kind: type[Link], bandwidth: float, latency_s: float
) -> None:
    link = calibrated(kind(bandwidth, latency_s))
    idle(link, 30)
    for rate in (bandwidth, bandwidth / 10):
        link.bandwidth = rate
        link.estimator.connected(link.now, doubted=True)
        assert link.estimator.returned.unproven(link.now)
        link.ping()
        began = link.now
        while link.estimator.returned.unproven(link.now):
            idle(link, 0.1)
        assert link.now - began < 3.5
        assert link.believed() == pytest.approx(rate, rel=0.25)


def test_a_link_of_which_nothing_was_known_has_nothing_to_prove() -> None:
    link = Link(5e6, 0.055)
    link.estimator.connected(link.now, doubted=True)
    assert not link.estimator.returned.unproven(link.now)


@pytest.mark.parametrize(("bandwidth", "latency_s"), STUDY_LINKS)
def test_idle_probes_keep_to_their_allowance(bandwidth: float, latency_s: float) -> None:
    link = calibrated(SlowStartLink(bandwidth, latency_s))
    begin = link.now
    sent = idle(link, 600)
    assert 0 < sent <= 1.1 * allowance_bytes_per_s(bandwidth) * (link.now - begin)


@pytest.mark.parametrize("bandwidth", [5e7, 1.25e8, 1e9, 4e9])
def test_probes_of_an_idle_fast_link_take_a_thousandth_or_100_kb_a_second_however_it_scatters(bandwidth: float) -> None:
    for scatter in (0.0, 0.1, 0.5):
        link = calibrated(RestlessLink(bandwidth, 0.0001, scatter))
        idle(link, 60)
        begin = link.now
        sent = idle(link, 1800)
        # What is believed of a link that scatters so much is the mean, which lies above its middle.
        assert 0 < sent / (link.now - begin) <= (1.1 + scatter / 4) * min(1e-3 * bandwidth, 100e3)


def test_a_slow_links_probe_does_not_hold_it_up() -> None:
    for bandwidth in (2e4, 1e5, 1e6):
        link = calibrated(Link(bandwidth, 0.02))
        link.now += 1000
        nbytes = link.estimator.probe_due(link.now)
        assert nbytes is not None
        assert nbytes / bandwidth <= max(0.11, PROBE_MIN_BYTES / bandwidth)


def test_a_restless_link_keeps_one_estimate_and_a_change_shows_all_the_same() -> None:
    """Loopback beside other work: single measurements differ by a factor of two, the link does not change."""
    changes = 0
    for seed in range(10):
        link = RestlessLink(2e9, 0.0001, 0.3, seed)
        calibrated(link)
        for _ in range(12):
            link.send(8_000_000)
        before = link.believed()
        for _ in range(100):
            link.send(8_000_000)
            changes += abs(link.believed() / before - 1) > 0.25
            before = link.believed()
        assert link.believed() == pytest.approx(2e9, rel=0.4)
        link.bandwidth = 1e9
        for _ in range(12):
            link.send(8_000_000)
        assert link.believed() < 1.5e9
    assert changes <= 3  # of a thousand measurements; each of these was believed before


@pytest.mark.parametrize("change", [0.9, 1.1])
@pytest.mark.parametrize("busy", [True, False])
def test_a_lasting_change_of_a_tenth_is_believed_within_a_minute(change: float, busy: bool) -> None:
    for seed in range(8):
        link = calibrated(RestlessLink(5e6, 0.02, 0.03, seed))
        for _ in range(120):
            idle(link, 1)
            if busy:
                link.send(300_000)
        link.bandwidth = 5e6 * change
        until = link.now + 60
        while link.now < until:
            idle(link, 1)
            if busy:
                link.send(300_000)
        assert link.believed() == pytest.approx(5e6 * change, rel=0.05)


def test_a_measurement_that_is_known_to_be_unsure_counts_less() -> None:
    believed = list[float]()
    for variance in (0.0, 0.01):
        rate = RateEstimate()
        rate.restart((1e6, 1e6, 1e6), 0.0)
        rate.take(1.1e6, 5.0, variance)
        assert rate.value is not None
        believed.append(rate.value)
    assert 1e6 < believed[1] < believed[0] < 1.1e6


@pytest.mark.parametrize("busy", [True, False])
def test_ten_minutes_of_noise_of_a_fifth_move_nothing(busy: bool) -> None:
    for seed in range(4):
        link = RestlessLink(5e6, 0.02, 0.03, seed)
        calibrated(link)
        idle(link, 180)
        before = link.believed()
        link.scatter = 0.2
        until = link.now + 600
        while link.now < until:
            idle(link, 1)
            if busy:
                link.send(300_000)
            assert link.believed() == pytest.approx(before, rel=0.05)


@pytest.mark.parametrize(("bandwidth", "latency_s"), STUDY_LINKS)
def test_the_first_estimate_is_the_links_not_the_windows(bandwidth: float, latency_s: float) -> None:
    assert calibrated(SlowStartLink(bandwidth, latency_s)).believed() == pytest.approx(bandwidth, rel=0.1)


def calibrated(link: Link) -> Link:
    link.ping()
    while link.estimator.estimate() is None:
        assert probe(link) is not None
    return link


def idle(link: Link, seconds: float) -> int:
    """Let time pass with nothing but probes; their bytes."""
    until, sent = link.now + seconds, 0
    while link.now < until:
        while nbytes := probe(link):
            sent += nbytes
        link.now += 0.1
    return sent


@pytest.mark.parametrize(("bandwidth", "latency_s"), [(5e6, 0.055), (2e7, 0.05), (2e7, 0.005), (1e8, 0.0005)])
def test_slow_start_is_not_taken_for_a_slow_link(bandwidth: float, latency_s: float) -> None:
    link = SlowStartLink(bandwidth, latency_s)
    link.ping()
    while link.estimator.estimate() is None:
        probe(link)
    assert link.believed() == pytest.approx(bandwidth, rel=0.34)
    for _ in range(100):
        link.now += 3
        link.send(2_000_000)
        link.now += 10
        while probe(link) is not None:
            pass
    assert link.believed() == pytest.approx(bandwidth, rel=0.1)


def test_a_link_that_became_faster_is_found_out() -> None:
    link = Link(5e5, 0.005).learned()
    link.bandwidth = 5e7
    for _ in range(40):
        link.now += 10
        while probe(link) is not None:
            pass
    assert link.believed() == pytest.approx(5e7, rel=0.05)
