"""Cost tables: the problem as numbers by index, what every choice adds to every measure.

Owns: the translation of names into indices and of sizes, links and the rates of sums into cost arrays. Its rule: no choice is
made here. Not here: variables, bounds, solving; `evaluate` does not use these tables, it checks them.

Index letters: `o` operator, `t` tensor, `n`, `a`, `b` nodes (a sends, b receives), `k` mode of a tensor. The first
axis of every cost array is the measure: latency [s], energy [J], the device's own energy [J], noise [1], and one for every other
sum that the problem limits; sums of weights come last, for sending adds nothing to them. A choice that is not possible costs
infinity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.noise_curve import NoiseCurve
from edgesplit.planning.problem import CodecOption, Operator, Problem, Tensor
from edgesplit.planning.problem_validation import topological_order
from edgesplit_controller.planner.meaning.limiting.limit_form import Limit
from edgesplit_controller.planner.meaning.limiting.limits import limits_of
from edgesplit_controller.planner.meaning.measures import DEVICE_ENERGY, NOISE, SumLimit
from edgesplit_controller.planner.meaning.sums import OutputNoise, Rates, Summed, weighed_sums

__all__ = ["Costs", "Mode", "NoiseTerms", "WireTensor", "costs_of", "restricted"]

Floats = NDArray[np.float64]
Precision = Literal["float", "int8", "any"]


@dataclass(frozen=True, slots=True)
class Mode:
    """One way a tensor can travel.

    Attributes:
        codec: Its codec's name; None is raw.
        precision: Which precision of the producer it needs, raw or coded.
        noise: What it adds to the output's noise. [1]
        encode: Paid once by the sender, its noise included, shape (measures of sending, nodes).
        transfer: Paid per receiver, decoding included, shape (measures of sending, nodes, nodes); 0 where a = b.
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
            bound of the noise.
        offset: At most 0.
        curve: What noise a value of the polynomial stands for; None: its own value.
    """

    intercept: float
    terms: tuple[tuple[frozenset[int], float], ...]
    slopes: Floats
    offset: float
    curve: NoiseCurve | None = None

    def of(self, quantized: AbstractSet[int]) -> float:
        """Noise of a set of quantized operators, rounded. [1]"""
        if not quantized:
            return 0.0
        level = math.fsum([self.intercept, *(c for members, c in self.terms if members <= quantized)])
        return level if self.curve is None else self.curve.near(level)

    @property
    def magnitude(self) -> float:
        """All absolute values added up, or what a curve makes of them at most."""
        level = abs(self.intercept) + sum(abs(coefficient) for _, coefficient in self.terms)
        if self.curve is None:
            return level
        return self.curve.near(level) + float(self.curve.steepest) * level


@dataclass(frozen=True, slots=True)
class Costs:
    """Everything the model builder needs of a problem.

    Attributes:
        operators: Names, producers before consumers; an operator's index is its place here.
        nodes: Names; a node's index is its place here.
        source: Index of the source.
        allowed: Operator to the nodes it may run on, shape (operators, nodes). [bool]
        compute: Cost in float, shape (measures, operators, nodes).
        quantized_compute: Cost in int8, same shape; infinite where not quantizable.
        quantizable: Operators that may be quantized.
        sent: Measures that sending adds to; they come first.
        sums: What every measure is a sum of.
        limits: On measures; one for each sum that the problem limits.
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
    sent: int
    sums: tuple[Summed, ...]
    limits: tuple[SumLimit, ...]
    tensors: tuple[WireTensor, ...]
    quantizing_never_hurts: bool
    noise: NoiseTerms

    def allows(self, node: Sequence[int]) -> bool:
        """Whether every operator may run where it is put."""
        return bool(self.allowed[np.arange(len(self.operators)), list(node)].all())


