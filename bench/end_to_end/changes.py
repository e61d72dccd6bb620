"""How soon changes of links and nodes are noticed and answered, and whether noise alone is left unanswered.

Owns: the changes, each there and back, and the seconds until their events. Its rule: each starts from a state that has settled,
and what is not noticed within its limit is a row that says so. Not here: what plans predict (`visits.py`).
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.end_to_end.course import SOURCE, Course
from bench.end_to_end.progress import say
from lab.testbed.link_rates import POLL_S, SETTLE_S, LinkRates
from lab.testbed.testbed import Testbed

__all__ = ["Noticed", "Unrest", "changes", "unrest"]

NOTICED_LIMIT_S = 60.0
FAR = "cloud"
LARGE_AIM_S, SMALL_AIM_S = 10.0, 60.0
SMALLER = 0.9
"""Of a quota: a node a tenth slower. [1]"""
SMALL_LIMIT_S = 120.0
LEARNED = 0.5
"""A prediction has noticed a change once it made this share of it. [1]"""
BASE_READINGS = 6
NOISE = 0.2
"""Standard deviation of a quota's logarithm, drawn anew each second for each node. [1]"""
NOISY_QUOTA = 0.6
"""Of a node that has no quota of its own, while noise lasts. [core]"""
REDRAWN_S = 1.0
UNREST_BEGINS_S = 20.0


@dataclass(frozen=True)
class Watched:
    """The event that a change should bring.

    Attributes:
        node: That it names.
        aim_s: Within which time; None: no aim. [s]
        slower: Which way the seconds it tells of should go, so that news the wrong way is no luck; None: either.
    """

    kind: str
    node: str
    aim_s: float | None
    slower: bool | None = None

    def is_it(self, event: Mapping[str, Any]) -> bool:
        """Whether an event is that one."""
        if event["kind"] != self.kind or self.node not in (event["node"] or event["text"]):
            return False
        before_s, now_s = (event.get("data", {}).get(key) for key in ("old_whole_s", "new_whole_s"))
        return self.slower is None or before_s is None or (now_s > before_s) == self.slower


IDLE_LINK = Watched("link-changed", SOURCE, None)
"""An idle link is looked at as often as its allowance of probes lets it."""


@dataclass(frozen=True)
class Noticed:
    """A change and when it was noticed and answered; None: not within the limit. [s]

    Attributes:
        aim_s: Within which both should be; None where nothing is aimed at. [s]
        decides: Whether an answer is expected: a new plan, or one declined.
    """

    change: str
    noticed_s: float | None
    decided_s: float | None
    text: str
    aim_s: float | None = LARGE_AIM_S
    decides: bool = True

    @property
    def missed(self) -> bool:
        """Whether it was aimed at and not reached."""
        wanted = (self.noticed_s, self.decided_s) if self.decides else (self.noticed_s,)
        return self.aim_s is not None and any(seconds is None or seconds > self.aim_s for seconds in wanted)


@dataclass(frozen=True)
class Unrest:
    """What happened while quotas did nothing but scatter.

    Attributes:
        minutes: How long. [min]
        planned: Plans that began to serve.
        declined: Plans that were weighed and declined.
        told: Other events about the model, links and profiles, by kind.
    """

    minutes: float
    planned: int
    declined: int
    told: dict[str, int]


def changes(course: Course, testbed: Testbed, rates: LinkRates) -> Iterator[Noticed]:
    """Halve rates and shares of the processor and give them back, each time from a state that has settled."""
    course.set_goals(1.0, 0.0, 0.0)
    yield from _links(course, testbed, rates)
    for machine in testbed.layout.machines:
        if machine.share.cores is not None and machine.slow_down == 1.0:
            # Served requests show the speed of the nodes that compute.
            with course.only_on(machine.name), course.traffic(enabled=True):
                yield from _quota_halved(course, testbed, machine.name, machine.share.cores)
                yield from _quota_smaller(course, testbed, machine.name, machine.share.cores)


def _links(course: Course, testbed: Testbed, rates: LinkRates) -> Iterator[Noticed]:
    # A link that no plan uses is no news when it gets worse.
    with course.only_on(FAR):
        for traffic in (True, False):
            how = "under traffic" if traffic else "idle"
            with course.traffic(enabled=traffic):
                for factor, change in ((0.5, "halved"), (2.0, "as before")):
                    for peer in ("edge", FAR):
                        testbed.set_rate(SOURCE, peer, testbed.shape(SOURCE, peer).rate_bytes_per_s * factor)
                    # An idle link is looked at as often as its allowance of probes lets it.
                    wanted = Watched("link-changed", SOURCE, LARGE_AIM_S) if traffic else IDLE_LINK
                    yield _watch(course, f"the device's links {change}, {how}", wanted)
                    time.sleep(SETTLE_S)
            with course.traffic(enabled=True):
                rates.scale(1.0)


