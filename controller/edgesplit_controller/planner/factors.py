"""The problem as tables for elimination: a relaxation that keeps everything but limits on sums.

Owns: the tables of compute, transfer and pattern, and their values at given prices. Its rule: at any prices the
least sum is a lower bound of every plan's. Not here: prices, fixing.

Kept exactly: places, pins, links, precision, multicast, the noise pattern, codecs. Left to prices: limits on the
measures, the noise of codecs, memory. The variables are each operator's node and each quantizable
operator's precision bit; bits are eliminated last, where the table over all of them meets the noise pattern.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.costs import MEASURES, Costs, WireTensor
from edgesplit_controller.planner.disjoint import DisjointSets
from edgesplit_controller.planner.elimination import IMPOSSIBLE, Elimination, plan_elimination
from edgesplit_controller.planner.noise import Patterns

__all__ = ["NOISE", "PRICED", "Relaxation", "relax"]

MAX_ENTRIES = 6e6
MAX_TENSOR_ENTRIES = 2e5

Floats = NDArray[np.float64]
NOISE = MEASURES
PRICED = MEASURES + 1
"""Latency, energy, device energy, and noise."""


@dataclass(frozen=True, slots=True)
class Relaxation:
    """Tables, flat one after the other, and their elimination.

    Attributes:
        elimination: Order over operators (by index), then bits (after them, in the order of `bits`).
        bits: Quantizable operators that may be quantized.
        limited: Nodes whose memory cannot hold all weights.
        compute: Latency, energy, device energy, noise and memory of the limited nodes, shape (4 + limited, entries).
        choices: Operator and node of every compute entry, shape (2, entries).
        wires: Per place in a table's list of modes, latency to noise of sending, shape (4, entries).
        modes: Per table of sending, which of its tensor's modes these are; the last one fills up the places.
        slices: Start and end of every table in compute and wires together, in the order of the factors.
        complete: Whether no transfer, pattern or multicast was left out or split.
        pattern: Penalty of every pattern over the bits; None when patterns are left out.
        pattern_noise: Noise of every pattern.
    """

    elimination: Elimination
    bits: tuple[int, ...]
    limited: tuple[int, ...]
    compute: Floats
    choices: NDArray[np.intp]
    wires: tuple[Floats, ...]
    modes: tuple[tuple[int, ...], ...]
    slices: tuple[tuple[int, int], ...]
    complete: bool
    pattern: Floats | None
    pattern_noise: Floats | None

    def tables(self, prices: Floats, domain: NDArray[np.bool_]) -> list[Floats]:
        """All tables at given prices, flat.

        Args:
            prices: Of latency, energy, device energy, noise, and of the memory of each limited node.
            domain: Nodes each operator may run on, shape (operators, nodes).
        """
        compute = prices @ self.compute
        compute[~domain[self.choices[0], self.choices[1]]] = IMPOSSIBLE
        flat = compute
        if self.wires:
            sending = prices[:PRICED] @ self.wires[0]
            for mode in self.wires[1:]:
                np.minimum(sending, prices[:PRICED] @ mode, out=sending)
            flat = np.concatenate([compute, sending])
        tables = [flat[start:end] for start, end in self.slices]
        if self.pattern is not None and self.pattern_noise is not None:
            tables.append(self.pattern + prices[NOISE] * self.pattern_noise)
        return tables


def relax(costs: Costs, patterns: Patterns | None) -> Relaxation | None:
    """Build the tables.

    Args:
        costs: The problem's.
        patterns: Allowed quantization patterns; None leaves every operator free to be quantized.

    Returns:
        The relaxation with patterns; without them where that is too large; of a forest of the largest tensors
        where that still is; None for a graph too large even so.
    """
    whole = [_parts(tensor, len(costs.nodes)) for tensor in costs.tensors]
    for allowed, parts in ((patterns, whole), (None, whole), (None, _forest(costs))):
        found = _relax(costs, allowed, parts)
        if found is not None:
            return found
    return None


def _relax(costs: Costs, patterns: Patterns | None, split: list[list[tuple[int, ...]]]) -> Relaxation | None:
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
    elimination = plan_elimination(sizes, scopes, last, MAX_ENTRIES)
    if elimination is None:
        return None
    pattern, pattern_noise = None, None
    if patterns is not None and bits:
        pattern, pattern_noise = _pattern_tables(patterns, bits, elimination.axes[-1])
    limited = tuple(int(n) for n in np.flatnonzero(costs.memory_bytes < costs.weight_bytes.sum()))
    compute, choices = _compute_tables(costs, limited, bit_of, elimination)
    wires = [
        _wire_tables(tensor, part, shares, bit_of, elimination.axes[count + index])
        for index, (tensor, part, shares) in enumerate(pieces)
    ]
    most = max((len(modes) for modes in wires), default=0)
    ends = np.cumsum([0, *(t.shape[1] for t in compute), *(modes[0].shape[1] for modes in wires)]).tolist()
    return Relaxation(
        elimination=elimination,
        bits=bits,
        limited=limited,
        compute=np.concatenate(compute, axis=1),
        choices=np.concatenate(choices, axis=1),
        wires=tuple(np.concatenate([m[min(k, len(m) - 1)] for m in wires], axis=1) for k in range(most)),
        modes=tuple(_modes(tensor, bit_of) for tensor, _, _ in pieces),
        slices=tuple(itertools.pairwise(ends)),
        complete=patterns is not None and all(len(parts) == 1 for parts in split),
        pattern=pattern,
        pattern_noise=pattern_noise,
    )


def _parts(tensor: WireTensor, nodes: int) -> list[tuple[int, ...]]:
    """The readers in one table, or one by one, each then charged an equal share, when that were too large."""
    if nodes ** (len(tensor.consumers) + 1) <= MAX_TENSOR_ENTRIES:
        return [tensor.consumers]
    return [(consumer,) for consumer in tensor.consumers]


def _forest(costs: Costs) -> list[list[tuple[int, ...]]]:
    """Reads of the largest tensors that close no cycle; the others' transfers are left out."""
    sets = DisjointSets(len(costs.operators))

    def seconds(tensor: WireTensor) -> float:
        return min(float(mode.occupied_s[np.isfinite(mode.occupied_s)].sum()) for mode in tensor.modes)

    kept: list[list[tuple[int, ...]]] = [[] for _ in costs.tensors]
    for index in sorted(range(len(kept)), key=lambda i: -seconds(costs.tensors[i])):
        tensor = costs.tensors[index]
        for consumer in tensor.consumers:
            if sets.join(tensor.producer, consumer):
                kept[index].append((consumer,))
    return kept


