"""Contraction: the problem whose operators are units of the original's that stay together.

Owns: cost tables by unit, and the way back to operators. Its rule: every plan of the original that keeps its units together
and its places is one of the contraction, at the same costs; the contraction may have more. Not here: which operators stay together
(`bounds/presolve.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.reduction import Reduction
from edgesplit_controller.planner.meaning.costs import Costs, NoiseTerms, WireTensor
from edgesplit_controller.planner.meaning.indexed_plan import Plan, measured

__all__ = ["Contraction", "contract"]

Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Contraction:
    """A smaller problem and what it was made of.

    Attributes:
        costs: Of the smaller problem; its operators are groups, in no particular order.
        patterns: Quantization patterns, by group.
        whole: Costs of the original.
        group_of: Operator to group, shape (operators,).
        quantizable: Group to the operator that may be quantized there.
    """

    costs: Costs
    patterns: Patterns | None
    whole: Costs
    group_of: Ints
    quantizable: dict[int, int]

    def expanded(self, plan: Plan) -> Plan:
        """A plan of the smaller problem as one of the original."""
        node = tuple(np.array(plan.node)[self.group_of].tolist())
        return measured(node, frozenset(self.quantizable[group] for group in plan.quantized), plan.mode, self.whole)


def contract(costs: Costs, patterns: Patterns | None, reduction: Reduction) -> Contraction:
    """Put operators together.

    A group has one precision at most: of a unit's operators that may be quantized, all but the first become groups of their own.

    Args:
        costs: The problem's.
        patterns: Allowed quantization patterns; None leaves all free.
        reduction: Units and their places.
    """
    able = set(costs.quantizable)
    groups: list[list[int]] = []
    domain: list[NDArray[np.bool_]] = []
    for unit, places in zip(reduction.units, reduction.domain, strict=True):
        several = [operator for operator in unit if operator in able][1:]
        apart = set(several)
        groups += [[operator for operator in unit if operator not in apart], *([operator] for operator in several)]
        domain += [places] * (1 + len(several))
    group_of = np.empty(len(costs.operators), dtype=np.intp)
    for place, group in enumerate(groups):
        group_of[group] = place
    quantizable = {int(group_of[operator]): operator for operator in costs.quantizable}
    compute, int8 = _tables(costs, groups, quantizable)
    smaller = replace(
        costs,
        operators=tuple(costs.operators[group[0]] for group in groups),
        allowed=np.array(domain),
        compute=compute,
        quantized_compute=int8,
        quantizable=tuple(quantizable),
        tensors=tuple(_tensors(costs, group_of)),
        noise=_noise(costs.noise, group_of, len(groups)),
    )
    if patterns is not None:
        patterns = replace(patterns, operators=tuple(int(group_of[operator]) for operator in patterns.operators))
    return Contraction(smaller, patterns, costs, group_of, quantizable)


def _tables(
    costs: Costs, groups: Sequence[Sequence[int]], quantizable: dict[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    order = np.concatenate([np.array(group, dtype=np.intp) for group in groups])
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    compute = np.add.reduceat(costs.compute[:, order], starts, axis=1)
    int8 = np.full_like(compute, np.inf)
    for group, operator in quantizable.items():
        others = [member for member in groups[group] if member != operator]
        int8[:, group] = costs.compute[:, others].sum(axis=1) + costs.quantized_compute[:, operator]
    return compute, int8


def _tensors(costs: Costs, group_of: Ints) -> list[WireTensor]:
    found: list[WireTensor] = []
    for tensor in costs.tensors:
        producer = int(group_of[tensor.producer])
        readers = sorted({int(group_of[operator]) for operator in tensor.consumers} - {producer})
        if readers:
            found.append(WireTensor(tensor.name, producer, tuple(readers), tensor.modes))
    return found


def _noise(noise: NoiseTerms, group_of: Ints, groups: int) -> NoiseTerms:
    slopes = np.zeros(groups)
    np.add.at(slopes, group_of, noise.slopes)
    terms = tuple((frozenset(int(group_of[operator]) for operator in members), cost) for members, cost in noise.terms)
    return replace(noise, terms=terms, slopes=slopes)
