"""The list of plans to measure: where a model's parts go, under which noise bound and weights, at which rates, in which order.

Owns: the wishes and their shuffled schedule. Its rule: pure and seeded; two of three wishes place parts on two nodes or
more by pins, so how many plans really cut is decided here and not by how fast today's machine is. Not here: cutting
(`cuts.py`), asking a fleet for it (`course.py`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from bench.end_to_end.plans.cuts import parts, patterns_for, placed
from edgesplit.planning.problem import Problem

__all__ = ["Visit", "Wish", "schedule", "steady_wish", "wishes"]

AGAIN_EVERY = 5
"""Of so many visits one is made a second time, at the end of its block."""


@dataclass(frozen=True)
class Wish:
    """What a plan should be.

    Attributes:
        label: For people.
        pins: Node and the patterns of what it computes; nothing pinned where empty.
        first: So many operators, the first ones, stay on the source.
        forbidden: A node to do without; empty for none.
        energy: Weight of energy, that of latency being the rest. [1]
        noise: Bound, as a share of the noise of everything quantized: 0 is float, without lossy codecs. [1]
    """

    label: str
    pins: tuple[tuple[str, tuple[str, ...]], ...] = ()
    first: int = 0
    forbidden: str = ""
    energy: float = 0.0
    noise: float = 0.0

    @property
    def nodes(self) -> tuple[str, ...]:
        """Those that compute for certain, each once."""
        return tuple(dict.fromkeys(node for node, _ in self.pins))


@dataclass(frozen=True)
class Visit:
    """One measurement of the schedule: a model, a wish and the factor on every link's rate."""

    model: str
    wish: Wish
    rates: float
    again: bool = False


Figures = tuple[tuple[str, ...], tuple[float, ...], float, float]
"""Of a cut: nodes in the order of the parts, the depths between them, noise, energy."""
CUTS: tuple[Figures, ...] = (
    (("device", "cloud"), (0.3,), 0.4, 0.0),
    (("edge", "cloud"), (0.5,), 0.0, 0.0),
    (("device", "edge", "cloud"), (0.2, 0.6), 0.4, 0.0),
    (("device", "edge"), (0.5,), 1.0, 0.0),
    (("edge", "cloud"), (0.25,), 0.4, 0.3),
    (("device", "edge", "device"), (0.25, 0.75), 0.1, 0.0),
    (("device", "cloud"), (0.6,), 0.0, 0.0),
    (("device", "edge", "cloud"), (0.15, 0.4), 1.0, 0.0),
    (("edge", "device"), (0.7,), 0.4, 0.0),
    (("device", "cloud"), (0.15,), 1.0, 0.3),
    (("edge", "cloud", "edge"), (0.3, 0.8), 0.2, 0.0),
    (("device", "edge"), (0.75,), 0.0, 0.0),
)
STEADY: Figures = (("device", "edge"), (0.5,), 0.0, 0.0)
"""Looked at for long: nothing is left to the planner, so that it stays the same plan."""
FREE: tuple[tuple[float, str, float, float], ...] = (
    (0.0, "", 0.1, 0.0),
    (0.0, "cloud", 0.4, 0.5),
    (0.25, "", 1.0, 0.0),
    (0.0, "", 0.5, 1.0),
    (0.0, "edge", 0.4, 0.0),
    (0.0, "cloud", 1.0, 0.0),
)
"""Share of operators that stay on the source, forbidden node, noise, energy."""
CUTS_PER_FREE = 2


def wishes(problem: Problem, branches: Sequence[Sequence[str]] = ()) -> tuple[Wish, ...]:
    """Everything worth measuring of a model; of every three in a row two compute on two or more nodes.

    Args:
        problem: That a plan of the model exported.
        branches: Patterns of operators that may run side by side.
    """
    names = [name for entry in placed(problem) for name in entry.listed]
    cuts = [_cut(problem, names, figures) for figures in CUTS]
    cut = [wish for wish in cuts if len(wish.nodes) > 1]
    if branches:
        cut[1:1] = _side_by_side(branches)
    free = [
        Wish(_free_label(first, forbidden), (), round(first * len(names)), forbidden, energy, noise)
        for first, forbidden, noise, energy in FREE
    ]
    mixed: list[Wish] = []
    waiting = iter(free)
    for index, wish in enumerate(cut):
        mixed.append(wish)
        if index % CUTS_PER_FREE == 0:
            mixed += islice(waiting, 1)
    mixed += waiting
    return tuple(mixed)


def steady_wish(problem: Problem) -> Wish:
    """A plan on two nodes of which nothing can change by itself."""
    return _cut(problem, [name for entry in placed(problem) for name in entry.listed], STEADY)


def schedule(
    wished: Mapping[str, Sequence[Wish]], plans: int, rates: Sequence[float], seed: int
) -> tuple[list[Visit], list[Visit]]:
    """The order of visits, and spare ones that stand in for plans that turn out to be known or impossible.

    Rates fall from block to block, for TCP learns of a faster link only from traffic; within a block models and wishes
    are shuffled, and some are visited again at its end.

    Args:
        wished: Of each model.
        plans: How many different ones.
        rates: Factors on every link's rate, a block each.
        seed: Of the order.
    """
    mixer = random.Random(seed)
    turns = list(islice(cycle((rate, model) for rate in rates for model in wished), plans))
    visits: list[Visit] = []
    taken = dict.fromkeys(wished, 0)
    for rate in rates:
        block: list[Visit] = []
        for model, choice in wished.items():
            many = turns.count((rate, model))
            block += [Visit(model, choice[(taken[model] + step) % len(choice)], rate) for step in range(many)]
            taken[model] += many
        mixer.shuffle(block)
        again = [Visit(visit.model, visit.wish, rate, again=True) for visit in block[::AGAIN_EVERY]]
        visits += [*block, *again]
    spare = [
        Visit(model, choice[(taken[model] + step) % len(choice)], rates[-1])
        for step in range(max(len(choice) for choice in wished.values()))
        for model, choice in wished.items()
    ]
    known = set(visits)
    return visits, [visit for visit in spare if visit not in known]


def _cut(problem: Problem, names: Sequence[str], figures: Figures) -> Wish:
    """Every operator pinned: the parts of a model on nodes in turn."""
    nodes, depths, noise, energy = figures
    pieces = parts(problem, depths, problem.source)
    on: dict[str, list[str]] = {}
    for node, piece in zip(nodes, pieces, strict=False):
        on.setdefault(node, []).extend(piece)
    pins = tuple((node, patterns_for(operators, names)) for node, operators in on.items())
    return Wish("|".join(nodes[: len(pieces)]), pins, energy=energy, noise=noise)


def _side_by_side(branches: Sequence[Sequence[str]]) -> list[Wish]:
    """Branches on different nodes, the rest where it pays."""
    orders = (("edge", "cloud"), ("device", "cloud"))
    return [
        Wish(
            f"branches on {' and '.join(nodes)}",
            tuple((node, tuple(patterns)) for node, patterns in zip(cycle(nodes), branches, strict=False)),
            energy=energy,
            noise=0.5,
        )
        for nodes, energy in zip(orders, (1.0, 0.0), strict=True)
    ]


def _free_label(first: float, forbidden: str) -> str:
    return " ".join(
        filter(None, (f"first {first:.0%} here" if first else "free", forbidden and f"without {forbidden}"))
    )
