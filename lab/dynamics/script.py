"""Script of changes in order of time: its intervals, and what each change says.

Owns: the spans between changes, changes in words. Its rule: pure. Not here: the kinds of changes and their keys in TOML
(`lab/scenarios`), what follows from a change (`conditions.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.scenarios.scenario import (
    BatteryChange,
    Change,
    ContentionChange,
    DelayChange,
    GoalsChange,
    LinkCut,
    LinkRestored,
    NodeDies,
    NodeHangs,
    NodeReturns,
    QuotaChange,
    RateChange,
    SpeedChange,
)

__all__ = ["Interval", "Script", "intervals", "said", "script_of"]


@dataclass(frozen=True)
class Script:
    """Changes in order of time.

    Attributes:
        lasts_s: From the begin to the end, when everything is as before. [s]
    """

    changes: tuple[Change, ...]
    lasts_s: float


@dataclass(frozen=True)
class Interval:
    """A span in which nothing is changed.

    Attributes:
        changes: Those it begins with; none of the first one, unless the script begins with some.
    """

    from_s: float
    to_s: float
    changes: tuple[Change, ...]


def script_of(changes: Iterable[Change], lasts_s: float) -> Script:
    """Changes in order.

    Raises:
        ValueError: One comes after the end, and nobody would see what becomes of it.
    """
    ordered = tuple(sorted(changes, key=lambda change: change.at_s))
    for change in ordered:
        if change.at_s >= lasts_s:
            raise ValueError(f"a change at {change.at_s:g} s is not before the script's end ({lasts_s:g} s)")
    return Script(ordered, lasts_s)


def intervals(script: Script) -> tuple[Interval, ...]:
    """The spans between changes; changes of one moment begin one span together."""
    grouped = [(at_s, tuple(group)) for at_s, group in itertools.groupby(script.changes, lambda change: change.at_s)]
    if not grouped or grouped[0][0] > 0:
        grouped.insert(0, (0.0, ()))
    ends_s = [at_s for at_s, _ in grouped[1:]] + [script.lasts_s]
    return tuple(Interval(at_s, to_s, changes) for (at_s, changes), to_s in zip(grouped, ends_s, strict=True))


def said(change: Change) -> str:
    """A change in words."""
    match change:
        case RateChange() | DelayChange() | LinkCut() | LinkRestored():
            return _said_of_link(change)
        case GoalsChange():
            bound = "" if change.max_noise is None else f", max noise {change.max_noise:g}"
            return f"weights {change.weights[0]:g} for latency, {change.weights[1]:g} for energy{bound}"
        case _:
            return f"{change.node} {_said_of_node(change)}"


def _said_of_link(change: RateChange | DelayChange | LinkCut | LinkRestored) -> str:
    first, second = change.ends
    match change:
        case RateChange():
            return f"{first} {'and' if change.both else 'to'} {second}: {change.bytes_per_s / 1e6:g} MB/s"
        case DelayChange():
            return f"{first} and {second}: {change.delay_s * 1e3:g} ms"
        case LinkCut() | LinkRestored():
            return f"{first} and {second}: {'cut' if isinstance(change, LinkCut) else 'connected again'}"


def _said_of_node(
    change: NodeDies | NodeHangs | NodeReturns | QuotaChange | ContentionChange | SpeedChange | BatteryChange,
) -> str:
    match change:
        case QuotaChange():
            return f"has {change.cores:g} of a core"
        case ContentionChange():
            return f"shares its core with {change.processes or 'nobody'}"
        case SpeedChange():
            return f"computes {change.slow_down:g} times slower than this machine"
        case BatteryChange():
            return f"has {change.fraction:.0%} of {change.holds_wh:g} Wh left, floor {change.floor:.0%}"
        case NodeDies() | NodeHangs() | NodeReturns():
            return _FATES[type(change)]


_FATES: Mapping[type[NodeDies | NodeHangs | NodeReturns], str] = {
    NodeDies: "dies",
    NodeHangs: "hangs",
    NodeReturns: "is back",
}
