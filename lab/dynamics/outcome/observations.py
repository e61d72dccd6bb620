"""What was observed of one strategy's play: requests, events, energy counters, with the lines they come from.

Owns: reading the lines of caller and listener into values on the script's clock. Its rule: pure; a line that was cut
off at the end is left out, any other that cannot be read is an error. Not here: what they mean (`reaction.py`,
`energy.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from lab.dynamics.outcome.plan_costs import NotedPlan
from lab.play_results import EnergySample, PlanCost, TracedRequest

__all__ = ["Counted", "Heard", "PlayedRun", "heard_and_counted", "traced"]


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """An event of controller or agents.

    Attributes:
        at_s: When it was heard, from the script's begin. [s]
    """

    at_s: float
    kind: str
    text: str
    node: str = ""
    data: Mapping[str, str | float | int | bool | None] = {}


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What one node said of one epoch.

    Attributes:
        at_s: When, from the script's begin. [s]
        since_unix_s: When this counter began. [s]
        joules: Spent since. [J]
    """

    at_s: float
    node: str
    epoch: int
    since_unix_s: float
    joules: float


class PlayedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy's play, as it was observed.

    Attributes:
        began_unix_s: When the script began. [s]
        lasts_s: How long it was played. [s]
        requests: Sent from then on, in the order of sending.
        failures: Why requests failed, each sentence once.
        events: Heard from then on.
        energy: By steps of time.
        gaps_s: Of `pause-resume`: from the end of serving to its going on, each. [s]
        oracle_moves: For each interval, whether the oracle's plan is another than before.
        plans: That served.
        plan_costs: What they would take in each interval.
    """

    strategy: str
    model: str
    began_unix_s: float
    lasts_s: float
    requests: tuple[TracedRequest, ...]
    failures: tuple[str, ...] = ()
    events: tuple[Heard, ...] = ()
    energy: tuple[EnergySample, ...] = ()
    gaps_s: tuple[float, ...] = ()
    oracle_moves: tuple[bool, ...] = ()
    plans: tuple[NotedPlan, ...] = ()
    plan_costs: tuple[PlanCost, ...] = ()


class _CallerLine(msgspec.Struct):
    at_unix_s: float
    latency_s: float | None
    epoch: int | None
    failure: str


class _EventPart(msgspec.Struct):
    kind: str
    text: str
    node: str = ""
    model: str = ""
    data: dict[str, str | float | int | bool | None] = {}


class _UsagePart(msgspec.Struct):
    node: str
    model: str
    epoch: int
    energy_j: float
    counted_since_unix_s: float = 0.0


class _ListenerLine(msgspec.Struct):
    at_unix_s: float
    event: _EventPart | None = None
    usage: _UsagePart | None = None


def traced(lines: Iterable[str], began_unix_s: float) -> tuple[list[TracedRequest], list[str]]:
    """The requests that were sent since the begin, by when they were sent, and why some failed."""
    entries = [msgspec.json.decode(line, type=_CallerLine) for line in lines if line.endswith("\n")]
    entries = sorted((entry for entry in entries if entry.at_unix_s >= began_unix_s), key=lambda entry: entry.at_unix_s)
    requests = [
        TracedRequest(
            at_s=entry.at_unix_s - began_unix_s,
            latency_s=entry.latency_s,
            failed=bool(entry.failure),
            epoch=entry.epoch,
        )
        for entry in entries
    ]
    return requests, list(dict.fromkeys(entry.failure for entry in entries if entry.failure))


def heard_and_counted(lines: Iterable[str], model: str, began_unix_s: float) -> tuple[list[Heard], list[Counted]]:
    """Events about a model, a node or a link since the begin, and counters of that model, earlier ones included."""
    events, counters = [], []
    for line in lines:
        if not line.endswith("\n"):
            continue
        entry = msgspec.json.decode(line, type=_ListenerLine)
        at_s = entry.at_unix_s - began_unix_s
        if entry.event is not None and at_s >= 0 and entry.event.model in {"", model}:
            found = entry.event
            events.append(Heard(at_s=at_s, kind=found.kind, text=found.text, node=found.node, data=found.data))
        elif entry.usage is not None and entry.usage.model == model:
            usage = entry.usage
            counters.append(
                Counted(
                    at_s=at_s,
                    node=usage.node,
                    epoch=usage.epoch,
                    since_unix_s=usage.counted_since_unix_s,
                    joules=usage.energy_j,
                )
            )
    return events, counters
