"""The flow formulation as a linear program: what CP-SAT is given, without integrality.

Owns: its columns and rows, and what its duals say about choices and its optimum about a plan. Its rule: whatever it bounds holds for every plan
of the problem. Not here: solving (`linear/highs.py`), which choices go (`bounds/presolve.py`).

For an edge from a producer to a consumer, a column says that the producer sits on `a`, its tensor is in mode `k`, and the consumer sits on
`b`; its marginals are tied to both ends, which leaves the relaxation almost integral. A choice is bounded by the program's bound plus the
reduced cost of its own column and, for each of its edges, the least reduced cost among the columns that have it: of these, one must be taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.presolve import Bounds
from edgesplit_controller.planner.flows.rows import Rows
from edgesplit_controller.planner.linear.highs import LinearAnswer, LinearProgram
from edgesplit_controller.planner.meaning.costs import Costs, WireTensor
from edgesplit_controller.planner.meaning.indexed_plan import Plan, cheapest_modes, measured
from edgesplit_controller.planner.meaning.measures import NOISE, WEIGHED, SumLimit, WeightedSum

__all__ = ["FlowProgram"]

Floats = NDArray[np.float64]
Sender = tuple[int, int]
"""Node the producer sits on, and index of the tensor's mode."""


@dataclass(frozen=True, slots=True)
class _Edge:
    """A producer and one reader of its tensors.

    Attributes:
        producer: Its index.
        reader: Its index.
        senders: Node of the producer, per column.
        receivers: Node of the reader.
        columns: Of the joint choices.
    """

    producer: int
    reader: int
    senders: NDArray[np.intp]
    receivers: NDArray[np.intp]
    columns: NDArray[np.intp]


