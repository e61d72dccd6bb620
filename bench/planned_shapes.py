"""Planning shapes of one model under load: plans of each in turn, shapes that come and go, and which of them served.

Owns: the shapes, the order of changes, and which shape should have served a request. Its rule: a request counts as served by the
wrong shape only if no shape came or went while it was under way. Not here: roll-outs (`live_rollouts.py`), callers, the verdict
(`switching.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from bench.callers import Answer
from bench.live_rollouts import PlanRoller, Switch
from bench.random_plans import NODES, PlacedPlan, placed_plan, placement_problem, random_plan
from edgesplit.names import variant_name
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph

__all__ = ["FIRST_EPOCHS", "PlannedShape", "ServedShapes", "planned_shapes"]

FIRST_EPOCHS = 100_000
"""Between the numbers of two shapes' plans, so that an epoch tells its shape."""
COMES_AND_GOES = 5
"""Every so many changes a shape goes, and as many later it comes again."""


@dataclass
class PlannedShape:
    """One planning shape and its plans.

    Attributes:
        number: From 0 on; the first is the model's own.
        plans: Take turns.
        shown: How many were rolled out.
    """

    number: int
    name: str
    graph: ModelGraph
    plans: Sequence[PlacedPlan]
    local: PlacedPlan
    shown: int = 0

    async def roll_out_next(self, roller: PlanRoller) -> tuple[Switch, int]:
        """Serve the next plan; the change, and which plan it was."""
        plan, first = self.shown % len(self.plans), self.number * FIRST_EPOCHS
        self.shown += 1
        epoch = first + 1 + self.shown
        specs = {node: msgspec.structs.replace(spec, epoch=epoch) for node, spec in self.plans[plan].specs.items()}
        local = msgspec.structs.replace(self.local.specs[NODES[0]], epoch=first + 1)
        return await roller.roll_out(self.name, self.graph, specs, local), self.number * len(self.plans) + plan


def planned_shapes(
    model: str, graphs: Sequence[ModelGraph], blobs: BlobStore, *, distinct: int, addresses: Mapping[str, str]
) -> list[PlannedShape]:
    """Random plans of few components each, as a controller makes them, for every planning shape.

    Args:
        model: Its name.
        graphs: At each shape, the model's own first.
        blobs: Hold the weights; receive graphs of components.
        distinct: Plans of each shape.
        addresses: Data-plane addresses of the nodes.
    """
    shapes: list[PlannedShape] = []
    for number, graph in enumerate(graphs):
        seeds = range(1 + 1000 * number, 1 + 1000 * number + 2 * distinct, 2)
        plans = [random_plan(graph, blobs, seed, addresses=addresses) for seed in seeds]
        here = placed_plan(graph, blobs, placement_problem(graph, NODES), {}, addresses=addresses)
        shapes.append(PlannedShape(number, variant_name(model, number + 1), graph, plans, here))
    return shapes


@dataclass
class ServedShapes:
    """When each planning shape served.

    Attributes:
        spans: Number of a shape, and from when to when it served. [s]
        changing: When shapes came or went: begin and end. [s]
        comings: How many came or went under load.
    """

    shapes: Sequence[PlannedShape]
    spans: list[tuple[int, float, float]] = field(default_factory=list[tuple[int, float, float]])
    changing: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    comings: int = 0
    _since_s: dict[int, float] = field(default_factory=dict[int, float])

    @property
    def is_whole(self) -> bool:
        """Whether all shapes serve."""
        return len(self._since_s) == len(self.shapes)

    @property
    def away(self) -> PlannedShape:
        """A shape that does not serve."""
        return next(shape for shape in self.shapes if shape.number not in self._since_s)

    def turns(self) -> Iterator[PlannedShape | None]:
        """Whose plan changes next, for ever; None: a further shape goes, or the one that went comes again."""
        if len(self.shapes) == 1:
            yield from itertools.repeat(self.shapes[0])
        for turn in itertools.count(1):
            there = [shape for shape in self.shapes if shape.number in self._since_s]
            yield None if turn % COMES_AND_GOES == 0 else there[turn % len(there)]

    async def settle(self, roller: PlanRoller) -> list[tuple[Switch, int]]:
        """Have all shapes serve their first plan, so that what nodes hold can be compared with another time; the changes."""
        done: list[tuple[Switch, int]] = []
        for shape in self.shapes:
            shape.shown += -shape.shown % len(shape.plans)
            done.append(await self.roll_out(shape, roller))
        return done

    async def withdraw(self, roller: PlanRoller) -> Switch:
        """Take a further shape away, another one each time."""
        further = self.shapes[1:]
        shape = further[len(self.spans) % len(further)]
        switch = await roller.withdraw(shape.name)
        self.spans.append((shape.number, self._since_s.pop(shape.number), switch.began_s))
        self._changed(switch)
        return switch

    async def roll_out(self, shape: PlannedShape, roller: PlanRoller) -> tuple[Switch, int]:
        """Serve a shape's next plan; it comes where it did not serve."""
        switch, plan = await shape.roll_out_next(roller)
        if shape.number not in self._since_s:
            self._since_s[shape.number] = switch.activated_s
            self._changed(switch)
        return switch, plan

    def misplaced(self, answers: Sequence[Answer], asked: Sequence[Mapping[str, tuple[int, ...]]]) -> int:
        """Requests that another shape served than the nearest of those that were there."""
        now_s = max((answer.done_s for answer in answers), default=0.0)
        spans = [*self.spans, *((number, since_s, now_s + 1.0) for number, since_s in self._since_s.items())]
        wrong = 0
        for answer in answers:
            if answer.failed or any(a_s < answer.done_s and b_s > answer.sent_s for a_s, b_s in self.changing):
                continue
            there = [number for number, from_s, to_s in spans if from_s <= answer.sent_s and answer.done_s <= to_s]
            sizes = asked[answer.number % len(asked)]
            far = {number: _distance(sizes, self.shapes[number].graph) for number in sorted(there)}
            wrong += bool(far) and answer.epoch // FIRST_EPOCHS != min(far, key=far.__getitem__)
        return wrong

    def _changed(self, switch: Switch) -> None:
        self.changing.append((switch.began_s, switch.retired_s))
        self.comings += 1


def _distance(sizes: Mapping[str, tuple[int, ...]], graph: ModelGraph) -> float:
    return sum(
        abs(math.log(size / planned))
        for name, shape in sizes.items()
        for size, planned in zip(shape, graph.tensors[name].shape, strict=True)
    )
