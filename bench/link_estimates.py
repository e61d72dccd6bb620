"""Estimation error and detection delay of the link estimator, on simulated links that step, drift and scatter.

Owns: the cases and their table. Its rule: virtual time and seeded noise, so that a run says the same every time; only what
the estimator's owner calls is used, so that an older checkout can be asked the same (`PYTHONPATH`). Not here: real links
(`lab.testbed`).

    python -m bench.link_estimates
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edgesplit_agent.dataplane.measurement.link_estimator import LinkEstimator

__all__ = ["CASES", "Case", "Outcome", "run_case"]

RATE = 5e6
LATENCY_S = 0.02
WARM_UP_S, CASE_S = 120.0, 600.0
FRAME_BYTES = 300_000
BELIEVED = 0.05
"""A change is believed when what is told is this near the new rate, relative. [1]"""
FALSE = 0.05
"""What is told must stay this near a rate that only scatters."""
BURST_EVERY_S, BURST_S, BURST = 60.0, 3.0, 0.7


@dataclass(frozen=True)
class Case:
    """One way a link behaves.

    Attributes:
        name: For people.
        rate: Of the link, in units of what it was at first, over the seconds since the warm-up. [1]
        scatter: Standard deviation of a measurement's logarithm, likewise. [1]
        busy_s: Pause between frames; 0 for a link that only probes measure. [s]
        until: What the rate becomes at 0 s, where that is to be believed. [1]
    """

    name: str
    rate: Callable[[float], float]
    scatter: Callable[[float], float]
    busy_s: float = 0.0
    until: float | None = None


@dataclass(frozen=True)
class Outcome:
    """Attributes: seconds until it was believed (infinite: never) [s], mean and worst relative error, moves beyond 25 % [1]."""

    believed_s: float
    mean: float
    worst: float
    alarms: int
    probe_bytes: int


def _steady(_: float) -> float:
    return 1.0


def _bursts(since_s: float) -> float:
    return BURST if since_s > 0 and since_s % BURST_EVERY_S < BURST_S else 1.0


def _slow_drift(since_s: float) -> float:
    return 1.0 if since_s < 0 else math.exp(-0.2 * since_s / CASE_S)


def _scatter(scatter: float, since_s: float) -> float:
    return scatter or (0.03 if since_s < 0 else 0.2)


def _step(share: float) -> Callable[[float], float]:
    return lambda since_s: 1.0 if since_s < 0 else share


CASES = tuple(
    Case(f"{name}, {'frames twice a second' if busy_s else 'idle'}", rate, partial(_scatter, scatter), busy_s, until)
    for busy_s in (0.0, 0.5)
    for name, rate, scatter, until in (
        ("halved, scatter 3 %", _step(0.5), 0.03, 0.5),
        ("doubled, scatter 3 %", _step(2.0), 0.03, 2.0),
        ("10 % less, scatter 2 %", _step(0.9), 0.02, 0.9),
        ("10 % less, scatter 4 %", _step(0.9), 0.04, 0.9),
        ("10 % more, scatter 4 %", _step(1.1), 0.04, 1.1),
        ("drift of 20 % in ten minutes, 3 %", _slow_drift, 0.03, None),
        ("30 % less for 3 s a minute, 3 %", _bursts, 0.03, None),
        ("steady, scatter 5 %", _steady, 0.05, None),
        ("steady, scatter 20 %", _steady, 0.20, None),
        ("steady, scatter 3 %, then 20 %", _steady, 0.0, None),
    )
)


class _Link:
    """A link in virtual time, with its estimator."""

    def __init__(self, case: Case, seed: int) -> None:
        self.case, self.random = case, random.Random(seed)
        self.estimator = LinkEstimator()
        self.now, self.sequence, self.pinged_s, self.probed = 0.0, 0, -math.inf, 0

    def ping(self) -> None:
        self.sequence += 1
        self.estimator.ping_sent(self.sequence, self.now)
        self.estimator.pong_received(self.sequence, self.now + 2 * LATENCY_S)
        self.pinged_s = self.now

    def send(self, nbytes: int) -> None:
        since_s = self.now - WARM_UP_S
        rate = RATE * self.case.rate(since_s) * math.exp(self.random.gauss(0, self.case.scatter(since_s)))
        self.sequence += 1
        self.estimator.data_sent(self.sequence, nbytes, self.now)
        self.now += nbytes / rate + 2 * LATENCY_S
        self.estimator.data_acknowledged(self.sequence, self.now)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            if self.now - self.pinged_s >= 1.0:
                self.ping()
            if (nbytes := self.estimator.probe_due(self.now)) is not None:
                self.estimator.probe_sent(nbytes, self.now)
                self.probed += nbytes
                self.send(nbytes)
            else:
                self.now += 0.05

    @property
    def told(self) -> float:
        estimate = self.estimator.estimate()
        return estimate.bandwidth_bytes_per_s / RATE if estimate is not None else 1.0


def run_case(case: Case, seed: int) -> Outcome:
    """Let a link behave so for ten minutes."""
    link = _Link(case, seed)
    while link.now < WARM_UP_S:
        link.pass_time(case.busy_s or 0.5)
        if case.busy_s:
            link.send(FRAME_BYTES)
    believed_s, errors, alarms, before = math.inf, list[float](), 0, link.told
    if case.until is None:
        believed_s = 0.0
    while link.now < WARM_UP_S + CASE_S:
        link.pass_time(case.busy_s or 0.5)
        if case.busy_s:
            link.send(FRAME_BYTES)
        since_s = link.now - WARM_UP_S
        if believed_s == math.inf and case.until is not None and abs(link.told / case.until - 1) <= BELIEVED:
            believed_s = since_s
        truth = 1.0 if case.rate is _bursts else case.rate(since_s)
        if believed_s < math.inf:
            errors.append(abs(link.told / truth - 1))
        alarms += abs(math.log(link.told / before)) > FALSE and case.until is None
        before = link.told
    return Outcome(
        believed_s, statistics.fmean(errors or [math.inf]), max(errors, default=math.inf), alarms, link.probed
    )


def _acknowledgement_s(frames: int = 40_000) -> float:
    """What a frame costs the estimator: told that it was sent, and that it arrived. [s]"""
    link = _Link(CASES[0], 1)
    link.pass_time(30.0)
    estimator, rng = link.estimator, random.Random(1)
    ends = [0.1 * (1 + rng.gauss(0, 0.03)) for _ in range(frames)]
    now, begin = link.now, time.perf_counter()
    for sequence, lasts_s in enumerate(ends, start=1_000_000):
        estimator.data_sent(sequence, FRAME_BYTES, now)
        now += lasts_s
        estimator.data_acknowledged(sequence, now)
    return (time.perf_counter() - begin) / frames


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="runs of each case (20)")
    seeds = parser.parse_args().seeds
    print(f"{'case':60} {'believed after, median':>22} {'worst':>8} {'mean error':>11} {'worst':>8} {'jumps':>6}")
    for case in CASES:
        outcomes = [run_case(case, seed) for seed in range(seeds)]
        believed = [outcome.believed_s for outcome in outcomes]
        text = ("–", "–") if case.until is None else (f"{statistics.median(believed):.1f} s", f"{max(believed):.1f} s")
        mean = statistics.fmean(outcome.mean for outcome in outcomes)
        worst = statistics.median(outcome.worst for outcome in outcomes)
        alarms = sum(outcome.alarms for outcome in outcomes)
        print(f"{case.name:60} {text[0]:>22} {text[1]:>8} {100 * mean:>9.1f} % {100 * worst:>6.1f} % {alarms:>6}")
    print(f"an acknowledged frame: {1e6 * min(_acknowledgement_s() for _ in range(5)):.2f} µs")


if __name__ == "__main__":
    main()
