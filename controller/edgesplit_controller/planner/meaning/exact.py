"""Exact costs of an assignment in rational arithmetic: sums of the problem file's own numbers.

Owns: the one reference implementation of what docs/problem-file.md says about compute, transfers, energy, memory and
noise. Its rule: it reads the problem and the assignment and nothing the solver computed, and it rounds nothing, so
that a solver's mistake or a sum's rounding shows. Not here: the timeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import CodecOption, Problem, Tensor
from edgesplit_controller.planner.meaning.limiting.limits import judged_limits
from edgesplit_controller.planner.meaning.sums import ResourceUse
from edgesplit_controller.planner.meaning.tolerance import exact_sum

__all__ = ["ExactCosts", "busy_seconds", "codec_and_bytes", "exact_costs", "exact_noise"]


@dataclass(frozen=True, slots=True)
class ExactCosts:
    """What an assignment costs.

    Attributes:
        latency_s: All compute and all transfers, one after the other; None when a transfer is not possible. [s]
        compute_j: Node to what it spends on computing, coding included. [J]
        transmit_j: Node to what it spends on sending. [J]
        usage: What limits count.
        violations: One sentence per broken constraint.
    """

    latency_s: Fraction | None
    compute_j: Mapping[str, Fraction]
    transmit_j: Mapping[str, Fraction]
    usage: ResourceUse
    violations: tuple[str, ...]

    def energy_j(self, node: str) -> Fraction:
        """What a node spends. [J]"""
        return self.compute_j[node] + self.transmit_j[node]

    @property
    def total_energy_j(self) -> Fraction:
        """What all nodes spend. [J]"""
        return sum((self.energy_j(node) for node in self.compute_j), Fraction(0))


def codec_and_bytes(tensor: Tensor, assignment: Assignment) -> tuple[CodecOption | None, float]:
    """The codec in use, if any, and the bytes of one transfer: the codec's, else the int8 form's, else the tensor's own. [B]"""
    quantized, name = tensor.producer in assignment.quantized, assignment.codecs.get(tensor.name)
    codec = next((c for c in tensor.codecs or () if c.name == name and c.codes(quantized=quantized)), None)
    if codec is not None:
        return codec, codec.bytes
    if quantized and tensor.quantized_bytes is not None:
        return None, tensor.quantized_bytes
    return None, tensor.bytes


class _Tally:
    """Terms per node and per link, and what is wrong."""

    def __init__(self, problem: Problem) -> None:
        names = [node.name for node in problem.nodes]
        self.problem = problem
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self.weights: dict[str, list[float]] = {name: [] for name in names}
        self.sent: dict[tuple[str, str], list[float]] = {}
        self.noise: list[float] = []
        self.violations: list[str] = []
        self.possible = True


def busy_seconds(problem: Problem, assignment: Assignment) -> dict[str | tuple[str, str], float]:
    """How long a request takes the time of each node, by name, and of each link direction, by its ends. [s]"""
    usage = exact_costs(problem, assignment).usage
    busy_s: dict[str | tuple[str, str], float] = {node: float(seconds) for node, seconds in usage.compute_s.items()}
    return busy_s | {link: float(seconds) for link, seconds in usage.occupied_s.items()}


