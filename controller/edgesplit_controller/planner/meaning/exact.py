"""The exact costs of an assignment: rational sums of the problem file's own numbers.

Owns: the one reference implementation of what docs/problem-file.md says about compute, transfers, energy, memory and
noise. Its rule: it reads the problem and the assignment and nothing the solver computed, and it rounds nothing, so
that a solver's mistake or a sum's rounding shows. Not here: the timeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import CodecOption, Problem, Tensor
from edgesplit_controller.planner.meaning.sent_tensors import codec_and_bytes
from edgesplit_controller.planner.meaning.tolerance import keeps

__all__ = ["ExactCosts", "exact_costs", "exact_noise", "exact_sum"]

_SMALLEST_EXPONENT = 1074
"""Every finite double is a whole number of 2^-1074."""


@dataclass(frozen=True, slots=True)
class ExactCosts:
    """What an assignment costs.

    Attributes:
        latency_s: All compute and all transfers, one after the other; None when a transfer is not possible. [s]
        compute_j: Node to what it spends on computing, coding included. [J]
        transmit_j: Node to what it spends on sending. [J]
        noise: Of quantization and codecs. [1]
        noise_magnitude: The absolute values that were added up to it. [1]
        memory_bytes: Node to bytes of weights it holds. [B]
        violations: One sentence per broken constraint.
    """

    latency_s: Fraction | None
    compute_j: Mapping[str, Fraction]
    transmit_j: Mapping[str, Fraction]
    noise: Fraction
    noise_magnitude: Fraction
    memory_bytes: Mapping[str, Fraction]
    violations: tuple[str, ...]

    def energy_j(self, node: str) -> Fraction:
        """What a node spends. [J]"""
        return self.compute_j[node] + self.transmit_j[node]

    @property
    def total_energy_j(self) -> Fraction:
        """What all nodes spend. [J]"""
        return sum((self.energy_j(node) for node in self.compute_j), Fraction(0))


def exact_sum(values: Iterable[float]) -> Fraction:
    """The sum of finite doubles without any rounding."""
    total = 0
    for value in values:
        numerator, denominator = value.as_integer_ratio()
        total += numerator << (_SMALLEST_EXPONENT + 1 - denominator.bit_length())
    return Fraction(total, 1 << _SMALLEST_EXPONENT)


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


def exact_costs(problem: Problem, assignment: Assignment) -> ExactCosts:
    """Add up every cost and check every constraint of an assignment.

    Args:
        problem: A valid problem.
        assignment: A known node for every operator, and known codecs.
    """
    tally = _Tally(problem)
    tally.noise = _noise_terms(problem, assignment.quantized)
    _add_compute(assignment, tally)
    _add_transfers(assignment, tally)
    nodes = {node.name: node for node in problem.nodes}
    seconds = {name: exact_sum(times) for name, times in tally.seconds.items()}
    compute_j = {name: total * Fraction(nodes[name].compute_power_w) for name, total in seconds.items()}
    sending_s = dict.fromkeys(nodes, Fraction(0))
    links = {(link.source, link.target): link for link in problem.links}
    for pair, sizes in tally.sent.items():
        link = links[pair]
        sending_s[pair[0]] += exact_sum(sizes) / Fraction(link.bandwidth_bytes_per_s)
        sending_s[pair[0]] += len(sizes) * Fraction(link.latency_s)
    costs = ExactCosts(
        latency_s=sum(seconds.values(), sum(sending_s.values(), Fraction(0))) if tally.possible else None,
        compute_j=compute_j,
        transmit_j={name: total * Fraction(nodes[name].transmit_power_w) for name, total in sending_s.items()},
        noise=exact_sum(tally.noise),
        noise_magnitude=exact_sum(map(abs, tally.noise)),
        memory_bytes={name: exact_sum(weights) for name, weights in tally.weights.items()},
        violations=tuple(tally.violations),
    )
    return _limited(problem, costs)


def exact_noise(problem: Problem, quantized: frozenset[str]) -> tuple[Fraction, Fraction]:
    """Predicted noise of a set of quantized operators, codecs aside, and the magnitudes added up to it. [1]"""
    terms = _noise_terms(problem, quantized)
    return exact_sum(terms), exact_sum(map(abs, terms))


def _noise_terms(problem: Problem, quantized: frozenset[str]) -> list[float]:
    if not quantized or problem.noise_model is None:
        return []
    model = problem.noise_model
    return [model.intercept, *(t.coefficient for t in model.terms if quantized.issuperset(t.operators))]


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
        tally.weights[node].append(operator.weight_bytes * (0.25 if quantized else 1.0))
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


def _limited(problem: Problem, costs: ExactCosts) -> ExactCosts:
    """The same costs with the limits that they break."""
    broken = list(costs.violations)
    limits = problem.constraints
    if limits.max_noise is not None and not keeps(costs.noise, costs.noise_magnitude, limits.max_noise):
        broken.append("The noise {} exceeds max_noise {}.".format(*_apart(costs.noise, limits.max_noise)))
    limit_j, device_j = limits.device_energy_limit_j, costs.energy_j(problem.source)
    if limit_j is not None and not keeps(device_j, device_j, limit_j):
        broken.append("The device's energy {} J exceeds {} J.".format(*_apart(device_j, limit_j)))
    for node in problem.nodes:
        used = costs.memory_bytes[node.name]
        if node.memory_bytes is not None and not keeps(used, Fraction(0), node.memory_bytes):
            room = node.memory_bytes
            broken.append(f"The weights on {node.name!r} need {float(used):.0f} B of its {room:.0f} B.")
    return ExactCosts(
        latency_s=costs.latency_s,
        compute_j=costs.compute_j,
        transmit_j=costs.transmit_j,
        noise=costs.noise,
        noise_magnitude=costs.noise_magnitude,
        memory_bytes=costs.memory_bytes,
        violations=tuple(broken),
    )


def _apart(value: Fraction, limit: float) -> tuple[str, str]:
    """Both with as many digits as it takes to tell them apart."""
    texts = ((f"{float(value):.{digits}g}", f"{limit:.{digits}g}") for digits in (6, 9, 12, 17))
    return next((pair for pair in texts if pair[0] != pair[1]), (f"{float(value):.17g}", f"{limit:.17g}"))
