"""What an assignment costs, in rational numbers: the brute force's own reading of the problem file.

Owns: exact sums and the meaning of a limit. Its rule: it shares no code with the planner. Not here: timelines
(`brute_force.makespan`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from tests.planner.curves import noise_at, steepest

__all__ = ["ROUNDING", "ExactSums", "Sums", "exact_sums", "keeps_all", "keeps_limits", "rounded_sums"]

Number = TypeVar("Number", Fraction, float)

ROUNDING = Fraction(1, 2**48)
"""A limit on energy or noise is broken when the exact sum exceeds it by more than this share of what was added up."""


LEAST_SHARE = 1e-9
"""Of its time: what others leave of a node or link counts as no less."""

NEAR = 1e-9
"""Share of what was added up by which a floating-point sum must be off a limit to tell."""


@dataclass(frozen=True)
class Sums(Generic[Number]):
    """What was added up."""

    latency_s: Number
    energy_j: Number
    device_energy_j: Number
    noise: Number
    noise_magnitude: Number
    memory_bytes: Mapping[str, Number]
    periods_s: Mapping[str, Number]
    """Node, or link as `FROM:TO`, to what a request keeps it busy, over the share of its time that others leave."""

    @property
    def period_s(self) -> Number:
        """Of the busiest."""
        return max(self.periods_s.values())


ExactSums = Sums[Fraction]


def exact_sums(problem: Problem, assignment: Assignment) -> ExactSums:
    """Add everything up without rounding; every transfer must have a link and every codec its nodes."""
    return _sums(problem, assignment, Fraction)


def rounded_sums(problem: Problem, assignment: Assignment) -> Sums[float]:
    """The same in floating point, ten times as fast."""
    return _sums(problem, assignment, float)


def _sums(problem: Problem, assignment: Assignment, number: Callable[[float], Number]) -> Sums[Number]:
    nodes = {n.name: n for n in problem.nodes}
    links = {(link.source, link.target): link for link in problem.links}
    latency, zero = number(0), number(0)
    energy, memory = dict.fromkeys(nodes, zero), dict.fromkeys(nodes, zero)
    busy = dict.fromkeys([n.name for n in problem.nodes], zero)
    busy |= dict.fromkeys([f"{link.source}:{link.target}" for link in problem.links], zero)
    for o in problem.operators:
        node, int8 = assignment.node_of[o.name], o.name in assignment.quantized
        seconds = number((o.quantized_time_s or {})[node] if int8 else o.time_s[node])
        latency += seconds
        busy[node] += seconds
        energy[node] += seconds * number(nodes[node].compute_power_w)
        if node not in (o.quantized_held_on if int8 else o.held_on):
            memory[node] += number(o.weight_bytes) / (4 if int8 else 1)
    terms: list[Number] = []
    noise_magnitude = zero
    model = problem.noise_model
    if assignment.quantized and model is not None:
        summands = [number(model.intercept)]
        summands += [number(t.coefficient) for t in model.terms if set(t.operators) <= assignment.quantized]
        terms.append(noise_at(model.curve, sum(summands, zero), number))
        noise_magnitude = sum(map(abs, summands), zero)
        if model.curve is not None:
            noise_magnitude = terms[0] + number(float(steepest(model.curve))) * noise_magnitude
    for t in problem.tensors:
        sender = assignment.node_of[t.producer]
        to = {assignment.node_of[c] for c in t.consumers} - {sender}
        if not to:
            continue
        int8 = t.producer in assignment.quantized
        size = t.quantized_bytes if int8 and t.quantized_bytes is not None else t.bytes
        for codec in t.codecs or ():
            fits = codec.precision in (None, "int8" if int8 else "float")
            if assignment.codecs.get(t.name) == codec.name and fits:
                size = codec.bytes
                terms.append(number(codec.noise))
                noise_magnitude += number(codec.noise)
                works: list[tuple[str, float]] = [(sender, codec.encode_s[sender])]
                works += [(b, codec.decode_s[b]) for b in to]
                for node, coding_s in works:
                    latency += number(coding_s)
                    busy[node] += number(coding_s)
                    energy[node] += number(coding_s) * number(nodes[node].compute_power_w)
        for b in to:
            link = links[sender, b]
            seconds = number(size) / number(link.bandwidth_bytes_per_s)
            busy[f"{sender}:{b}"] += seconds
            seconds += number(link.latency_s)
            latency += seconds
            energy[sender] += seconds * number(nodes[sender].transmit_power_w)
    loads = {node.name: node.load for node in problem.nodes}
    loads |= {f"{link.source}:{link.target}": link.load for link in problem.links}
    return Sums(
        latency_s=latency,
        energy_j=sum(energy.values(), zero),
        device_energy_j=energy[problem.source],
        noise=sum(terms, zero),
        noise_magnitude=noise_magnitude,
        memory_bytes=memory,
        periods_s={
            who: time_s / max(number(1) - number(loads[who]), number(LEAST_SHARE)) for who, time_s in busy.items()
        },
    )


def keeps_all(problem: Problem, assignment: Assignment, sums: Sums[float]) -> bool:
    """Whether every limit is kept: by floating point where that is plain, else exactly."""
    limits = problem.constraints
    compared = [(sums.memory_bytes[n.name], sums.memory_bytes[n.name], n.memory_bytes) for n in problem.nodes]
    compared.append((sums.noise, sums.noise_magnitude, limits.max_noise))
    compared.append((sums.device_energy_j, sums.device_energy_j, limits.device_energy_limit_j))
    rate_hz = limits.min_rate_hz
    compared.append((sums.period_s, sums.period_s, None if rate_hz is None else 1 / rate_hz))
    limited = [(value, magnitude, limit) for value, magnitude, limit in compared if limit is not None]
    if any(value > limit + NEAR * magnitude for value, magnitude, limit in limited):
        return False
    if all(value < limit - NEAR * magnitude for value, magnitude, limit in limited):
        return True
    return keeps_limits(problem, exact_sums(problem, assignment))


def keeps_limits(problem: Problem, sums: ExactSums) -> bool:
    """Whether every limit is kept; memory is whole bytes and has no rounding."""
    limits = problem.constraints
    ok = limits.max_noise is None or sums.noise - ROUNDING * sums.noise_magnitude <= Fraction(limits.max_noise)
    device_j, limit_j = sums.device_energy_j, limits.device_energy_limit_j
    ok &= limit_j is None or device_j * (1 - ROUNDING) <= Fraction(limit_j)
    rate_hz = limits.min_rate_hz
    ok &= rate_hz is None or sums.period_s * (1 - ROUNDING) <= 1 / Fraction(rate_hz)
    return ok and all(
        n.memory_bytes is None or sums.memory_bytes[n.name] <= Fraction(n.memory_bytes) for n in problem.nodes
    )
