"""The problem as numbers by index: what every choice costs in latency, energy and device energy.

Owns: the translation of names into indices and of sizes, links and powers into cost arrays. Its rule: no choice is
made here. Not here: variables, bounds, solving; `evaluate` does not use these tables, it checks them.

Index letters: `o` operator, `t` tensor, `n`, `a`, `b` nodes (a sends, b receives), `k` mode of a tensor. The first
axis of every cost array is the measure: 0 latency [s], 1 energy [J], 2 the device's own energy [J]. A choice that
is not possible costs infinity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.problem import CodecOption, Problem, Tensor
from edgesplit.planning.problem_validation import topological_order

__all__ = [
    "DEVICE_ENERGY",
    "ENERGY",
    "LATENCY",
    "MEASURES",
    "Costs",
    "Mode",
    "NoiseTerms",
    "WireTensor",
    "costs_of",
    "restricted",
]

LATENCY, ENERGY, DEVICE_ENERGY = 0, 1, 2
MEASURES = 3

Floats = NDArray[np.float64]
Precision = Literal["float", "int8", "any"]


@dataclass(frozen=True, slots=True)
class Mode:
    """One way a tensor can travel.

    Attributes:
        codec: Its codec's name; None is raw.
        precision: Which precision of the producer it needs, raw or coded.
        noise: What it adds to the output's noise. [1]
        encode: Paid once by the sender, shape (3, nodes). [s, J, J]
        transfer: Paid per receiver, decoding included, shape (3, nodes, nodes); 0 where a = b. [s, J, J]
        occupied_s: Time a link is busy, shape (nodes, nodes). [s]
        latency_s: Time on the way beyond that, shape (nodes, nodes). [s]
        decode_s: Time the receiver is busy, shape (nodes,). [s]
    """

    codec: str | None
    precision: Precision
    noise: float
    encode: Floats
    transfer: Floats
    occupied_s: Floats
    latency_s: Floats
    decode_s: Floats


@dataclass(frozen=True, slots=True)
class WireTensor:
    """A tensor by index: who writes it, who else reads it, how it may travel."""

    name: str
    producer: int
    consumers: tuple[int, ...]
    modes: tuple[Mode, ...]


@dataclass(frozen=True, slots=True)
class NoiseTerms:
    """The noise polynomial by index, for quantizable operators alone.

    Attributes:
        intercept: Added as soon as one operator is quantized. [1]
        terms: Operators that must all be quantized, and what that adds.
        slopes: Per operator, what quantizing it adds at least, shape (operators,): with `offset` a linear lower
            bound of the polynomial.
        offset: At most 0.
    """

    intercept: float
    terms: tuple[tuple[frozenset[int], float], ...]
    slopes: Floats
    offset: float

    def of(self, quantized: AbstractSet[int]) -> float:
        """Noise of a set of quantized operators, rounded once. [1]"""
        if not quantized:
            return 0.0
        return math.fsum([self.intercept, *(c for members, c in self.terms if members <= quantized)])

    @property
    def magnitude(self) -> float:
        """All absolute values added up."""
        return abs(self.intercept) + sum(abs(coefficient) for _, coefficient in self.terms)


@dataclass(frozen=True, slots=True)
class Costs:
    """Everything the model builder needs of a problem.

    Attributes:
        operators: Names, producers before consumers; an operator's index is its place here.
        nodes: Names; a node's index is its place here.
        source: Index of the source.
        allowed: Operator to the nodes it may run on, shape (operators, nodes). [bool]
        compute: Cost in float, shape (3, operators, nodes).
        quantized_compute: Cost in int8, same shape; infinite where not quantizable.
        quantizable: Operators that may be quantized.
        weight_bytes: Shape (operators,). [B]
        memory_bytes: Shape (nodes,); infinite where unlimited. [B]
        tensors: Those that have a consumer other than their producer.
        quantizing_never_hurts: Whether int8 is at most as slow and as large everywhere.
        noise: Of quantization.
    """

    operators: tuple[str, ...]
    nodes: tuple[str, ...]
    source: int
    allowed: NDArray[np.bool_]
    compute: Floats
    quantized_compute: Floats
    quantizable: tuple[int, ...]
    weight_bytes: Floats
    memory_bytes: Floats
    tensors: tuple[WireTensor, ...]
    quantizing_never_hurts: bool
    noise: NoiseTerms

    def allows(self, node: Sequence[int]) -> bool:
        """Whether every operator may run where it is put."""
        return bool(self.allowed[np.arange(len(self.operators)), list(node)].all())


def costs_of(problem: Problem) -> Costs:
    """Translate a valid problem."""
    nodes = tuple(node.name for node in problem.nodes)
    names = topological_order(problem)
    by_name = {operator.name: operator for operator in problem.operators}
    operators = [by_name[name] for name in names]
    source = nodes.index(problem.source)
    powers = np.array([node.compute_power_w for node in problem.nodes])
    float_s = np.array([[operator.time_s[node] for node in nodes] for operator in operators])
    int8_s = np.full_like(float_s, np.inf)
    quantizable = tuple(index for index, operator in enumerate(operators) if operator.quantizable)
    for index in quantizable:
        times = operators[index].quantized_time_s or {}
        int8_s[index] = [times[node] for node in nodes]
    allowed = np.ones(float_s.shape, dtype=bool)
    pins = problem.constraints.pins or {}
    for index, operator in enumerate(operators):
        if operator.role is not None:
            allowed[index] &= np.arange(len(nodes)) == source
        if operator.name in pins:
            allowed[index] &= np.isin(nodes, pins[operator.name])
    hurts = any((int8_s[index] > float_s[index]).any() for index in quantizable)
    able = [tensor for tensor in problem.tensors if by_name[tensor.producer].quantizable]
    hurts |= any((tensor.quantized_bytes or 0.0) > tensor.bytes for tensor in able)
    # A codec for floats alone is out of reach once the producer is quantized.
    hurts |= any(codec.precision is not None for tensor in able for codec in tensor.codecs or ())
    return Costs(
        operators=names,
        nodes=nodes,
        source=source,
        allowed=allowed,
        compute=_measures(float_s, powers, source),
        quantized_compute=_measures(int8_s, powers, source),
        quantizable=quantizable,
        weight_bytes=np.array([operator.weight_bytes for operator in operators]),
        memory_bytes=np.array([np.inf if n.memory_bytes is None else n.memory_bytes for n in problem.nodes]),
        tensors=_wire_tensors(problem, {name: index for index, name in enumerate(names)}),
        quantizing_never_hurts=not hurts,
        noise=_noise_terms(problem, names, quantizable),
    )


def _noise_terms(problem: Problem, names: tuple[str, ...], quantizable: tuple[int, ...]) -> NoiseTerms:
    """Terms over operators that can be quantized, and their linear lower bound.

    A negative term of several operators is at least its coefficient times the mean of their bits; positive ones of
    several operators are at least 0.
    """
    slopes = np.zeros(len(names))
    if problem.noise_model is None:
        return NoiseTerms(0.0, (), slopes, 0.0)
    index_of = {name: index for index, name in enumerate(names)}
    able = frozenset(quantizable)
    intercept, offset = problem.noise_model.intercept, min(0.0, problem.noise_model.intercept)
    terms: list[tuple[frozenset[int], float]] = []
    for term in problem.noise_model.terms:
        members = frozenset(index_of[name] for name in term.operators)
        if not members <= able:
            continue
        terms.append((members, term.coefficient))
        if not members:
            offset += min(0.0, term.coefficient)
        elif len(members) == 1 or term.coefficient < 0:
            slopes[list(members)] += term.coefficient / len(members)
    return NoiseTerms(intercept, tuple(terms), slopes, offset)


def restricted(costs: Costs, nodes: tuple[int, ...]) -> Costs:
    """The same problem with fewer nodes.

    Args:
        costs: The problem's.
        nodes: Indices of those that stay, the source first.
    """
    columns, square = list(nodes), np.ix_(range(MEASURES), nodes, nodes)
    tensors = tuple(
        replace(
            tensor,
            modes=tuple(
                replace(
                    mode,
                    encode=mode.encode[:, columns],
                    transfer=mode.transfer[square],
                    occupied_s=mode.occupied_s[square[1:]],
                    latency_s=mode.latency_s[square[1:]],
                    decode_s=mode.decode_s[columns],
                )
                for mode in tensor.modes
            ),
        )
        for tensor in costs.tensors
    )
    return replace(
        costs,
        nodes=tuple(costs.nodes[node] for node in nodes),
        source=nodes.index(costs.source),
        allowed=costs.allowed[:, columns],
        compute=costs.compute[:, :, columns],
        quantized_compute=costs.quantized_compute[:, :, columns],
        memory_bytes=costs.memory_bytes[columns],
        tensors=tensors,
    )


def _measures(seconds: Floats, powers_w: Floats, source: int) -> Floats:
    """Seconds on a node (last axis) to latency, energy and the device's energy."""
    with np.errstate(invalid="ignore"):
        energy = np.where(np.isinf(seconds), np.inf, seconds * powers_w)
    device = np.where(np.isinf(seconds), np.inf, 0.0)
    device[..., source] = energy[..., source]
    return np.stack([seconds, energy, device])