class FlowProgram:
    """Columns and rows of a problem.

    Args:
        costs: The problem's; operators in any order.
        patterns: Allowed quantization patterns; None leaves the noise to a linear relaxation of its polynomial.
        max_noise: The limit on noise, or None.
    """

    def __init__(self, costs: Costs, patterns: Patterns | None, max_noise: float | None) -> None:
        self._costs, self._patterns = costs, patterns
        self._rows = Rows(len(costs.sums))
        self._unsent = np.zeros(len(costs.sums) - costs.sent)
        self._place: list[dict[int, int]] = []
        self._int8: dict[int, dict[int, int]] = {}
        self._pattern: list[int] = []
        self._edges: list[_Edge] = []
        self._add_places()
        self._add_precisions(max_noise)
        self._add_tensors()
        self.costs = self._rows.costs()

    @property
    def columns(self) -> int:
        """How many there are."""
        return len(self.costs)

    def program(self, objective: WeightedSum, limits: Sequence[SumLimit]) -> LinearProgram:
        """With an objective and limits on measures; noise of operators is the patterns' or the polynomial's affair."""
        rows = [(self.costs[:, limit.measure], limit.bound) for limit in limits]
        return self._rows.program(self.costs[:, :WEIGHED] @ np.array(objective.weights), rows)

    def plan(self, answer: LinearAnswer, objective: WeightedSum) -> Plan | None:
        """The plan nearest to an optimum: every choice its largest share. None without an optimum."""
        values = answer.values
        if values is None:
            return None
        node = tuple(_largest(places, values) for places in self._place)
        quantized = frozenset(o for o, at in self._int8.items() if sum(float(values[c]) for c in at.values()) > 0.5)
        weights = np.zeros(len(self._costs.sums))
        weights[:WEIGHED] = objective.weights
        return measured(node, quantized, cheapest_modes(node, quantized, weights, self._costs), self._costs)

    @property
    def places(self) -> Sequence[dict[int, int]]:
        """Per operator, node to column."""
        return self._place

    @property
    def pattern(self) -> Sequence[int]:
        """Columns of the quantization patterns, in their order; none where they are not listed."""
        return self._pattern

    def bounds(self, answer: LinearAnswer) -> Bounds:
        """What the duals say about every choice."""
        excess = answer.excess
        operators, nodes = self._costs.allowed.shape
        least = np.full((operators, nodes), np.inf)
        for operator, places in enumerate(self._place):
            for node, column in places.items():
                least[operator, node] = answer.bound + excess[column]
        apart: dict[tuple[int, int], float] = {}
        for edge in self._edges:
            more = excess[edge.columns]
            for operator, ends in ((edge.producer, edge.senders), (edge.reader, edge.receivers)):
                each = np.full(nodes, np.inf)
                np.minimum.at(each, ends, more)
                least[operator] += each
            between = edge.senders != edge.receivers
            pair = edge.producer, edge.reader
            distance = answer.bound + float(more[between].min(initial=np.inf))
            apart[pair] = max(apart.get(pair, -np.inf), distance)
        pattern = answer.bound + excess[self._pattern] if self._pattern else None
        return Bounds(answer.bound, least, apart, pattern)

    # --- rows ------------------------------------------------------------------------------------------------------

    def _add_places(self) -> None:
        for operator, allowed in enumerate(self._costs.allowed):
            nodes = np.flatnonzero(allowed).tolist()
            places = {node: self._rows.column(self._costs.compute[:, operator, node]) for node in nodes}
            self._rows.equal(list(places.values()), value=1.0)
            self._place.append(places)

    def _add_precisions(self, max_noise: float | None) -> None:
        costs, rows = self._costs, self._rows
        able = costs.quantizable
        if self._patterns is not None:
            ever = np.atleast_1d(self._patterns.members.any(axis=0)).tolist()
            able = tuple(o for o, used in zip(self._patterns.operators, ever, strict=True) if used)
        for operator in able:
            more = costs.quantized_compute[:, operator] - costs.compute[:, operator]
            found: dict[int, int] = {}
            for node, place in self._place[operator].items():
                if np.isfinite(more[:, node]).all():
                    found[node] = rows.column(more[:, node])
                    rows.at_most([found[node]], [place])
            self._int8[operator] = found
        if self._patterns is None:
            self._add_polynomial(max_noise)
            return
        noises = np.zeros((len(self._patterns.noise), len(costs.sums)))
        noises[:, NOISE] = self._patterns.noise
        self._pattern = [rows.column(noise) for noise in noises]
        rows.equal(self._pattern, value=1.0)
        for column, operator in enumerate(self._patterns.operators):
            if operator in self._int8:
                members = [self._pattern[row] for row in np.flatnonzero(self._patterns.members[:, column]).tolist()]
                bits = list(self._int8[operator].values())
                (rows.at_most if self._patterns.closed_below else rows.equal)(bits, members)

    def _add_polynomial(self, max_noise: float | None) -> None:
        """The noise polynomial, its products relaxed; under a curve its linear lower bound alone."""
        costs, rows = self._costs, self._rows
        if max_noise is None or not self._int8:
            return
        noise = costs.noise
        columns: list[int] = []
        weights: list[float] = []
        bits = {operator: list(at.values()) for operator, at in self._int8.items()}
        if noise.curve is not None:
            for operator, at in bits.items():
                columns += at
                weights += [float(noise.slopes[operator])] * len(at)
            rows.weighed(columns, weights, max_noise - noise.offset)
            return
        any_ = rows.column()
        for at in bits.values():
            rows.at_most(at, [any_])
        rows.at_most([any_], [column for at in bits.values() for column in at])
        columns, weights = [any_], [noise.intercept]
        for members, coefficient in noise.terms:
            if not all(member in bits for member in members):
                continue
            if not members:
                columns, weights = [*columns, any_], [*weights, coefficient]
            elif len(members) == 1:
                at = bits[min(members)]
                columns, weights = [*columns, *at], [*weights, *[coefficient] * len(at)]
            else:
                product = rows.column()
                if coefficient < 0:
                    for member in sorted(members):
                        rows.at_most([product], bits[member])
                else:
                    rows.at_most([c for member in sorted(members) for c in bits[member]], [product], len(members) - 1.0)
                columns, weights = [*columns, product], [*weights, coefficient]
        rows.weighed(columns, weights, max_noise)

    def _add_tensors(self) -> None:
        """Tensors without a choice of modes share their producer's places, raw ones their producer's precision."""
        carriers: list[dict[Sender, int]] = []
        known: dict[tuple[int, int], int] = {}
        joint: dict[tuple[int, int], dict[tuple[Sender, int], int]] = {}
        for tensor in self._costs.tensors:
            coded = any(mode.codec is not None for mode in tensor.modes)
            key = (tensor.producer, len(tensor.modes))
            if coded or key not in known:
                carriers.append(self._offers(tensor))
                known[key] = len(carriers) - 1
            carrier = len(carriers) - 1 if coded else known[key]
            for reader in tensor.consumers:
                if (carrier, reader) not in joint:
                    joint[carrier, reader] = self._joined(tensor, carriers[carrier], reader)
            self._charge(tensor, [joint[carrier, reader] for reader in tensor.consumers])

    def _offers(self, tensor: WireTensor) -> dict[Sender, int]:
        """A tensor is on offer where its producer is, in one of the modes that the producer's precision allows."""
        places, rows, producer = self._place[tensor.producer], self._rows, tensor.producer
        if len(tensor.modes) == 1:
            return {(node, 0): column for node, column in places.items()}
        offers: dict[Sender, int] = {}
        for node, place in places.items():
            here: dict[int, int] = {}
            for index, mode in enumerate(tensor.modes):
                if np.isfinite(mode.encode[:, node]).all() and (mode.precision != "int8" or producer in self._int8):
                    cost = np.concatenate([mode.encode[:, node], self._unsent]) if mode.codec is not None else None
                    here[index] = offers[node, index] = rows.column(cost)
            rows.equal(list(here.values()), [place])
            int8 = self._int8.get(producer, {}).get(node)
            for precision, quantized in (("int8", True), ("float", False)):
                fitting = [column for index, column in here.items() if tensor.modes[index].precision == precision]
                if fitting and int8 is not None:
                    rows.at_most(fitting, [int8]) if quantized else rows.at_most([*fitting, int8], [place])
                elif fitting and quantized:
                    rows.at_most(fitting, [])
        return offers

    def _joined(self, tensor: WireTensor, offers: dict[Sender, int], reader: int) -> dict[tuple[Sender, int], int]:
        found = {
            (sender, node): self._rows.column()
            for sender in offers
            for node in self._place[reader]
            if np.isfinite(tensor.modes[sender[1]].transfer[0, sender[0], node])
        }
        by_sender: dict[Sender, list[int]] = {sender: [] for sender in offers}
        by_reader: dict[int, list[int]] = {node: [] for node in self._place[reader]}
        for (sender, node), column in found.items():
            by_sender[sender].append(column)
            by_reader[node].append(column)
        for sender, columns in by_sender.items():
            self._rows.equal(columns, [offers[sender]])
        for node, columns in by_reader.items():
            self._rows.equal(columns, [self._place[reader][node]])
        self._edges.append(
            _Edge(
                tensor.producer,
                reader,
                np.array([sender[0] for sender, _ in found], dtype=np.intp),
                np.array([node for _, node in found], dtype=np.intp),
                np.array(list(found.values()), dtype=np.intp),
            )
        )
        return found

    def _charge(
        self, tensor: WireTensor, flows: Sequence[dict[tuple[Sender, int], int]]
    ) -> dict[tuple[Sender, int], int]:
        """What crosses is paid: with one reader its flow itself, with several a column above all of theirs; these columns."""
        crossing: dict[tuple[Sender, int], list[int]] = {}
        for (sender, node), column in _all(flows):
            if sender[0] != node:
                crossing.setdefault((sender, node), []).append(column)
        paid: dict[tuple[Sender, int], int] = {}
        for ((at, index), node), columns in crossing.items():
            cost = np.concatenate([tensor.modes[index].transfer[:, at, node], self._unsent])
            if len(flows) == 1:
                self._rows.charge(columns[0], cost)
                sent = columns[0]
            else:
                sent = self._rows.column(cost)
                for column in columns:
                    self._rows.at_most([column], [sent])
            paid[(at, index), node] = sent
        return paid


def _all(flows: Sequence[dict[tuple[Sender, int], int]]) -> Iterator[tuple[tuple[Sender, int], int]]:
    for flow in flows:
        yield from flow.items()


def _largest(places: dict[int, int], values: Floats) -> int:
    """The node with the largest share of an operator."""
    return list(places)[int(values[list(places.values())].argmax())]
