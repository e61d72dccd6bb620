"""The relaxation that elimination solves: tables that keep everything but limits on sums (Lagrangian relaxation).

Owns: the tables of compute, transfer and pattern, and their values at given prices. Its rule: at any prices the
least sum is a lower bound of every plan's. Not here: prices, fixing.

Kept exactly: places, pins, links, precision, multicast, the noise pattern, codecs. Left to prices: limits on the
measures, the noise of codecs among them. The variables are each operator's node and each quantizable
operator's precision bit; bits are eliminated last, where the table over all of them meets the noise pattern.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.disjoint_sets import DisjointSets
from edgesplit_controller.planner.bounds.elimination import IMPOSSIBLE, Elimination, plan_elimination
from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.meaning.costs import Costs, WireTensor
from edgesplit_controller.planner.meaning.measures import NOISE

__all__ = ["Relaxation", "relax"]

MAX_ENTRIES = 6e6
MAX_TENSOR_ENTRIES = 2e5

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Relaxation:
    """Tables, flat one after the other, and their elimination.

    Attributes:
        elimination: Order over operators (by index), then bits (after them, in the order of `bits`).
        bits: Quantizable operators that may be quantized.
        compute: All measures, shape (measures, entries).
        choices: Operator and node of every compute entry, shape (2, entries).
        wires: Per place in a table's list of modes, sending in its measures, shape (measures of sending, entries), and
            which entries are not possible.
        modes: Per table of sending, which of its tensor's modes these are; the last one fills up the places.
        slices: Start and end of every table in compute and wires together, in the order of the factors.
        complete: Whether no transfer, pattern or multicast was left out or split.
        pattern: Penalty of every pattern over the bits; None when patterns are left out.
        pattern_noise: Noise of every pattern.
    """

    elimination: Elimination
    bits: tuple[int, ...]
    compute: Floats
    choices: NDArray[np.intp]
    wires: tuple[tuple[Floats, NDArray[np.bool_]], ...]
    modes: tuple[tuple[int, ...], ...]
    slices: tuple[tuple[int, int], ...]
    complete: bool
    pattern: Floats | None
    pattern_noise: Floats | None

    def tables(self, prices: Floats, domain: NDArray[np.bool_]) -> list[Floats]:
        """All tables at given prices, flat.

        Args:
            prices: Of the measures.
            domain: Nodes each operator may run on, shape (operators, nodes).
        """
        compute = prices @ self.compute
        compute[~domain[self.choices[0], self.choices[1]]] = IMPOSSIBLE
        flat = compute
        if self.wires:
            sending = self._sending(0, prices)
            for place in range(1, len(self.wires)):
                np.minimum(sending, self._sending(place, prices), out=sending)
            flat = np.concatenate([compute, sending])
        tables = [flat[start:end] for start, end in self.slices]
        if self.pattern is not None and self.pattern_noise is not None:
            tables.append(self.pattern + prices[NOISE] * self.pattern_noise)
        return tables

    def _sending(self, place: int, prices: Floats) -> Floats:
        """What sending costs in the modes at one place of the tensors' lists."""
        table, never = self.wires[place]
        cost: Floats = prices[: len(table)] @ table
        cost[never] = IMPOSSIBLE
        return cost


def relax(costs: Costs, patterns: Patterns | None, *, orders: int = 1) -> Relaxation | None:
    """Build the tables.

    Args:
        costs: The problem's.
        patterns: Allowed quantization patterns; None leaves every operator free to be quantized.
        orders: Of elimination that are tried.

    Returns:
        The relaxation with patterns; without them where that is too large; of a forest of the largest tensors
        where that still is; None for a graph too large even so.
    """
    free = (costs.allowed.sum(axis=1) > 1).tolist()
    whole = [_parts(tensor, free, len(costs.nodes)) for tensor in costs.tensors]
    for allowed, parts in ((patterns, whole), (None, whole), (None, _forest(costs, free))):
        found = _relax(costs, allowed, parts, orders)
        if found is not None:
            return found
    return None


