"""When to plan again, and whether the new plan is worth switching to.

Owns: the comparison of the fleet's figures with those the last decision stood on, and the hysteresis. Its rule: pure;
every decision comes with the sentence and the figures behind it. Not here: solving, waiting, events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesplit.formatting import speed, time_span, watts
from edgesplit.planning.plan import Assignment, Evaluation, Ranges
from edgesplit.planning.problem import Problem
from edgesplit.significance import EQUAL_GAIN, differs
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.changes.link_impact import LinkFigures, LinkImpact, Pair, notable

__all__ = ["Decision", "Figures", "Reason", "decide", "figures_of", "link_reasons", "reasons"]


@dataclass(frozen=True)
class NodeFigures:
    """What a plan assumes of a node.

    Attributes:
        times_s: Of every operator in float. [s]
        int8_times_s: Of every operator that has an int8 form on this node. [s]
    """

    compute_w: float
    transmit_w: float
    memory_bytes: float | None
    times_s: tuple[float, ...] = ()
    int8_times_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Figures:
    """What a plan assumes of the fleet.

    Attributes:
        links: (from, to) to bandwidth [B/s] and latency [s].
    """

    nodes: Mapping[str, NodeFigures] = field(default_factory=dict[str, NodeFigures])
    links: Mapping[tuple[str, str], tuple[float, float]] = field(
        default_factory=dict[tuple[str, str], tuple[float, float]]
    )


@dataclass(frozen=True)
class Reason:
    """Why to plan again.

    Attributes:
        kind: link-changed, link-lost, link-appeared, node-joined, node-left, profile-changed or power-changed.
        node: Where it happened; of a link, the sender.
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


@dataclass(frozen=True)
class Decision:
    """Whether to switch.

    Attributes:
        adopt: Switch to the new assignment.
        same: The new assignment is the old one.
        text: The verdict in one sentence.
        data: Old and new prediction, gain and switch cost, keys with units.
    """

    adopt: bool
    same: bool
    text: str
    data: Mapping[str, str | float | int | bool | None]


def figures_of(problem: Problem) -> Figures:
    """The fleet as a problem states it."""
    nodes: dict[str, NodeFigures] = {}
    for node in problem.nodes:
        times_s = tuple(operator.time_s[node.name] for operator in problem.operators)
        int8_times_s = tuple(
            operator.quantized_time_s[node.name] for operator in problem.operators if operator.quantized_time_s
        )
        nodes[node.name] = NodeFigures(
            node.compute_power_w, node.transmit_power_w, node.memory_bytes, times_s, int8_times_s
        )
    links = {(link.source, link.target): (link.bandwidth_bytes_per_s, link.latency_s) for link in problem.links}
    return Figures(nodes, links)


def reasons(
    before: Figures,
    now: Figures,
    thresholds: Thresholds,
    stakes: LinkImpact,
    scatter: Mapping[Pair, float] | None = None,
) -> tuple[Reason, ...]:
    """What differs enough to plan again, the gravest first.

    Args:
        before: What the last decision stood on.
        now: The present figures.
        thresholds: How much is enough.
        stakes: What the plan that serves has at stake on links.
        scatter: Of links' measurements, relative; 0 where it is not known. [1]
    """
    found = [Reason("node-left", f"node {name} left", name) for name in before.nodes.keys() - now.nodes.keys()]
    found += [Reason("node-joined", f"node {name} joined", name) for name in now.nodes.keys() - before.nodes.keys()]
    both = before.nodes.keys() & now.nodes.keys()
    found += [
        Reason("link-lost", f"link {start} -> {end} is down", start, end)
        for start, end in before.links.keys() - now.links.keys()
        if {start, end} <= both and (start, end) in stakes.sent
    ]
    found += [
        Reason("link-appeared", f"link {start} -> {end} is up", start, end, quiet=True)
        for start, end in now.links.keys() - before.links.keys()
        if {start, end} <= both
    ]
    found += link_reasons(before.links, now.links, thresholds, stakes, scatter or {})
    for name in sorted(both):
        found += _node_reasons(name, before.nodes[name], now.nodes[name], thresholds)
    order = {kind: rank for rank, kind in enumerate(("node-left", "link-lost"))}
    return tuple(sorted(found, key=lambda reason: (order.get(reason.kind, 9), -reason.share, reason.text)))


def link_reasons(
    before: Mapping[Pair, LinkFigures],
    now: Mapping[Pair, LinkFigures],
    thresholds: Thresholds,
    stakes: LinkImpact,
    scatter: Mapping[Pair, float],
) -> list[Reason]:
    """Links that changed beyond their own scatter, and by so much that it can matter."""
    found: list[Reason] = []
    for pair in sorted(before.keys() & now.keys()):
        old, new = before[pair], now[pair]
        differ = notable(old, new, thresholds.change, scatter.get(pair, 0.0), thresholds.latency_floor_s)
        if not any(differ):
            continue
        suffered = stakes.suffered(pair, old, new)
        share = suffered if suffered >= thresholds.stake else stakes.offered(pair, old, new)
        if share >= thresholds.stake:
            quiet = suffered < thresholds.stake
            text = _link_text(pair, old, new, differ)
            found.append(Reason("link-changed", text, *pair, quiet=quiet, share=share))
    return found