def costs_of(problem: Problem, watched: AbstractSet[str] | None = None) -> Costs:
    """Translate a valid problem.

    Args:
        problem: It.
        watched: Nodes and links to which limits on many of them are confined; None: all.
    """
    nodes = tuple(node.name for node in problem.nodes)
    names = topological_order(problem)
    by_name = {operator.name: operator for operator in problem.operators}
    operators = [by_name[name] for name in names]
    source = nodes.index(problem.source)
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
    noise = _noise_terms(problem, names, quantizable)
    sums, bounded = _measures(problem, watched)
    tables = _tables(sums, nodes)
    weights, int8_weights = (_weights(operators, nodes, quantized=quantized) for quantized in (False, True))
    wires = _wire_tensors(problem, {name: index for index, name in enumerate(names)}, tables)
    codecs = sum(max(mode.noise for mode in tensor.modes) for tensor in wires)
    return Costs(
        operators=names,
        nodes=nodes,
        source=source,
        allowed=allowed,
        compute=_computing(float_s, tables) + tables.weight[:, None] * weights,
        quantized_compute=_computing(int8_s, tables) + tables.weight[:, None] * int8_weights,
        quantizable=quantizable,
        sent=tables.sent,
        sums=sums,
        limits=tuple(
            SumLimit(measure, limit.bound, noise.magnitude + codecs if measure == NOISE else 0.0)
            for measure, limit in bounded
        ),
        tensors=wires,
        quantizing_never_hurts=_quantizing_never_hurts(problem, float_s, int8_s, quantizable),
        noise=noise,
    )


def _quantizing_never_hurts(problem: Problem, float_s: Floats, int8_s: Floats, quantizable: tuple[int, ...]) -> bool:
    hurts = any((int8_s[index] > float_s[index]).any() for index in quantizable)
    hurts |= any(operator.held_on for operator in problem.operators)
    by_name = {operator.name: operator for operator in problem.operators}
    able = [tensor for tensor in problem.tensors if by_name[tensor.producer].quantizable]
    hurts |= any((tensor.quantized_bytes or 0.0) > tensor.bytes for tensor in able)
    # A codec for floats alone is out of reach once the producer is quantized.
    hurts |= any(codec.precision is not None for tensor in able for codec in tensor.codecs or ())
    return not hurts


def _measures(problem: Problem, watched: AbstractSet[str] | None) -> tuple[tuple[Summed, ...], list[tuple[int, Limit]]]:
    """What every measure is a sum of, and which measure each limit is on."""
    sums: list[Summed] = [*weighed_sums(problem), OutputNoise()]
    bounded: list[tuple[int, Limit]] = []
    limits = [limit if watched is None else limit.watching(watched) for limit in limits_of(problem)]
    limited = [(total, limit) for limit in limits if limit is not None for total in limit.sums]
    # Sending adds nothing to sums of weights, whose rows its tables leave out.
    for total, limit in sorted(limited, key=lambda pair: pair[0].only_weights):
        known = [measure for measure in range(DEVICE_ENERGY, len(sums)) if sums[measure] == total]
        bounded.append((known[0] if known else len(sums), limit))
        if not known:
            sums.append(total)
    return tuple(sums), bounded


@dataclass(frozen=True, slots=True)
class _Tables:
    """The rates of all sums by index.

    Attributes:
        sent: Sums that sending adds to; they come first.
        compute: Shape (measures, nodes).
        weight: Shape (measures, nodes).
        transfer: Shape (measures of sending, nodes, nodes).
        occupied: The same; None where no sum counts it.
    """

    sent: int
    compute: Floats
    weight: Floats
    transfer: Floats
    occupied: Floats | None


def _tables(sums: Sequence[Summed], nodes: tuple[str, ...]) -> _Tables:
    place = {name: index for index, name in enumerate(nodes)}
    sent = sum(not total.only_weights for total in sums)
    compute, weight = np.zeros((len(sums), len(nodes))), np.zeros((len(sums), len(nodes)))
    transfer, occupied = np.zeros((sent, len(nodes), len(nodes))), np.zeros((sent, len(nodes), len(nodes)))
    for row, total in enumerate(sums):
        if not isinstance(total, Rates):
            continue
        for node, rate in total.compute.items():
            compute[row, place[node]] = rate
        for node, rate in total.weight.items():
            weight[row, place[node]] = rate
        for table, rates in ((transfer, total.transfer), (occupied, total.occupied)):
            for (sender, receiver), rate in rates.items():
                table[row, place[sender], place[receiver]] = rate
    return _Tables(sent, compute, weight, transfer, occupied if occupied.any() else None)


