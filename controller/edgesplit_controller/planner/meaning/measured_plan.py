"""A plan by index and its exact measures.

Owns: recomputing latency, energy and device energy of labels from the cost tables, and the choice of modes that
prices imply. Its rule: floating point, no scaling; what the solver rounds is measured here again. Not here: the
referee, which is `evaluation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.cpsat.decode import Labels
from edgesplit_controller.planner.meaning.costs import MEASURES, Costs, Precision, WireTensor

__all__ = ["Plan", "chosen_modes", "measures_of", "memory_of", "noise_of_labels"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Plan:
    """A known feasible assignment and its exact measures, shape (3,)."""

    labels: Labels
    measures: Floats


def measures_of(labels: Labels, costs: Costs) -> Floats:
    """Latency, energy and device energy of an assignment; infinite where something is not possible."""
    node = np.array(labels.node)
    own = costs.compute[:, np.arange(len(node)), node]
    if labels.quantized:
        int8 = list(labels.quantized)
        own[:, int8] = costs.quantized_compute[:, int8, node[int8]]
    total: Floats = own.sum(axis=1)
    for tensor, sender, receivers in _cuts(labels.node, costs):
        mode = tensor.modes[labels.mode.get(tensor.name, _raw(tensor, labels.quantized))]
        total = total + mode.transfer[:, sender, receivers].sum(axis=1) + mode.encode[:, sender]
    return total


def noise_of_labels(labels: Labels, costs: Costs) -> float:
    """Noise of quantization and codecs. [1]"""
    codecs = sum(
        tensor.modes[labels.mode[tensor.name]].noise
        for tensor, _, _ in _cuts(labels.node, costs)
        if tensor.name in labels.mode
    )
    return costs.noise.of(labels.quantized) + codecs


def memory_of(labels: Labels, costs: Costs) -> Floats:
    """Weights each node holds, shape (nodes,). [B]"""
    share = np.ones(len(costs.operators))
    share[list(labels.quantized)] = 0.25
    held = np.zeros(len(costs.nodes))
    np.add.at(held, list(labels.node), costs.weight_bytes * share)
    return held


def chosen_modes(node: Sequence[int], quantized: AbstractSet[int], prices: Floats, costs: Costs) -> dict[str, int]:
    """The cheapest mode of every cut tensor; only codecs are listed.

    Args:
        node: Operator to node.
        quantized: Operators in int8.
        prices: Of latency, energy, device energy and noise, shape (4,).
        costs: The problem's.
    """
    chosen: dict[str, int] = {}
    for tensor, sender, receivers in _cuts(node, costs):
        raw, fits = _raw(tensor, quantized), ("any", _precision(tensor, quantized))
        coded = (index for index, mode in enumerate(tensor.modes) if mode.codec is not None and mode.precision in fits)
        options = [raw, *coded]
        values: list[float] = []
        for index in options:
            mode = tensor.modes[index]
            cost = mode.transfer[:, sender, receivers].sum(axis=1) + mode.encode[:, sender]
            usable = np.isfinite(cost).all()
            values.append(float(prices[:MEASURES] @ cost + prices[MEASURES] * mode.noise) if usable else np.inf)
        best = options[int(np.argmin(values))]
        if best != raw:
            chosen[tensor.name] = best
    return chosen


def _raw(tensor: WireTensor, quantized: AbstractSet[int]) -> int:
    """The raw mode that fits the producer's precision."""
    fits = ("any", _precision(tensor, quantized))
    return next(i for i, m in enumerate(tensor.modes) if m.codec is None and m.precision in fits)


def _precision(tensor: WireTensor, quantized: AbstractSet[int]) -> Precision:
    return "int8" if tensor.producer in quantized else "float"


def _cuts(node: Sequence[int], costs: Costs) -> list[tuple[WireTensor, int, list[int]]]:
    """Every cut tensor with its sender and its receivers."""
    cuts: list[tuple[WireTensor, int, list[int]]] = []
    for tensor in costs.tensors:
        sender = node[tensor.producer]
        receivers = {node[consumer] for consumer in tensor.consumers}
        receivers.discard(sender)
        if receivers:
            cuts.append((tensor, sender, sorted(receivers)))
    return cuts