def decide(
    old: Evaluation | None,
    new: Evaluation,
    problem: Problem,
    ranges: Ranges,
    *,
    assignments: tuple[Assignment | None, Assignment],
    forced: str,
    thresholds: Thresholds,
) -> Decision:
    """Weigh the plan that serves against the one the planner found.

    Args:
        old: The serving assignment under the present figures; None where it cannot run any more.
        new: The planner's.
        problem: The present figures and goals.
        ranges: Of the planner's solution.
        assignments: Serving and new.
        forced: Why hysteresis does not apply ("goals were set"), or empty.
        thresholds: Hysteresis.
    """
    before, after = assignments
    data = _figures_data(old, new) | {"switch_cost_bytes": _switch_cost_bytes(problem, before, after)}
    if before is None or old is None:
        return Decision(True, False, forced or "the serving plan cannot run any more", data)
    if _equal(before, after):
        return Decision(False, True, "the serving plan is still the best", data)
    if old.violations:
        return Decision(True, False, f"the serving plan breaks a constraint: {old.violations[0]}", data)
    gain = 1.0 - _objective(new, problem, ranges) / max(_objective(old, problem, ranges), 1e-300)
    return _weighed(gain, forced, thresholds, data | {"gain": gain})


def _weighed(
    gain: float, forced: str, thresholds: Thresholds, data: Mapping[str, str | float | int | bool | None]
) -> Decision:
    """The verdict where both plans can run."""
    if gain <= EQUAL_GAIN:
        return Decision(False, False, "the serving plan is as good as the best", data)
    if forced:
        return Decision(True, False, forced, data)
    if gain < thresholds.gain:
        text = f"the best plan gains {gain:.1%}, less than the {thresholds.gain:.0%} that justify a switch"
        return Decision(False, False, text, data)
    return Decision(True, False, f"the new plan gains {gain:.1%}", data)


def _link_text(pair: Pair, before: LinkFigures, now: LinkFigures, differ: tuple[bool, bool]) -> str:
    changed = (
        f"from {speed(before[0])} to {speed(now[0])}" if differ[0] else "",
        f"from {time_span(before[1])} to {time_span(now[1])}" if differ[1] else "",
    )
    return f"link {pair[0]} -> {pair[1]} went {' and '.join(filter(None, changed))}"


def _node_reasons(name: str, before: NodeFigures, now: NodeFigures, thresholds: Thresholds) -> list[Reason]:
    found: list[Reason] = []
    if text := _speed_text(name, before, now, thresholds.change):
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


def _speed_text(name: str, before: NodeFigures, now: NodeFigures, change: float) -> str:
    """How a node's times changed, if they did by more than a share of the whole; else empty."""
    pairs = ((before.times_s, now.times_s), (before.int8_times_s, now.int8_times_s))
    if any(len(old) != len(new) for old, new in pairs):
        return f"node {name} has new execution times"
    if all(sum(abs(b - a) for a, b in zip(old, new, strict=True)) <= change * sum(old) for old, new in pairs):
        return ""
    old_s, new_s = sum(before.times_s), sum(now.times_s)
    if not differs(old_s, new_s, change):
        return f"node {name} has other execution times"
    return f"node {name} computes the model in {time_span(new_s)} instead of {time_span(old_s)}"


def _equal(before: Assignment, after: Assignment) -> bool:
    return (
        dict(before.node_of) == dict(after.node_of)
        and before.quantized == after.quantized
        and dict(before.codecs) == dict(after.codecs)
    )


def _objective(evaluation: Evaluation, problem: Problem, ranges: Ranges) -> float:
    """Weighted latency and energy, each as a multiple of its best value, so that a gain is a share of the whole."""
    objective = problem.objective
    total = objective.latency_weight + objective.energy_weight
    best_latency_s, best_energy_j = ranges.best_latency_s, ranges.best_energy_j
    value = objective.latency_weight / total * evaluation.latency_s / (best_latency_s or 1.0)
    return value + objective.energy_weight / total * evaluation.energy_j / (best_energy_j or 1.0)


def _figures_data(old: Evaluation | None, new: Evaluation) -> dict[str, str | float | int | bool | None]:
    data: dict[str, str | float | int | bool | None] = {
        "new_latency_s": new.timeline_s,
        "new_energy_j": new.energy_j,
        "new_noise": new.noise,
    }
    if old is not None:
        data |= {"old_latency_s": old.timeline_s, "old_energy_j": old.energy_j, "old_noise": old.noise}
    return data


def _switch_cost_bytes(problem: Problem, before: Assignment | None, after: Assignment) -> float:
    """Weights that nodes must fetch because they did not hold them in this form. [B]"""
    cost = 0.0
    for operator in problem.operators:
        quantized = operator.name in after.quantized
        if (
            before is not None
            and before.node_of.get(operator.name) == after.node_of[operator.name]
            and (operator.name in before.quantized) == quantized
        ):
            continue
        cost += operator.weight_bytes * (0.25 if quantized else 1.0)
    return cost
