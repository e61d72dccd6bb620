"""Paths whose delay changes or whose way back is busy: what is believed of them, and of the rate of their links."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from edgesplit_agent.dataplane.measurement.link_delays import LinkDelays
from edgesplit_agent.dataplane.measurement.link_estimator import LinkEstimator
from edgesplit_agent.dataplane.measurement.path_delay import UNSETTLED_S, WINDOW_S, PathDelay

PING_EVERY_S = 0.15


class TwoClocks:
    """A link whose peer says when what it answers arrived, by a clock of its own."""

    def __init__(self, rate: float, there_s: float, back_s: float) -> None:
        self.rate, self.there_s, self.back_s = rate, there_s, back_s
        self.wait_back_s: Callable[[], float] = lambda: 0.0
        self.wait_there_s: Callable[[], float] = lambda: 0.0
        self.offset_s = 12_345.0
        self.says_when = True
        self.first_bytes: int | None = None
        """Of a frame, that are read before the others come; None: all at once, or nobody says."""
        self.estimator = LinkEstimator()
        self.now, self.sequence = 100.0, 0

    def frame(self, nbytes: int, *, behind: bool = False) -> None:
        """Sent alone; a ping goes just before it, as pings go all the time, or `behind` it."""
        ping, frame, sent = self.sequence + 1, self.sequence + 2, self.now
        self.sequence = frame
        for step in (self._data_sent, self._ping_sent) if behind else (self._ping_sent, self._data_sent):
            step(ping, frame, nbytes, sent)
        arrives = sent + self.there_s + self.wait_there_s()
        arrived = arrives + nbytes / self.rate
        self._pong(ping, arrived if behind else arrives)
        self.now = arrived + self.back_s + self.wait_back_s()
        stamp = arrived + self.offset_s if self.says_when else None
        begun = None
        if self.first_bytes is not None:
            begun = arrives + self.first_bytes / self.rate + self.offset_s, nbytes - self.first_bytes
        self.estimator.data_acknowledged(frame, self.now, arrived=stamp, begun=begun)

    def _ping_sent(self, ping: int, _frame: int, _nbytes: int, sent: float) -> None:
        self.estimator.ping_sent(ping, sent)

    def _data_sent(self, _ping: int, frame: int, nbytes: int, sent: float) -> None:
        self.estimator.data_sent(frame, nbytes, sent)

    def pings(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.sequence += 1
            sent = self.now
            self.estimator.ping_sent(self.sequence, sent)
            self._pong(self.sequence, sent + self.there_s + self.wait_there_s())
            self.now = sent + PING_EVERY_S

    def _pong(self, ping: int, arrived: float) -> None:
        came = arrived + self.back_s + self.wait_back_s()
        self.estimator.pong_received(ping, came, arrived + self.offset_s if self.says_when else None)

    def learned(self) -> TwoClocks:
        self.pings(2.0)
        for _ in range(12):
            self.frame(2_000_000)
            self.pings(0.5)
        return self

    @property
    def believed(self) -> tuple[float, float]:
        """Rate and latency. [B/s, s]"""
        estimate = self.estimator.estimate()
        assert estimate is not None
        return estimate.bandwidth_bytes_per_s, estimate.latency_s


@pytest.fixture
def link() -> TwoClocks:
    made = TwoClocks(5e6, 0.055, 0.055).learned()
    assert made.believed == pytest.approx((5e6, 0.055), rel=0.01)
    return made


def test_what_waits_on_the_way_back_is_no_slower_link(link: TwoClocks) -> None:
    chance = random.Random(1)
    link.wait_back_s = lambda: chance.uniform(0.0, 0.16)
    for _ in range(40):
        link.frame(100_000)
        link.pings(0.3)
        assert link.believed[0] == pytest.approx(5e6, rel=0.02)
    assert link.believed[1] < 0.065


@pytest.mark.parametrize("says_when", [True, False])
@pytest.mark.parametrize("change", [(0.3, 0.3), (0.3, 0.055), (0.055, 0.3), (0.005, 0.005)])
def test_a_longer_or_shorter_way_is_no_other_rate(change: tuple[float, float], says_when: bool) -> None:
    link = TwoClocks(5e6, 0.055, 0.055)
    link.says_when = says_when
    link.learned()
    for link.there_s, link.back_s in (change, (0.055, 0.055)):
        changed = link.now
        while link.now < changed + 8.0:
            link.frame(100_000)
            link.pings(0.3)
            assert link.believed[0] == pytest.approx(5e6, rel=0.05)
            if link.now > changed + 3.0:
                assert link.believed[1] == pytest.approx((link.there_s + link.back_s) / 2, rel=0.02)


def test_a_peer_that_comes_back_with_another_clock_is_measured_by_that(link: TwoClocks) -> None:
    link.offset_s = 3.0
    link.estimator.connected(link.now)
    for _ in range(10):
        link.pings(0.3)
        link.frame(1_000_000)
        assert link.believed[0] == pytest.approx(5e6, rel=0.02)


def test_what_arrives_sooner_than_the_way_takes_tells_of_the_way_and_not_of_the_rate(link: TwoClocks) -> None:
    link.there_s = link.back_s = 0.3
    link.pings(WINDOW_S + 1.0)
    link.there_s = link.back_s = 0.055
    for _ in range(3):  # before any ping has told
        link.sequence += 1
        link.estimator.data_sent(link.sequence, 8 << 20, link.now)
        arrived = link.now + link.there_s + 0.1
        link.now = arrived + link.back_s
        link.estimator.data_acknowledged(link.sequence, link.now, arrived=arrived + link.offset_s)
    assert link.believed[0] == pytest.approx(5e6, rel=0.05)


def test_a_rate_that_was_believed_by_mistake_is_found_wrong_within_seconds(link: TwoClocks) -> None:
    link.rate = 1e4  # as a window that is too small lets it look
    for _ in range(6):
        link.frame(20_000)
    assert link.believed[0] == pytest.approx(1e4, rel=0.3)
    link.rate = 5e6
    changed, probes = link.now, 0
    while link.believed[0] < 4e6:
        link.pings(0.3)
        assert link.now - changed < 8.0
        while (nbytes := link.estimator.probe_due(link.now)) is not None:
            link.estimator.probe_sent(nbytes, link.now)
            link.frame(nbytes)
            probes += 1
    assert probes > 1


@pytest.mark.parametrize("longer_s", [0.02, 0.245])
def test_a_longer_way_on_which_data_is_all_the_time_is_told_by_when_frames_begin(
    link: TwoClocks, longer_s: float
) -> None:
    """No ping meets an empty link, and a frame that is late is as late as one on a slower link."""
    link.first_bytes = 14_600
    for _ in range(5):
        link.frame(200_000, behind=True)
    link.there_s += longer_s
    link.back_s += longer_s
    for number in range(8):
        link.frame(200_000, behind=True)
        assert link.believed[0] == pytest.approx(5e6, rel=0.05), number
        link.now += 0.15
    # The ping behind a frame waited for it; that much too long, at most.
    assert 0 <= link.believed[1] - (0.055 + longer_s) <= 200_000 / 5e6 / 2 + 1e-6
    link.frame(200_000)
    assert link.believed == pytest.approx((5e6, 0.055 + longer_s), rel=0.05)


def test_a_slower_link_is_none_that_became_longer(link: TwoClocks) -> None:
    link.first_bytes = 65_000
    link.rate = 1e6
    for _ in range(8):
        link.frame(200_000, behind=True)
        link.now += 0.15
    assert link.believed == pytest.approx((1e6, 0.055), rel=0.05)


def test_parts_that_come_at_once_tell_nothing(link: TwoClocks) -> None:
    """A reader that was busy finds all of it there."""
    link.first_bytes = 199_999
    for _ in range(8):
        link.frame(200_000)
    assert link.believed == pytest.approx((5e6, 0.055), rel=0.05)


def test_a_slower_link_whose_pings_wait_is_believed_all_the_same(link: TwoClocks) -> None:
    chance = random.Random(2)
    link.wait_there_s = lambda: chance.uniform(0.0, 0.25)
    link.rate = 1e6
    changed = link.now
    while link.now < changed + 10.0:
        link.frame(400_000)
        link.pings(0.3)
    assert link.believed[0] == pytest.approx(1e6, rel=0.35)


def test_one_long_ping_is_waiting_and_many_alike_are_the_path() -> None:
    path, now = PathDelay(), 0.0
    for _ in range(50):
        now += PING_EVERY_S
        path.add(0.1, now)
    path.add(0.4, now + 0.01)
    assert (path.least_s, path.unsettled(now + 0.02)) == (0.1, True)
    path.add(0.1, now + 0.1)
    assert (path.least_s, path.unsettled(now + 0.2)) == (0.1, False)
    began = now
    told = []
    while path.least_s == 0.1:
        now += PING_EVERY_S
        told.append(path.add(0.4, now))
    assert told[-1]
    assert not any(told[:-1])
    assert path.least_s == 0.4
    assert now - began < 1.5
    assert not path.unsettled(now)


def test_waiting_that_goes_on_is_not_waited_for_for_ever() -> None:
    chance, path, now = random.Random(3), PathDelay(), 0.0
    for _ in range(50):
        now += PING_EVERY_S
        path.add(0.1, now)
    began = now
    while now < began + UNSETTLED_S + 1.0:
        now += PING_EVERY_S
        path.add(0.15 + chance.uniform(0.0, 0.3), now)
    assert path.least_s == 0.1
    assert not path.unsettled(now)


def test_what_left_behind_data_counts_only_while_nothing_else_does() -> None:
    path = PathDelay()
    path.add(0.5, 1.0, loaded=True)
    assert path.least_s == 0.5
    path.add(0.1, 2.0)
    path.add(0.3, 3.0, loaded=True)
    assert path.least_s == 0.1
    path.add(0.05, 3.5, loaded=True)  # nothing goes faster than its path, queue or not
    assert path.least_s == 0.05
    path.add(0.3, 3.0 + WINDOW_S + 1.0, loaded=True)
    assert path.least_s == 0.3


def test_a_peers_clock_is_known_to_within_a_round_trip_and_not_over_a_new_connection() -> None:
    delays = LinkDelays()
    assert delays.clock_ahead_s is None
    delays.ping_sent(1, 10.0, loaded=False)
    delays.pong_received(1, 10.3, 1000.1)  # its clock is ahead by 990 s, and the way there took 0.1 s
    assert delays.clock_ahead_s == (pytest.approx(989.8), pytest.approx(990.1))
    delays.ping_sent(2, 11.0, loaded=False)
    delays.pong_received(2, 11.1, 1001.05)
    assert delays.clock_ahead_s == (pytest.approx(989.95), pytest.approx(990.05))
    delays.connected()
    assert delays.clock_ahead_s is None