def _noise_terms(problem: Problem, names: tuple[str, ...], quantizable: tuple[int, ...]) -> NoiseTerms:
    """Terms over operators that can be quantized, and their linear lower bound.

    A negative term of several operators is at least its coefficient times the mean of their bits; positive ones of
    several operators are at least 0. Under a curve the noise is at least a line over that
    bound, which is 0 at the offset.
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
    curve = problem.noise_model.curve
    if curve is not None:
        slopes *= curve.incline(offset, offset + float(slopes.clip(min=0.0).sum()))
        offset = 0.0
    return NoiseTerms(intercept, tuple(terms), slopes, offset, curve)


def restricted(costs: Costs, nodes: tuple[int, ...]) -> Costs:
    """The same problem with fewer nodes.

    Args:
        costs: The problem's.
        nodes: Indices of those that stay, the source first.
    """
    columns, square = list(nodes), np.ix_(range(costs.sent), nodes, nodes)
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
        tensors=tensors,
    )


def _weights(operators: Sequence[Operator], nodes: tuple[str, ...], *, quantized: bool) -> Floats:
    """What weights take of each node's room, shape (operators, nodes). [B]"""
    taken = np.array([operator.weights_in(quantized=quantized) for operator in operators])[:, None]
    taken = np.repeat(taken, len(nodes), axis=1)
    for index, operator in enumerate(operators):
        if operator.held_on or operator.quantized_held_on:
            taken[index] = [operator.weights_on(node, quantized=quantized) for node in nodes]
    return taken


def _computing(seconds: Floats, tables: _Tables) -> Floats:
    """Seconds on a node (last axis) in every measure, shape (measures, ...)."""
    rates = tables.compute.reshape(len(tables.compute), *([1] * (seconds.ndim - 1)), -1)
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(seconds), np.inf, seconds * rates)


def _wire_tensors(problem: Problem, index_of: dict[str, int], tables: _Tables) -> tuple[WireTensor, ...]:
    nodes = [node.name for node in problem.nodes]
    bandwidth_bytes_per_s = np.full((len(nodes), len(nodes)), np.inf)
    latency_s = np.full_like(bandwidth_bytes_per_s, np.inf)
    for link in problem.links:
        pair = nodes.index(link.source), nodes.index(link.target)
        bandwidth_bytes_per_s[pair], latency_s[pair] = link.bandwidth_bytes_per_s, link.latency_s
    np.fill_diagonal(latency_s, 0.0)
    quantizable = {operator.name for operator in problem.operators if operator.quantizable}
    wires = _Wires(nodes, bandwidth_bytes_per_s, latency_s, tables)
    result: list[WireTensor] = []
    for tensor in problem.tensors:
        producer = index_of[tensor.producer]
        consumers = sorted({index_of[name] for name in tensor.consumers} - {producer})
        if consumers:
            modes = _modes(tensor, tensor.producer in quantizable, wires)
            result.append(WireTensor(tensor.name, producer, tuple(consumers), modes))
    return tuple(result)


@dataclass(frozen=True, slots=True)
class _Wires:
    """Links by index, and the rates of sums; where there is no link, it is the latency that is infinite."""

    nodes: list[str]
    bandwidth_bytes_per_s: Floats
    latency_s: Floats
    tables: _Tables


def _modes(tensor: Tensor, quantizable: bool, wires: _Wires) -> tuple[Mode, ...]:
    int8_bytes = tensor.quantized_bytes
    if quantizable and int8_bytes is not None and int8_bytes != tensor.bytes:
        modes = [_mode("float", tensor.bytes, None, wires), _mode("int8", int8_bytes, None, wires)]
    else:
        modes = [_mode("any", tensor.bytes, None, wires)]
    for codec in tensor.codecs or ():
        if codec.codes(quantized=False) or quantizable:
            modes.append(_mode((codec.precision or "any") if quantizable else "any", codec.bytes, codec, wires))
    return tuple(modes)


def _mode(precision: Precision, size: float, codec: CodecOption | None, wires: _Wires) -> Mode:
    tables, count = wires.tables, len(wires.nodes)
    occupied_s = size / wires.bandwidth_bytes_per_s
    with np.errstate(invalid="ignore"):
        transfer = (occupied_s + wires.latency_s) * tables.transfer
    if tables.occupied is not None:
        transfer += occupied_s * tables.occupied
    decode_s, encode = np.zeros(count), np.zeros((tables.sent, count))
    if codec is not None:
        decode_s = np.array([codec.decode_s.get(node, np.inf) for node in wires.nodes])
        encode_s = np.array([codec.encode_s.get(node, np.inf) for node in wires.nodes])
        transfer += _computing(decode_s, tables)[: tables.sent, None, :]
        encode = _computing(encode_s, tables)[: tables.sent]
        encode[NOISE] += codec.noise
    transfer[:, ~np.isfinite(transfer).all(axis=0)] = np.inf
    transfer[:, np.arange(count), np.arange(count)] = 0.0
    name, noise = (None, 0.0) if codec is None else (codec.name, codec.noise)
    return Mode(name, precision, noise, encode, transfer, occupied_s, wires.latency_s, decode_s)
