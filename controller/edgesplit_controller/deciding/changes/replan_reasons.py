"""Reasons to plan again: what changed about the fleet since the last decision.

Owns: the comparison of the fleet's figures with those the last decision stood on. Its rule: pure; every reason comes with its
sentence. Not here: whether the new plan is worth a switch (`switch_decision.py`), solving, waiting, events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesplit.formatting import percent, speed, time_span, watts
from edgesplit.significance import differs
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.changes.fleet_figures import Figures, NodeFigures
from edgesplit_controller.deciding.changes.impact.compute_impact import ComputeImpact
from edgesplit_controller.deciding.changes.impact.link_impact import LinkFigures, LinkImpact, Pair, notable

__all__ = ["Reason", "link_reasons", "load_reasons", "reasons"]

LOAD_FLOOR = 0.01
"""Of the time of a node or link: what became free beside it is no chance. [1]"""


@dataclass(frozen=True)
class Reason:
    """Why to plan again.

    Attributes:
        kind: link-changed, link-lost, link-appeared, node-joined, node-left, profile-changed, power-changed, int8-available,
            codecs-available or load-fell.
        node: Where it happened; of a link, the sender, and with load-fell the link as `FROM:TO`.
        to: Of a link, the receiver.
        quiet: The plan that serves does not feel it; another one might be better now. Told only if it is.
        share: Of the plan that is at stake; 0 where that was not asked. [1]
    """

    kind: str
    text: str
    node: str = ""
    to: str = ""
    quiet: bool = False
    share: float = 0.0


def reasons(
    before: Figures,
    now: Figures,
    thresholds: Thresholds,
    impact: LinkImpact,
    scatter: Mapping[Pair, float] | None = None,
    *,
    compute: ComputeImpact | None = None,
    unrest: Mapping[str, float] | None = None,
) -> tuple[Reason, ...]:
    """What differs enough to plan again, the gravest first.

    Args:
        before: What the last decision stood on.
        now: The present figures.
        thresholds: How much is enough.
        impact: What the plan that serves has at stake on links.
        scatter: Of links' measurements, relative; 0 where it is not known. [1]
        compute: What it has at stake on nodes; without it every notable change of one counts.
        unrest: Of restless nodes, how much the time of the same work varies there: less is no change. [1]
    """
    found = [Reason("node-left", f"node {name} left", name) for name in before.nodes.keys() - now.nodes.keys()]
    found += [Reason("node-joined", f"node {name} joined", name) for name in now.nodes.keys() - before.nodes.keys()]
    both = before.nodes.keys() & now.nodes.keys()
    found += [
        Reason("link-lost", f"link {start} -> {end} is down", start, end)
        for start, end in before.links.keys() - now.links.keys()
        if {start, end} <= both and (start, end) in impact.sent
    ]
    found += [
        Reason("link-appeared", f"link {start} -> {end} is up", start, end, quiet=True)
        for start, end in now.links.keys() - before.links.keys()
        if {start, end} <= both
    ]
    if before.nodes and now.int8 and not before.int8:
        found.append(Reason("int8-available", "int8 is available now"))
    if before.nodes and now.codecs and not before.codecs:
        found.append(Reason("codecs-available", "wire codecs are available now"))
    found += load_reasons(before, now.loads, thresholds.change)
    found += link_reasons(before.links, now.links, thresholds, impact, scatter or {})
    for name in sorted(both):
        restless = (unrest or {}).get(name, 0.0)
        found += _node_reasons(name, before.nodes[name], now.nodes[name], thresholds, unrest=restless, compute=compute)
    order = {kind: rank for rank, kind in enumerate(("node-left", "link-lost"))}
    return tuple(sorted(found, key=lambda reason: (order.get(reason.kind, 9), -reason.share, reason.text)))


def load_reasons(before: Figures, now: Mapping[str, float], change: float) -> list[Reason]:
    """Nodes and links on which others were promised so much that it may have kept a better plan away, and are promised less now.

    A load that grew is no reason by itself: whether the plan that serves still sustains its rate, `rate_reason.py` says. So plans do not
    chase each other: whoever moves gains by itself, and takes nothing that is promised.
    """
    return [
        Reason("load-fell", f"of {subject} {percent(100 * (1 - load))} are free now", subject, quiet=True)
        for subject, load in sorted(now.items())
        if subject in before.bounding
        and load < before.loads[subject]
        and differs(1 - before.loads[subject], 1 - load, change, LOAD_FLOOR)
    ]


def link_reasons(
    before: Mapping[Pair, LinkFigures],
    now: Mapping[Pair, LinkFigures],
    thresholds: Thresholds,
    impact: LinkImpact,
    scatter: Mapping[Pair, float],
) -> list[Reason]:
    """Links that changed beyond their own scatter, and by so much that it can matter."""
    found: list[Reason] = []
    for pair in sorted(before.keys() & now.keys()):
        old, new = before[pair], now[pair]
        differ = notable(old, new, thresholds.change, scatter.get(pair, 0.0), thresholds.latency_floor_s)
        if not any(differ):
            continue
        on_plan = impact.on_plan(pair, old, new)
        share = on_plan if on_plan >= thresholds.relevant_share else impact.on_alternatives(pair, old, new)
        if share >= thresholds.relevant_share:
            quiet = on_plan < thresholds.relevant_share
            text = _link_text(pair, old, new, differ)
            found.append(Reason("link-changed", text, *pair, quiet=quiet, share=share))
    return found


def _link_text(pair: Pair, before: LinkFigures, now: LinkFigures, differ: tuple[bool, bool]) -> str:
    changed = (
        f"from {speed(before[0])} to {speed(now[0])}" if differ[0] else "",
        f"from {time_span(before[1])} to {time_span(now[1])}" if differ[1] else "",
    )
    return f"link {pair[0]} -> {pair[1]} went {' and '.join(filter(None, changed))}"


def _node_reasons(
    name: str,
    before: NodeFigures,
    now: NodeFigures,
    thresholds: Thresholds,
    *,
    unrest: float,
    compute: ComputeImpact | None,
) -> list[Reason]:
    found: list[Reason] = []
    comparable = len(before.times_s) == len(now.times_s) and len(before.int8_times_s) == len(now.int8_times_s)
    comparable = comparable and before.memory_bytes == now.memory_bytes
    if compute is not None and comparable and compute.share(name, before, now) < thresholds.relevant_share:
        return found  # whatever changed there, no plan could gain what justifies a switch
    if text := _speed_text(name, before, now, thresholds.change, unrest):
        found.append(Reason("profile-changed", text, name))
    if before.memory_bytes != now.memory_bytes:
        found.append(Reason("memory-changed", f"node {name} has another amount of memory to give", name))
    for quantity, old_w, new_w in (
        ("compute", before.compute_w, now.compute_w),
        ("transmit", before.transmit_w, now.transmit_w),
    ):
        if differs(old_w, new_w, thresholds.change):
            text = f"{quantity} of node {name} went from {watts(old_w)} to {watts(new_w)}"
            found.append(Reason("power-changed", text, name))
    return found


def _speed_text(name: str, before: NodeFigures, now: NodeFigures, change: float, unrest: float) -> str:
    """How a node's times changed, if they did by more than a share of the whole, and than a restless machine varies; else empty."""
    # By half as much again, or by a third less: the same to a machine that varies by half.
    change = max(change, unrest if sum(now.times_s) >= sum(before.times_s) else unrest / (1 + unrest))
    # Where int8 became available for the first time, that is a reason of its own.
    int8 = (before.int8_times_s, now.int8_times_s) if before.int8_times_s else ((), ())
    pairs = ((before.times_s, now.times_s), int8)
    if any(len(old) != len(new) for old, new in pairs):
        return f"node {name} has new execution times"
    if all(sum(abs(b - a) for a, b in zip(old, new, strict=True)) <= change * sum(old) for old, new in pairs):
        return ""
    old_s, new_s = sum(before.times_s), sum(now.times_s)
    if not differs(old_s, new_s, change):
        return f"node {name} has other execution times"
    return f"node {name} computes the model in {time_span(new_s)} instead of {time_span(old_s)}"