def _wire_tensors(problem: Problem, index_of: dict[str, int]) -> tuple[WireTensor, ...]:
    nodes = [node.name for node in problem.nodes]
    bandwidth_bytes_per_s = np.full((len(nodes), len(nodes)), np.inf)
    latency_s = np.full_like(bandwidth_bytes_per_s, np.inf)
    for link in problem.links:
        pair = nodes.index(link.source), nodes.index(link.target)
        bandwidth_bytes_per_s[pair], latency_s[pair] = link.bandwidth_bytes_per_s, link.latency_s
    np.fill_diagonal(latency_s, 0.0)
    quantizable = {operator.name for operator in problem.operators if operator.quantizable}
    context = _Wires(problem, nodes, bandwidth_bytes_per_s, latency_s)
    result: list[WireTensor] = []
    for tensor in problem.tensors:
        producer = index_of[tensor.producer]
        consumers = sorted({index_of[name] for name in tensor.consumers} - {producer})
        if consumers:
            modes = _modes(tensor, tensor.producer in quantizable, context)
            result.append(WireTensor(tensor.name, producer, tuple(consumers), modes))
    return tuple(result)


@dataclass(frozen=True, slots=True)
class _Wires:
    """Links and powers by index; where there is no link, it is the latency that is infinite."""

    problem: Problem
    nodes: list[str]
    bandwidth_bytes_per_s: Floats
    latency_s: Floats


