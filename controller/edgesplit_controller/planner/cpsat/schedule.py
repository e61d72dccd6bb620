"""Scheduling inside the CP-SAT model (intervals, no-overlap, makespan), for the latency model `critical-path`.

Owns: start times, resources and the makespan. Its rule: what `timeline` simulates for a fixed plan, this decides
together with the plan, operator by operator; grouping operators afterwards never delays anything. Times are rounded
down, so that the least makespan in ticks is a lower bound of every plan's. Not here: places, flows, prices other than
latency's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from edgesplit_controller.planner.cpsat.minimisation import Model
from edgesplit_controller.planner.cpsat.objective import Makespan, Prices
from edgesplit_controller.planner.cpsat.solver_library import cp_model
from edgesplit_controller.planner.cpsat.variables import Var, Wire
from edgesplit_controller.planner.meaning.costs import Costs, Mode
from edgesplit_controller.planner.meaning.measures import LATENCY
from edgesplit_controller.planner.meaning.tolerance import ULP

__all__ = ["TICKS", "add_schedule", "worst_latency_s"]

TICKS = (2**33, 2**40, 2**47, 2**26)
"""Time units in the horizon. The first suffice for most scores and are the quickest to search; a
narrow range of the score needs finer ones, and beside a large energy integers have room for coarser ones only."""

Expression = cp_model.LinearExpr
Resource = int | tuple[int, int]


@dataclass(slots=True)
class _Schedule:
    """The model with its times in ticks."""

    model: cp_model.CpModel
    tick_s: float
    horizon: int
    makespan: Var
    starts: list[Var] = field(default_factory=list)
    durations: list[Expression] = field(default_factory=list)
    busy: dict[Resource, list[cp_model.IntervalVar]] = field(default_factory=dict)

    def ticks(self, seconds: float) -> int:
        """Seconds as time units, rounded down, so that no schedule is lost; what exceeds the horizon just does not fit."""
        return math.floor(min(seconds / self.tick_s * (1 - ULP), 2.0 * self.horizon))

    def time(self) -> Var:
        """A new point in time."""
        return self.model.new_int_var(0, self.horizon, "")

    def occupy(self, resource: Resource, start: Var, seconds: float, present: Var) -> None:
        """Something may keep a resource busy."""
        if self.ticks(seconds) > 0:
            interval = self.model.new_optional_fixed_size_interval_var(start, self.ticks(seconds), present, "")
            self.busy.setdefault(resource, []).append(interval)


def worst_latency_s(costs: Costs) -> float:
    """No schedule without idle time is longer. [s]"""
    int8_s = costs.quantized_compute[LATENCY]
    slowest_s = np.maximum(costs.compute[LATENCY], np.where(np.isfinite(int8_s), int8_s, 0.0))
    total_s = float(slowest_s.max(axis=1).sum())
    for tensor in costs.tensors:
        for mode in tensor.modes:
            for table in (mode.transfer[LATENCY], mode.encode[LATENCY]):
                total_s += float(table[np.isfinite(table)].sum())
    return total_s


def add_schedule(base: Model, horizon_s: float, ticks: int = TICKS[1]) -> Model:
    """Add times to a model and let latency mean its makespan.

    Args:
        base: A model of single operators, not merged into units.
        horizon_s: No plan of interest ends later. [s]
        ticks: Time units that makes.
    """
    tick_s = (horizon_s or 1.0) / ticks
    horizon = ticks + 1
    schedule = _Schedule(base.cpsat, tick_s, horizon, base.cpsat.new_int_var(0, horizon, ""))
    _add_compute(schedule, base)
    _add_order(schedule, base.costs)
    for wire in base.variables.wires:
        _add_wire(schedule, wire, base)
    for intervals in schedule.busy.values():
        if len(intervals) > 1:
            base.cpsat.add_no_overlap(intervals)
    measures = base.prices.measures.copy()
    measures[:, LATENCY] = 0.0
    prices = Prices(base.prices.terms, measures, Makespan(schedule.makespan, tick_s, horizon))
    return replace(base, prices=prices)


def _add_compute(schedule: _Schedule, base: Model) -> None:
    """Every operator keeps its node busy, as long as its precision takes there."""
    model, costs = schedule.model, base.costs
    loads: dict[int, list[tuple[Var, int]]] = {}
    for operator in range(len(costs.operators)):
        start = schedule.time()
        parts: list[tuple[Var, int]] = []
        for node, place in base.variables.place[int(base.reduction.unit_of[operator])].items():
            options = [(place, float(costs.compute[LATENCY, operator, node]))]
            quantized = base.variables.quantize.get(operator, {}).get(node)
            if quantized is not None:
                in_float = model.new_bool_var("")
                model.add(in_float + quantized == place)
                int8_s = float(costs.quantized_compute[LATENCY, operator, node])
                options = [(in_float, options[0][1]), (quantized, int8_s)]
            for present, seconds in options:
                schedule.occupy(node, start, seconds, present)
                parts.append((present, schedule.ticks(seconds)))
                loads.setdefault(node, []).append(parts[-1])
        schedule.starts.append(start)
        schedule.durations.append(_weighted(parts))
        model.add(schedule.makespan >= start + schedule.durations[-1])
    for parts in loads.values():
        model.add(schedule.makespan >= _weighted(parts))


def _weighted(parts: list[tuple[Var, int]]) -> Expression:
    return cp_model.LinearExpr.weighted_sum([var for var, _ in parts], [weight for _, weight in parts])


def _add_order(schedule: _Schedule, costs: Costs) -> None:
    """A consumer starts after its producer, wherever the two are."""
    edges = {(tensor.producer, consumer) for tensor in costs.tensors for consumer in tensor.consumers}
    for producer, consumer in sorted(edges):
        schedule.model.add(schedule.starts[consumer] >= schedule.starts[producer] + schedule.durations[producer])


def _add_wire(schedule: _Schedule, wire: Wire, base: Model) -> None:
    """Encoding, sending per receiver, decoding per receiver."""
    model, producer = schedule.model, wire.tensor.producer
    done = schedule.starts[producer] + schedule.durations[producer]
    leaves: Mapping[bool, Expression] = {True: schedule.time(), False: done}
    coded = any(mode.codec is not None for mode in wire.tensor.modes)
    if coded:
        model.add(leaves[True] >= done)
        for (node, index), offer in wire.carrier.offers.items():
            mode = wire.tensor.modes[index]
            if mode.codec is not None:
                _encode(schedule, mode, node, done=done, leaves=leaves[True], offer=offer)
    sends: dict[int, Var] = {}
    decodes: dict[int, Var] = {}
    for ((sender, index), receiver), sent in wire.sent.items():
        mode = wire.tensor.modes[index]
        if receiver not in sends:
            sends[receiver], decodes[receiver] = schedule.time(), schedule.time()
            model.add(sends[receiver] >= leaves[coded])
        schedule.occupy((sender, receiver), sends[receiver], float(mode.occupied_s[sender, receiver]), sent)
        transfer = schedule.ticks(float(mode.occupied_s[sender, receiver] + mode.latency_s[sender, receiver]))
        model.add(decodes[receiver] >= sends[receiver] + transfer).only_enforce_if(sent)
        schedule.occupy(receiver, decodes[receiver], float(mode.decode_s[receiver]), sent)
    _deliver(schedule, wire, base, decodes, done)


def _encode(
    schedule: _Schedule,
    mode: Mode,
    node: int,
    *,
    done: Expression,
    leaves: Expression,
    offer: Var,
) -> None:
    seconds = float(mode.encode[LATENCY, node])
    start = schedule.time()
    schedule.model.add(start >= done)
    schedule.model.add(leaves >= start + schedule.ticks(seconds)).only_enforce_if(offer)
    schedule.occupy(node, start, seconds, offer)


def _deliver(schedule: _Schedule, wire: Wire, base: Model, decodes: Mapping[int, Var], done: Expression) -> None:
    """Every reader elsewhere waits for the tensor's arrival and decoding."""
    for flow in wire.flows:
        reader = base.reduction.units[flow.unit][0]
        arrivals: list[tuple[Var, int]] = []
        for ((sender, index), node), joint in flow.joint.items():
            if sender == node:
                continue
            mode = wire.tensor.modes[index]
            decode = schedule.ticks(float(mode.decode_s[node]))
            schedule.model.add(schedule.starts[reader] >= decodes[node] + decode).only_enforce_if(joint)
            seconds = mode.transfer[LATENCY, sender, node] + mode.encode[LATENCY, sender]
            # Three ticks less: the parts are rounded down one by one.
            arrivals.append((joint, max(0, schedule.ticks(float(seconds)) - 3)))
        if arrivals:
            # The same in one row for the linear relaxation.
            schedule.model.add(schedule.starts[reader] >= done + _weighted(arrivals))
