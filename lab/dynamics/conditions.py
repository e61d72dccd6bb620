"""Conditions of a testbed at a moment of the script: links, nodes, processors, battery, goals.

Owns: what a change makes of them, and what must be set so that conditions become others. Its rule: pure; going back to
how it was is the same as going on, so that undoing needs no list of its own. Not here: setting anything (`hands.py`),
planning in conditions (`true_problem.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from lab.dynamics.script import Script, intervals
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
from lab.testbed.shaping import Shape

__all__ = [
    "Charge",
    "Conditions",
    "Deeds",
    "NodeCondition",
    "Wanted",
    "at_each_interval",
    "deeds",
    "slowness",
    "wanted_at_each_interval",
]


@dataclass(frozen=True)
class Charge:
    """A battery that discharges: what is left as a share of what it holds [1], and that. [Wh]"""

    left: float
    holds_wh: float


@dataclass(frozen=True)
class NodeCondition:
    """A node at a moment.

    Attributes:
        cores: Quota; None: not limited. [core]
        competitors: Processes that compute without end beside its agent.
        slow_down: Factor by which its agent stretches compute. [1]
        charge: Of its battery; None: it has none.
    """

    state: Literal["running", "killed", "hung"] = "running"
    cores: float | None = None
    competitors: int = 0
    slow_down: float = 1.0
    charge: Charge | None = None


@dataclass(frozen=True)
class Wanted:
    """Goals of the operator.

    Attributes:
        latency: Weight of latency. [1]
        energy: Weight of energy. [1]
        max_noise: Bound on the output's noise; None: no bound. [1]
        min_battery: Floor of the source's battery; None: no floor. [1]
    """

    latency: float = 1.0
    energy: float = 0.0
    max_noise: float | None = 0.0
    min_battery: float | None = None

    def after(self, change: Change) -> Wanted:
        """What a change makes of them: goals are asked for, and a battery comes with its floor."""
        match change:
            case GoalsChange():
                bound = self.max_noise if change.max_noise is None else change.max_noise
                return replace(self, latency=change.weights[0], energy=change.weights[1], max_noise=bound)
            case BatteryChange():
                return replace(self, min_battery=change.floor)
            case _:
                return self


@dataclass(frozen=True)
class Conditions:
    """Links by direction, nodes by name, goals."""

    links: Mapping[tuple[str, str], Shape]
    nodes: Mapping[str, NodeCondition]
    wanted: Wanted = field(default_factory=Wanted)

    def after(self, change: Change) -> Conditions:
        """What a change makes of them."""
        wanted = self.wanted.after(change)
        match change:
            case RateChange() | DelayChange() | LinkCut() | LinkRestored():
                return replace(self, links={**self.links, **_reshaped(self.links, change)})
            case GoalsChange():
                return replace(self, wanted=wanted)
            case _:
                nodes = {**self.nodes, change.node: _node_after(self.nodes[change.node], change)}
                return replace(self, nodes=nodes, wanted=wanted)

    @property
    def gone(self) -> frozenset[str]:
        """Nodes that cannot compute."""
        return frozenset(name for name, node in self.nodes.items() if node.state != "running")


@dataclass(frozen=True)
class Deeds:
    """What is to be set, and to what: links by direction, nodes by name, goals unless they stay."""

    links: Mapping[tuple[str, str], Shape]
    nodes: Mapping[str, NodeCondition]
    wanted: Wanted | None


def at_each_interval(base: Conditions, script: Script) -> tuple[Conditions, ...]:
    """The conditions of each interval of a script."""
    found: list[Conditions] = []
    now = base
    for interval in intervals(script):
        for change in interval.changes:
            now = now.after(change)
        found.append(now)
    return tuple(found)


def wanted_at_each_interval(wanted: Wanted, script: Script) -> tuple[Wanted, ...]:
    """The goals of each interval of a script."""
    found: list[Wanted] = []
    for interval in intervals(script):
        for change in interval.changes:
            wanted = wanted.after(change)
        found.append(wanted)
    return tuple(found)


def deeds(before: Conditions, after: Conditions) -> Deeds:
    """What must be set so that conditions become others."""
    return Deeds(
        links={pair: shape for pair, shape in after.links.items() if before.links[pair] != shape},
        nodes={name: node for name, node in after.nodes.items() if before.nodes[name] != node},
        wanted=after.wanted if before.wanted != after.wanted else None,
    )


def slowness(node: NodeCondition) -> float:
    """By which factor a node computes slower than its core alone would. [1]

    A node that shares its core with n others, or has a part of it, takes so much longer; of an agent that stretches its compute
    the stretch hides that much of it (`compute/session_pool.py`), as on a slow machine of its own.
    """
    stretched = (1 + node.competitors) / min(node.cores or 1.0, 1.0)
    return max(node.slow_down, stretched)


def _reshaped(
    links: Mapping[tuple[str, str], Shape], change: RateChange | DelayChange | LinkCut | LinkRestored
) -> dict[tuple[str, str], Shape]:
    there, back = change.ends, (change.ends[1], change.ends[0])
    match change:
        case RateChange():
            pairs = (there, back) if change.both else (there,)
            return {pair: links[pair].changed(rate_bytes_per_s=change.bytes_per_s) for pair in pairs}
        case DelayChange():
            return {pair: links[pair].changed(delay_s=change.delay_s) for pair in (there, back)}
        case LinkCut() | LinkRestored():
            up = isinstance(change, LinkRestored)
            return {pair: links[pair].changed(up=up) for pair in (there, back)}


def _node_after(
    node: NodeCondition,
    change: NodeDies | NodeHangs | NodeReturns | QuotaChange | ContentionChange | SpeedChange | BatteryChange,
) -> NodeCondition:
    match change:
        case NodeDies() | NodeHangs() | NodeReturns():
            return replace(node, state=_STATES[type(change)])
        case QuotaChange():
            return replace(node, cores=change.cores)
        case ContentionChange():
            return replace(node, competitors=change.processes)
        case SpeedChange():
            return replace(node, slow_down=change.slow_down)
        case BatteryChange():
            return replace(node, charge=Charge(change.fraction, change.holds_wh))


_STATES: Mapping[type[NodeDies | NodeHangs | NodeReturns], Literal["running", "killed", "hung"]] = {
    NodeDies: "killed",
    NodeHangs: "hung",
    NodeReturns: "running",
}
