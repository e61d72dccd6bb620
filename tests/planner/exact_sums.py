"""What an assignment costs, in rational numbers: the brute force's own reading of the problem file.

Owns: exact sums and the meaning of a limit. Its rule: it shares no code with the planner. Not here: timelines
(`brute_force.makespan`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from edgesplit.plan import Assignment
from edgesplit.problem import Problem

__all__ = ["ExactSums", "exact_sums", "keeps_limits"]

ROUNDING = Fraction(1, 2**48)
"""A limit on energy or noise is broken when the exact sum exceeds it by more than this share of what was added up."""


@dataclass(frozen=True)
class ExactSums:
    """Sums without rounding."""

    latency_s: Fraction
    energy_j: Fraction
    device_energy_j: Fraction
    noise: Fraction
    noise_magnitude: Fraction
    memory_bytes: Mapping[str, Fraction]


def exact_sums(problem: Problem, assignment: Assignment) -> ExactSums:
    """Add everything up; every transfer must have a link and every codec its nodes."""
    nodes = {n.name: n for n in problem.nodes}
    links = {(link.source, link.target): link for link in problem.links}
    latency, zero = Fraction(0), Fraction(0)
    energy, memory = dict.fromkeys(nodes, zero), dict.fromkeys(nodes, zero)
    for o in problem.operators:
        node, int8 = assignment.node_of[o.name], o.name in assignment.quantized
        seconds = Fraction((o.quantized_time_s or {})[node] if int8 else o.time_s[node])
        latency += seconds
        energy[node] += seconds * Fraction(nodes[node].compute_power_w)
        memory[node] += Fraction(o.weight_bytes) / (4 if int8 else 1)
    terms: list[Fraction] = []
    if assignment.quantized and problem.noise_model is not None:
        model = problem.noise_model
        terms.append(Fraction(model.intercept))
        terms += [Fraction(t.coefficient) for t in model.terms if set(t.operators) <= assignment.quantized]
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
                terms.append(Fraction(codec.noise))
                works = [(sender, codec.encode_s[sender]), *((b, codec.decode_s[b]) for b in to)]
                for node, coding_s in works:
                    latency += Fraction(coding_s)
                    energy[node] += Fraction(coding_s) * Fraction(nodes[node].compute_power_w)
        for b in to:
            link = links[sender, b]
            seconds = Fraction(size) / Fraction(link.bandwidth_bytes_per_s) + Fraction(link.latency_s)
            latency += seconds
            energy[sender] += seconds * Fraction(nodes[sender].transmit_power_w)
    return ExactSums(
        latency_s=latency,
        energy_j=sum(energy.values(), zero),
        device_energy_j=energy[problem.source],
        noise=sum(terms, zero),
        noise_magnitude=sum(map(abs, terms), zero),
        memory_bytes=memory,
    )


def keeps_limits(problem: Problem, sums: ExactSums) -> bool:
    """Whether every limit is kept; memory is whole bytes and has no rounding."""
    limits = problem.constraints
    ok = limits.max_noise is None or sums.noise - ROUNDING * sums.noise_magnitude <= Fraction(limits.max_noise)
    device_j, limit_j = sums.device_energy_j, limits.device_energy_limit_j
    ok &= limit_j is None or device_j * (1 - ROUNDING) <= Fraction(limit_j)
    return ok and all(
        n.memory_bytes is None or sums.memory_bytes[n.name] <= Fraction(n.memory_bytes) for n in problem.nodes
    )