def _needs_bit(tensor: WireTensor, bit_of: dict[int, int]) -> bool:
    return tensor.producer in bit_of and any(mode.precision != "any" for mode in tensor.modes)


def _modes(tensor: WireTensor, bit_of: dict[int, int]) -> tuple[int, ...]:
    """The modes that the producer's precision allows at all."""
    quantizes = _needs_bit(tensor, bit_of)
    return tuple(index for index, mode in enumerate(tensor.modes) if quantizes or mode.precision != "int8")


def _finite(values: Floats) -> Floats:
    return np.where(np.isinf(values), IMPOSSIBLE, values)


def _compute_tables(
    costs: Costs, limited: tuple[int, ...], bit_of: dict[int, int], elimination: Elimination
) -> tuple[list[Floats], list[NDArray[np.intp]]]:
    """Per operator its flat table, and the operator and node of every entry."""
    nodes = np.arange(len(costs.nodes))
    on_node = (nodes == np.array(limited, dtype=np.intp)[:, None]).astype(np.float64)
    no_noise = np.zeros((1, len(nodes)))
    tables: list[Floats] = []
    choices: list[NDArray[np.intp]] = []
    for operator in range(len(costs.operators)):
        weights = on_node * costs.weight_bytes[operator]
        table = np.concatenate([costs.compute[:, operator], no_noise, weights])
        node = nodes
        if operator in bit_of:
            int8 = np.concatenate([_finite(costs.quantized_compute[:, operator]), no_noise, weights / 4])
            axes = elimination.axes[operator]
            table = np.stack([table, int8], axis=-1).transpose(0, *(axis + 1 for axis in axes))
            node = np.stack([nodes, nodes], axis=-1).transpose(axes).reshape(-1)
        tables.append(table.reshape(len(table), -1))
        choices.append(np.stack([np.full_like(node, operator), node]))
    return tables, choices


def _wire_tables(
    tensor: WireTensor, part: tuple[int, ...], shares: int, bit_of: dict[int, int], axes: tuple[int, ...]
) -> list[Floats]:
    """Per mode the flat table of sending to every node that reads, for all joint places."""
    nodes = tensor.modes[0].transfer.shape[1]
    reads = _reads(nodes, len(part))
    cut = (reads.sum(axis=1)[None] - reads.T > 0).astype(np.float64)  # a reader elsewhere, shape (nodes, joint)
    needs_bit = _needs_bit(tensor, bit_of)
    result: list[Floats] = []
    for mode in (tensor.modes[index] for index in _modes(tensor, bit_of)):
        table = np.empty((PRICED, nodes, reads.shape[0]))
        table[:MEASURES] = _finite(mode.transfer) @ reads.T + _finite(mode.encode)[:, :, None] * cut
        table[MEASURES] = mode.noise * cut
        table /= shares
        if needs_bit:
            never = np.zeros_like(table)
            never[:MEASURES] = IMPOSSIBLE
            table = np.stack(
                [never if mode.precision == "int8" else table, never if mode.precision == "float" else table],
                axis=2,
            )
        shaped = table.reshape((PRICED, nodes, *((2,) if needs_bit else ()), *(nodes,) * len(part)))
        result.append(shaped.transpose(0, *(axis + 1 for axis in axes)).reshape(PRICED, -1))
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