def _quota_halved(course: Course, testbed: Testbed, name: str, cores: float) -> Iterator[Noticed]:
    """Halve a quota and give it back, each time until that is noticed."""
    try:
        testbed.set_quota(name, cores / 2)
        yield _watch(course, f"the quota of {name} halved", Watched("profile-changed", name, LARGE_AIM_S, slower=True))
        time.sleep(SETTLE_S)
    finally:
        testbed.set_quota(name, cores)
    yield _watch(course, f"the quota of {name} as before", Watched("profile-changed", name, LARGE_AIM_S, slower=False))
    time.sleep(SETTLE_S)


def _quota_smaller(course: Course, testbed: Testbed, name: str, cores: float) -> Iterator[Noticed]:
    """Take a tenth of a quota and give it back; no event tells of so little, predictions do."""
    time.sleep(UNREST_BEGINS_S)
    try:
        for now, change in ((cores * SMALLER, "a tenth smaller"), (cores, "as before that")):
            base_s = statistics.median([_compute_s(course, name) for _ in range(BASE_READINGS)])
            factor = 1 / SMALLER if now < cores else SMALLER
            testbed.set_quota(name, now)
            yield _learned(course, f"the quota of {name} {change}", name, base_s, factor)
            time.sleep(UNREST_BEGINS_S)
    finally:
        testbed.set_quota(name, cores)


def _learned(course: Course, change: str, node: str, base_s: float, factor: float) -> Noticed:
    """Wait until the prediction of a node's components made half of a change."""
    begin, noticed_s, now_s = time.monotonic(), None, base_s
    while noticed_s is None and time.monotonic() - begin < SMALL_LIMIT_S:
        now_s = _compute_s(course, node)
        if math.log(now_s / base_s) / math.log(factor) >= LEARNED:
            noticed_s = time.monotonic() - begin
        time.sleep(POLL_S / 2)
    text = f"compute predicted at {base_s * 1e3:.0f} ms, then {now_s * 1e3:.0f} ms"
    return _told(Noticed(change, noticed_s, None, text, SMALL_AIM_S, decides=False))


def _compute_s(course: Course, node: str) -> float:
    """What the plan predicts a node's components to take. [s]"""
    return sum(part["predicted_s"] or 0.0 for part in course.plan()["components"] if part["node"] == node)


def _watch(course: Course, change: str, wanted: Watched) -> Noticed:
    """Wait for an event of this kind that names the node, then for the decision that follows it."""
    begin, begin_unix_s = time.monotonic(), time.time()
    noticed_s, decided_s, text = None, None, ""
    while decided_s is None and time.monotonic() - begin < NOTICED_LIMIT_S:
        for event in course.events():
            after_s = event["at_unix_s"] - begin_unix_s
            if after_s < 0:
                continue
            if noticed_s is None and wanted.is_it(event):
                noticed_s, text = after_s, event["text"]
            decided = event["kind"] in {"planned", "replan-declined"} and noticed_s is not None and after_s >= noticed_s
            if decided and decided_s is None:
                decided_s, text = after_s, f"{text}; {event['text']}"
        time.sleep(POLL_S)
    return _told(Noticed(change, noticed_s, decided_s, text, wanted.aim_s))


def _told(noticed: Noticed) -> Noticed:
    say(f"{noticed.change}: noticed after {_seconds(noticed.noticed_s)}, decided after {_seconds(noticed.decided_s)}")
    return noticed


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} s"


def unrest(course: Course, testbed: Testbed, minutes: float, seed: int) -> Unrest:
    """Let every node's share of the processor scatter under traffic; what the controller made of it.

    The model's pins are lifted, so that a plan could change if the controller wanted it to.
    """
    shares = {machine.name: machine.share.cores or NOISY_QUOTA for machine in testbed.layout.machines}
    drawn = random.Random(seed)
    try:
        with course.traffic(enabled=True):
            for name, cores in shares.items():
                testbed.set_quota(name, cores)
            time.sleep(UNREST_BEGINS_S * 2)
            began_unix_s, ends = time.time(), time.monotonic() + minutes * 60
            while time.monotonic() < ends:
                for name, cores in shares.items():
                    testbed.set_quota(name, min(max(cores * math.exp(drawn.gauss(0.0, NOISE)), 0.1), 1.0))
                time.sleep(REDRAWN_S)
            happened = [event for event in course.events() if event["at_unix_s"] >= began_unix_s]
    finally:
        for machine in testbed.layout.machines:
            testbed.set_quota(machine.name, machine.share.cores)
    return _unrest(minutes, happened)


def _unrest(minutes: float, happened: list[dict[str, Any]]) -> Unrest:
    kinds = [event["kind"] for event in happened]
    told = {kind: kinds.count(kind) for kind in sorted({*kinds} - {"planned", "replan-declined"})}
    found = Unrest(minutes, kinds.count("planned"), kinds.count("replan-declined"), told)
    say(f"{NOISE:.0%} noise for {minutes:g} min: {found.planned} new plans, {found.declined} declined, {told}")
    return found
