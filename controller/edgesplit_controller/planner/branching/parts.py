"""Parts of a problem: what a restriction leaves open, as a smaller problem with bounds of its own.

Owns: the way from a restriction to such a problem. Its rule: every plan of the restriction is one of the part's, at the same costs. Not here: the
tree within a part (`branch_and_bound.py`), which restrictions become parts (`solving/branched.py`).

Within a restriction bounds are higher than for the whole, so that far more choices exceed the best plan known, and go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.presolve import Bounds, bound_choices, priced_at
from edgesplit_controller.planner.bounds.relaxation import Relaxation, relax
from edgesplit_controller.planner.branching.restrictions import Pricing, Restriction
from edgesplit_controller.planner.meaning.costs import Costs, WireTensor
from edgesplit_controller.planner.meaning.indexed_plan import Plan

__all__ = ["Part", "part_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A problem to branch in.

    Attributes:
        costs: Its.
        patterns: Quantization patterns that are left in it.
        bounds: Of the objective, by choice.
        expanded: A plan of it as one of the whole problem.
        ceiling: Plans below it are looked for next; infinity: below the best one known.
        tried: Ceilings below the best plan known that labels were tried at.
    """

    costs: Costs
    patterns: Patterns | None
    bounds: Bounds
    expanded: Callable[[Plan], Plan]
    ceiling: float = np.inf
    tried: int = 0

    def above(self, bound: float) -> Part:
        """The same where no plan is below another bound, either."""
        return replace(self, bounds=replace(self.bounds, value=max(bound, self.bounds.value)))


def part_of(one: Restriction, pricing: Pricing, relaxation: Relaxation, within: Part) -> Part | None:
    """What a restriction leaves open; None where nothing is possible.

    Args:
        one: The restriction, with the prices of its bound.
        pricing: That it was priced by.
        relaxation: Of the problem that it restricts.
        within: That problem.
    """
    operators, nodes = within.costs.allowed.shape
    domain = one.open[:operators, :nodes]
    bits = one.open[operators:]
    costs = replace(within.costs, allowed=domain, tensors=_without(within.costs.tensors, relaxation, one.closed))
    patterns = within.patterns
    if patterns is not None:
        patterns = _with_bits(patterns, relaxation.bits, bits)
        if not len(patterns.noise):
            return None
    if one.closed or not bits[:, :2].all():
        relaxation = relax(costs, patterns) or relaxation
    priced = priced_at(relaxation, costs, pricing.weights(one.best), -float(one.best @ pricing.bounds), domain)
    bounds = bound_choices(relaxation, costs, patterns, priced)
    return Part(costs, patterns, replace(bounds, value=max(bounds.value, one.bound)), within.expanded)


def _without(
    tensors: tuple[WireTensor, ...], relaxation: Relaxation, closed: tuple[tuple[int, int], ...]
) -> tuple[WireTensor, ...]:
    """Tensors without some modes: these stay in their lists, for others are known by their place there, and cannot be had."""
    gone: dict[int, set[int]] = {}
    for tensor, place in closed:
        gone.setdefault(tensor, set()).add(relaxation.modes[tensor][place])
    found = list(tensors)
    for place, modes in gone.items():
        found[place] = replace(
            tensors[place],
            modes=tuple(
                replace(mode, encode=np.full_like(mode.encode, np.inf)) if index in modes else mode
                for index, mode in enumerate(tensors[place].modes)
            ),
        )
    return tuple(found)


def _with_bits(patterns: Patterns, bits: tuple[int, ...], open_: NDArray[np.bool_]) -> Patterns:
    """Patterns that bits decided leave."""
    kept = np.ones(len(patterns.noise), dtype=bool)
    for operator, choices in zip(bits, open_, strict=True):
        members = patterns.members[:, patterns.operators.index(operator)]
        kept &= choices[members.astype(np.intp)]
    return Patterns(patterns.operators, patterns.members[kept], patterns.noise[kept], patterns.closed_below)