def _modes(tensor: Tensor, quantizable: bool, wires: _Wires) -> tuple[Mode, ...]:
    no_coding = np.zeros(len(wires.nodes))
    int8_bytes = tensor.quantized_bytes
    if quantizable and int8_bytes is not None and int8_bytes != tensor.bytes:
        modes = [
            _mode(None, "float", 0.0, tensor.bytes, encode_s=no_coding, decode_s=no_coding, wires=wires),
            _mode(None, "int8", 0.0, int8_bytes, encode_s=no_coding, decode_s=no_coding, wires=wires),
        ]
    else:
        modes = [_mode(None, "any", 0.0, tensor.bytes, encode_s=no_coding, decode_s=no_coding, wires=wires)]
    for codec in tensor.codecs or ():
        if not (codec.codes(quantized=False) or quantizable):
            continue
        precision: Precision = (codec.precision or "any") if quantizable else "any"
        encode_s, decode_s = _coding_s(codec, wires.nodes)
        modes.append(
            _mode(codec.name, precision, codec.noise, codec.bytes, encode_s=encode_s, decode_s=decode_s, wires=wires)
        )
    return tuple(modes)


def _coding_s(codec: CodecOption, nodes: list[str]) -> tuple[Floats, Floats]:
    return (
        np.array([codec.encode_s.get(node, np.inf) for node in nodes]),
        np.array([codec.decode_s.get(node, np.inf) for node in nodes]),
    )


def _mode(
    codec: str | None,
    precision: Precision,
    noise: float,
    size: float,
    *,
    encode_s: Floats,
    decode_s: Floats,
    wires: _Wires,
) -> Mode:
    source = wires.nodes.index(wires.problem.source)
    compute_w = np.array([node.compute_power_w for node in wires.problem.nodes])
    transmit_w = np.array([node.transmit_power_w for node in wires.problem.nodes])
    occupied_s = size / wires.bandwidth_bytes_per_s
    sending_s = occupied_s + wires.latency_s
    with np.errstate(invalid="ignore"):
        sending = np.stack([sending_s, sending_s * transmit_w[:, None], np.zeros_like(sending_s)])
    sending[DEVICE_ENERGY, source] = sending[ENERGY, source]
    transfer = sending + _measures(decode_s, compute_w, source)[:, None, :]
    transfer[np.isnan(transfer)] = np.inf
    transfer[:, np.isinf(transfer).any(axis=0)] = np.inf
    transfer[:, np.arange(len(compute_w)), np.arange(len(compute_w))] = 0.0
    encode = _measures(encode_s, compute_w, source)
    return Mode(codec, precision, noise, encode, transfer, occupied_s, wires.latency_s, decode_s)
