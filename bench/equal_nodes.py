"""Planning problems of nodes that are known in truth and measured with noise.

Owns: their making, from a seed: what every unit really takes on every node, and execution profiles that err by a known spread. Its
rule: the same arguments give the same; what a node takes as a whole is measured right, as agents do. Not here: planning.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.planning.problem import Link, Node, Objective, Operator, Problem, Tensor

__all__ = ["MeasuredNodes", "equal_nodes", "measured_again", "problem_with"]


@dataclass(frozen=True)
class MeasuredNodes:
    """What is true, and what was measured of it.

    Attributes:
        truth: The problem with the times that units really take.
        profiles: By node, with errors and their spreads.
        spread: Relative standard deviation of a unit's measured time. [1]
    """

    truth: Problem
    profiles: Mapping[str, ExecutionProfile]
    spread: float

    @property
    def as_measured(self) -> Problem:
        """The problem that follows from the profiles as they are."""
        return problem_with(self.truth, self.profiles)


def equal_nodes(
    units: int = 200,
    *,
    spread: float = 0.1,
    seed: int = 0,
    slower: Mapping[str, float] | None = None,
    deviation: float = 0.0,
    link_bytes_per_s: float = 1e9,
) -> MeasuredNodes:
    """A network of blocks with shortcuts over three nodes, joined by fast links.

    Args:
        units: Of the model, beside input and output.
        spread: Relative standard deviation of a unit's measured time. [1]
        seed: Of everything random.
        slower: By node, how much slower it is than the others; all equal without it. [1]
        deviation: Of nodes that are slower: how much their units really deviate from that factor. [1]
        link_bytes_per_s: Of every link. [B/s]
    """
    chosen = random.Random(seed)
    factors = {name: (slower or {}).get(name, 1.0) for name in ("device", "edge", "cloud")}
    last = units + 1
    consumers: dict[int, set[int]] = {index: {index + 1} for index in range(last)}
    for index in range(1, units - 3):
        if chosen.random() < 0.3:
            consumers[index].add(index + chosen.choice([2, 3]))
    operators: list[Operator] = []
    for index in range(units + 2):
        work_s = chosen.lognormvariate(-7.0, 1.0) if 0 < index < last else 0.0
        really = {
            name: work_s * factor * (chosen.lognormvariate(0.0, deviation) if factor != 1.0 else 1.0)
            for name, factor in factors.items()
        }
        role: Literal["input", "output"] | None = "input" if index == 0 else "output" if index == last else None
        operators.append(Operator(name=f"u{index}", time_s=really, weight_bytes=1e4, role=role))
    tensors = [
        Tensor(
            name=f"t{index}",
            bytes=chosen.uniform(0.2, 2.0) * 1e5,
            producer=f"u{index}",
            consumers=tuple(f"u{other}" for other in sorted(others)),
        )
        for index, others in consumers.items()
    ]
    truth = Problem(
        model="equal-nodes",
        source="device",
        nodes=tuple(Node(name=name, compute_power_w=5.0, transmit_power_w=2.0) for name in factors),
        links=tuple(
            Link(source=start, target=end, bandwidth_bytes_per_s=link_bytes_per_s, latency_s=5e-5)
            for start in factors
            for end in factors
            if start != end
        ),
        operators=tuple(operators),
        tensors=tuple(tensors),
        objective=Objective(latency_weight=1.0, energy_weight=0.0),
    )
    return measured_again(MeasuredNodes(truth, {}, spread), seed)


def measured_again(nodes: MeasuredNodes, seed: int) -> MeasuredNodes:
    """The same nodes with other errors."""
    chosen = random.Random(f"errors of {seed}")
    profiles: dict[str, ExecutionProfile] = {}
    for node in nodes.truth.nodes:
        really = {unit.name: unit.time_s[node.name] for unit in nodes.truth.operators if unit.time_s[node.name] > 0}
        seen = {unit: seconds * chosen.lognormvariate(0.0, nodes.spread) for unit, seconds in really.items()}
        whole_s, seen_s = sum(really.values()), sum(seen.values())
        profiles[node.name] = ExecutionProfile(
            time_s={unit: seconds * whole_s / seen_s for unit, seconds in seen.items()},
            quantized_time_s={},
            whole_s=whole_s,
            runs=20,
            provider="CPUExecutionProvider",
            threads=1,
            runtime="made up",
            moments=5,
            unit_spreads=dict.fromkeys(seen, nodes.spread),
        )
    return replace(nodes, profiles=profiles)


def problem_with(truth: Problem, profiles: Mapping[str, ExecutionProfile]) -> Problem:
    """The problem with the times that profiles say."""
    operators = tuple(
        msgspec.structs.replace(
            unit, time_s={name: profile.time_s.get(unit.name, 0.0) for name, profile in profiles.items()}
        )
        for unit in truth.operators
    )
    return msgspec.structs.replace(truth, operators=operators)