def _relax(
    costs: Costs, patterns: Patterns | None, split: list[list[tuple[int, ...]]], orders: int
) -> Relaxation | None:
    bits = costs.quantizable
    if patterns is not None:
        used = patterns.members.any(axis=0).reshape(-1)
        bits = tuple(patterns.operators[place] for place in np.flatnonzero(used))
    count, nodes = len(costs.operators), len(costs.nodes)
    bit_of = {operator: count + place for place, operator in enumerate(bits)}
    scopes: list[tuple[int, ...]] = [(o, bit_of[o]) if o in bit_of else (o,) for o in range(count)]
    pieces = [(tensor, part, len(parts)) for tensor, parts in zip(costs.tensors, split, strict=True) for part in parts]
    for tensor, part, _ in pieces:
        bit = (bit_of[tensor.producer],) if _needs_bit(tensor, bit_of) else ()
        scopes.append((tensor.producer, *bit, *part))
    sizes = [nodes] * count + [2] * len(bits)
    last: frozenset[int] = frozenset()
    if patterns is not None and bits:
        scopes.append(tuple(range(count, count + len(bits))))
        last = frozenset(scopes[-1])
    elimination = plan_elimination(sizes, scopes, last, MAX_ENTRIES, orders)
    if elimination is None:
        return None
    pattern, pattern_noise = None, None
    if patterns is not None and bits:
        pattern, pattern_noise = _pattern_tables(patterns, bits, elimination.axes[-1])
    compute, choices = _compute_tables(costs, bit_of, elimination, free=patterns is None)
    wires = [
        _wire_tables(tensor, part, shares, bit_of=bit_of, axes=elimination.axes[count + index], costs=costs)
        for index, (tensor, part, shares) in enumerate(pieces)
    ]
    most = max((len(modes) for modes in wires), default=0)
    ends = np.cumsum([0, *(t.shape[1] for t in compute), *(modes[0][0].shape[1] for modes in wires)]).tolist()
    return Relaxation(
        elimination=elimination,
        bits=bits,
        compute=np.concatenate(compute, axis=1),
        choices=np.concatenate(choices, axis=1),
        wires=tuple(_joined([modes[min(place, len(modes) - 1)] for modes in wires]) for place in range(most)),
        modes=tuple(_modes(tensor, bit_of) for tensor, _, _ in pieces),
        slices=tuple(itertools.pairwise(ends)),
        complete=patterns is not None and all(len(parts) == 1 for parts in split),
        pattern=pattern,
        pattern_noise=pattern_noise,
    )


def _parts(tensor: WireTensor, free: Sequence[bool], nodes: int) -> list[tuple[int, ...]]:
    """The readers with a choice in one table, or one by one, each then charged an equal share, when that were too large.

    Readers that have one place only are part of every table.
    """
    readers = tuple(consumer for consumer in tensor.consumers if free[consumer])
    if not readers or nodes ** (len(readers) + 1) <= MAX_TENSOR_ENTRIES:
        return [readers]
    return [(reader,) for reader in readers]


def _forest(costs: Costs, free: Sequence[bool]) -> list[list[tuple[int, ...]]]:
    """Reads of the largest tensors that close no cycle; the others' transfers are left out."""
    sets = DisjointSets(len(costs.operators))

    def seconds(tensor: WireTensor) -> float:
        return min(float(mode.occupied_s[np.isfinite(mode.occupied_s)].sum()) for mode in tensor.modes)

    kept: list[list[tuple[int, ...]]] = [[] for _ in costs.tensors]
    for index in sorted(range(len(kept)), key=lambda i: -seconds(costs.tensors[i])):
        tensor = costs.tensors[index]
        for consumer in tensor.consumers:
            if free[consumer] and sets.join(tensor.producer, consumer):
                kept[index].append((consumer,))
        if not kept[index] and not all(free[consumer] for consumer in tensor.consumers):
            kept[index].append(())
    return kept


def _needs_bit(tensor: WireTensor, bit_of: dict[int, int]) -> bool:
    return tensor.producer in bit_of and any(mode.precision != "any" for mode in tensor.modes)


def _modes(tensor: WireTensor, bit_of: dict[int, int]) -> tuple[int, ...]:
    """The modes that the producer's precision allows at all."""
    quantizes = _needs_bit(tensor, bit_of)
    return tuple(index for index, mode in enumerate(tensor.modes) if quantizes or mode.precision != "int8")


def _finite(values: Floats) -> Floats:
    return np.where(np.isinf(values), 0.0, values)


def _joined(modes: list[tuple[Floats, NDArray[np.bool_]]]) -> tuple[Floats, NDArray[np.bool_]]:
    return np.concatenate([table for table, _ in modes], axis=1), np.concatenate([never for _, never in modes])