def exact_costs(problem: Problem, assignment: Assignment) -> ExactCosts:
    """Add up every cost and check every constraint of an assignment.

    Args:
        problem: A valid problem.
        assignment: A known node for every operator, and known codecs.
    """
    tally = _Tally(problem)
    _add_compute(assignment, tally)
    _add_transfers(assignment, tally)
    nodes = {node.name: node for node in problem.nodes}
    links = {(link.source, link.target): link for link in problem.links}
    compute_s = {name: exact_sum(times) for name, times in tally.seconds.items()}
    occupied_s = {
        pair: exact_sum(sizes) / Fraction(links[pair].bandwidth_bytes_per_s) for pair, sizes in tally.sent.items()
    }
    transfer_s = {
        pair: occupied_s[pair] + len(sizes) * Fraction(links[pair].latency_s) for pair, sizes in tally.sent.items()
    }
    sending_s = dict.fromkeys(nodes, Fraction(0))
    for (sender, _), time_s in transfer_s.items():
        sending_s[sender] += time_s
    noise, noise_magnitude = exact_noise(problem, assignment.quantized)
    usage = ResourceUse(
        compute_s=compute_s,
        transfer_s=transfer_s,
        occupied_s=occupied_s,
        weight_bytes={name: exact_sum(weights) for name, weights in tally.weights.items()},
        noise=noise + exact_sum(tally.noise),
        noise_magnitude=noise_magnitude + exact_sum(map(abs, tally.noise)),
    )
    broken = [text for limit in judged_limits(problem) if (text := limit.broken(usage)) is not None]
    return ExactCosts(
        latency_s=sum(compute_s.values(), sum(sending_s.values(), Fraction(0))) if tally.possible else None,
        compute_j={name: total * Fraction(nodes[name].compute_power_w) for name, total in compute_s.items()},
        transmit_j={name: total * Fraction(nodes[name].transmit_power_w) for name, total in sending_s.items()},
        usage=usage,
        violations=(*tally.violations, *broken),
    )


def exact_noise(problem: Problem, quantized: frozenset[str]) -> tuple[Fraction, Fraction]:
    """Predicted noise of a set of quantized operators, codecs aside, and the magnitudes added up to it. [1]"""
    model = problem.noise_model
    if not quantized or model is None:
        return Fraction(0), Fraction(0)
    terms = [model.intercept, *(t.coefficient for t in model.terms if quantized.issuperset(t.operators))]
    level, magnitude = exact_sum(terms), exact_sum(map(abs, terms))
    if model.curve is None:
        return level, magnitude
    noise = model.curve.at(level)
    return noise, noise + model.curve.steepest * magnitude


def _add_compute(assignment: Assignment, tally: _Tally) -> None:
    problem = tally.problem
    pins = problem.constraints.pins or {}
    for operator in problem.operators:
        node = assignment.node_of[operator.name]
        quantized = operator.name in assignment.quantized
        time_s = operator.time_s[node]
        if quantized and operator.quantizable and operator.quantized_time_s is not None:
            time_s = operator.quantized_time_s[node]
        elif quantized:
            tally.violations.append(f"Operator {operator.name!r} is quantized but not quantizable.")
        tally.seconds[node].append(time_s)
        tally.weights[node].append(operator.weights_on(node, quantized=quantized))
        if operator.role is not None and node != problem.source:
            tally.violations.append(f"The {operator.role} {operator.name!r} is not on the source.")
        if operator.name in pins and node not in pins[operator.name]:
            tally.violations.append(f"Operator {operator.name!r} is on {node!r} against its pin.")


def _add_transfers(assignment: Assignment, tally: _Tally) -> None:
    links = {(link.source, link.target) for link in tally.problem.links}
    for tensor in tally.problem.tensors:
        sender = assignment.node_of[tensor.producer]
        receivers = {assignment.node_of[consumer] for consumer in tensor.consumers} - {sender}
        if not receivers:
            continue
        codec, size = codec_and_bytes(tensor, assignment)
        if codec is not None:
            tally.noise.append(codec.noise)
            _add_coding(codec, tensor, sender, receivers, tally)
        for receiver in sorted(receivers):
            if (sender, receiver) in links:
                tally.sent.setdefault((sender, receiver), []).append(size)
                continue
            tally.violations.append(f"Tensor {tensor.name!r} goes from {sender!r} to {receiver!r} without a link.")
            tally.possible = False


def _add_coding(codec: CodecOption, tensor: Tensor, sender: str, receivers: set[str], tally: _Tally) -> None:
    works: list[tuple[str, Mapping[str, float], str]] = [(sender, codec.encode_s, "encode")]
    works += [(receiver, codec.decode_s, "decode") for receiver in sorted(receivers)]
    for node, times, verb in works:
        if node in times:
            tally.seconds[node].append(times[node])
            continue
        tally.violations.append(f"Node {node!r} cannot {verb} tensor {tensor.name!r} as {codec.name!r}.")
        tally.possible = False
