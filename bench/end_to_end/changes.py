"""How soon a halved link and a halved share of the processor are noticed and answered.

Owns: the changes and the seconds until their events. Its rule: each starts from a state that has settled. Not here: what
plans predict (`course.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.end_to_end.course import POLL_S, SETTLE_S, SOURCE, Course
from bench.testbed.testbed import Testbed

__all__ = ["Noticed", "changes"]

NOTICED_LIMIT_S = 20.0
FAR = "cloud"
RECOVERED_LIMIT_S = 60.0
"""Where the plan moved away from a node, its recovery shows only once it is timed again. [s]"""


@dataclass(frozen=True)
class Noticed:
    """A change and when it was noticed and answered; None: not within the limit. [s]"""

    change: str
    noticed_s: float | None
    replanned_s: float | None
    text: str


def changes(course: Course, testbed: Testbed) -> list[Noticed]:
    """Halve rates and shares of the processor, each time from a state that has settled."""
    course.set_goals(1.0, 0.0, 0.0)
    found: list[Noticed] = []
    # A link that no plan uses is no news when it gets worse.
    with course.only_on(FAR):
        for traffic in (True, False):
            how = "under traffic" if traffic else "idle"
            with course.traffic(enabled=traffic):
                for peer in ("edge", "cloud"):
                    testbed.set_rate(SOURCE, peer, testbed.shape(SOURCE, peer).rate_bytes_per_s / 2)
                found.append(_watch(course, f"the device's links halved, {how}", "link-changed", SOURCE))
            with course.traffic(enabled=True):
                course.set_rates(1.0)
    for machine in testbed.layout.machines:
        if machine.share.cores is not None and machine.slow_down == 1.0:
            # Served requests show the speed of the nodes that compute.
            with course.only_on(machine.name):
                found += _halve_quota(course, testbed, machine.name, machine.share.cores)
    return found


def _halve_quota(course: Course, testbed: Testbed, name: str, cores: float) -> list[Noticed]:
    """Halve a quota and give it back, each time until that is noticed."""
    with course.traffic(enabled=True):
        testbed.set_quota(name, cores / 2)
        try:
            halved = _watch(course, f"the quota of {name} halved, under traffic", "profile-changed", name)
            time.sleep(SETTLE_S)
        finally:
            testbed.set_quota(name, cores)
        change = f"the quota of {name} as before, under traffic"
        return [halved, _watch(course, change, "profile-changed", name, RECOVERED_LIMIT_S)]


def _watch(course: Course, change: str, kind: str, node: str, limit_s: float = NOTICED_LIMIT_S) -> Noticed:
    """Wait for an event of this kind that names the node, then for the decision that follows it."""
    begin, begin_unix_s = time.monotonic(), time.time()
    noticed_s, replanned_s, text = None, None, ""
    while replanned_s is None and time.monotonic() - begin < limit_s:
        for event in course.events():
            after_s = event["at_unix_s"] - begin_unix_s
            if after_s < 0:
                continue
            if noticed_s is None and event["kind"] == kind and node in (event["node"] or event["text"]):
                noticed_s, text = after_s, event["text"]
            decided = event["kind"] in {"planned", "replan-declined"} and noticed_s is not None and after_s >= noticed_s
            if decided and replanned_s is None:
                replanned_s, text = after_s, f"{text}; {event['text']}"
        time.sleep(POLL_S)
    return Noticed(change, noticed_s, replanned_s, text)