def _compute_tables(
    costs: Costs, bit_of: dict[int, int], elimination: Elimination, *, free: bool
) -> tuple[list[Floats], list[NDArray[np.intp]]]:
    """Per operator its flat table, and the operator and node of every entry.

    Without a table of patterns (`free`), every operator carries its share of the noise's linear lower bound.
    """
    nodes = np.arange(len(costs.nodes))
    tables: list[Floats] = []
    choices: list[NDArray[np.intp]] = []
    for operator in range(len(costs.operators)):
        table, node = costs.compute[:, operator], nodes
        offset = costs.noise.offset if free and operator == 0 else 0.0
        if offset:
            table = _noisier(table, offset)
        if operator in bit_of:
            slope = costs.noise.slopes[operator] if free else 0.0
            int8 = _noisier(costs.quantized_compute[:, operator], offset + slope)
            axes = elimination.axes[operator]
            table = np.stack([table, int8], axis=-1).transpose(0, *(axis + 1 for axis in axes))
            node = np.stack([nodes, nodes], axis=-1).transpose(axes).reshape(-1)
        tables.append(table.reshape(len(table), -1))
        choices.append(np.stack([np.full_like(node, operator), node]))
    return tables, choices


def _noisier(table: Floats, noise: float) -> Floats:
    louder = table.copy()
    louder[NOISE] += noise
    return louder


def _wire_tables(
    tensor: WireTensor,
    part: tuple[int, ...],
    shares: int,
    *,
    bit_of: dict[int, int],
    axes: tuple[int, ...],
    costs: Costs,
) -> list[tuple[Floats, NDArray[np.bool_]]]:
    """Per mode the flat table of sending to every node that reads, for all joint places, and what is not possible."""
    nodes = len(costs.nodes)
    reads = _reads(nodes, len(part))
    for consumer in tensor.consumers if len(part) < len(tensor.consumers) else ():
        if costs.allowed[consumer].sum() == 1:
            reads = np.maximum(reads, costs.allowed[consumer])
    cut = (reads.sum(axis=1)[None] - reads.T > 0).astype(np.float64)  # a reader elsewhere, shape (nodes, joint)
    needs_bit = _needs_bit(tensor, bit_of)
    # In the order of the factor's scope; variables without a choice have no axis.
    sizes = [nodes, *([2] if needs_bit else []), *[nodes] * len(part)]
    wide = [axis for axis in axes if sizes[axis] > 1]
    shape = [size for size in sizes if size > 1]
    order = [sorted(wide).index(axis) for axis in wide]
    turned = order != sorted(order)

    def flat(values: Floats) -> Floats:
        if turned:
            values = values.reshape(len(values), *shape).transpose(0, *(axis + 1 for axis in order))
        return values.reshape(len(values), -1)

    result: list[tuple[Floats, NDArray[np.bool_]]] = []
    for mode in (tensor.modes[index] for index in _modes(tensor, bit_of)):
        table = _finite(mode.transfer) @ reads.T + _finite(mode.encode)[:, :, None] * cut
        table /= shares
        stuck = np.zeros(table.shape[1:])
        if not (np.isfinite(mode.transfer[0]).all() and np.isfinite(mode.encode[0]).all()):
            stuck = np.isinf(mode.transfer[0]) @ reads.T + np.isinf(mode.encode[0])[:, None] * cut
        if needs_bit:
            table = np.stack([table, table], axis=2)
            unfit = np.array([mode.precision == "int8", mode.precision == "float"], dtype=np.float64)
            stuck = stuck[:, None, :] + unfit[:, None]
        result.append((flat(table), flat(stuck[None])[0] > 0))
    return result


@lru_cache(maxsize=64)
def _reads(nodes: int, readers: int) -> Floats:
    """Whether a node reads, for all joint places of readers, shape (nodes ** readers, nodes)."""
    joint = np.array(list(itertools.product(range(nodes), repeat=readers)))
    reads: Floats = (joint[:, :, None] == np.arange(nodes)).any(axis=1).astype(np.float64)
    return reads


def _pattern_tables(patterns: Patterns, bits: tuple[int, ...], axes: tuple[int, ...]) -> tuple[Floats, Floats]:
    columns = [patterns.operators.index(operator) for operator in bits]
    shape = (2,) * len(bits)
    penalty, noise = np.full(shape, IMPOSSIBLE), np.zeros(shape)
    members = tuple(patterns.members[:, columns].astype(np.intp).T)
    penalty[members], noise[members] = 0.0, patterns.noise
    return penalty.transpose(axes).copy(), noise.transpose(axes).copy()
