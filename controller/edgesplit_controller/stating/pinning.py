"""Pinning: from pins as people state them to the nodes each unit may run on.

Owns: which operators a pin selects and what several pins leave of a unit's choice. Its rule: pure; a unit is placed as
a whole, so a pin on one of its operators is a pin on all of them. Not here: keeping pins (`stating/goals.py`), solving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgesplit.errors import InvalidInput, PlanInfeasible
from edgesplit.planning.goals import PinRule
from edgesplit_controller.graph.model_graph import ModelGraph

__all__ = ["PinReach", "allowed_nodes", "check_rule", "reach", "selected"]

EXAMPLES = 3
"""Operator names quoted where a pattern matches none."""


@dataclass(frozen=True)
class PinReach:
    """What a pin reaches.

    Attributes:
        selector: The pin as it is typed.
        nodes: Where the operators may run.
        operators: Those it selects, in topological order.
        units: Their units, which are placed as a whole.
        also: Operators it does not select but that share a unit with one it does.
    """

    selector: str
    nodes: tuple[str, ...]
    operators: tuple[str, ...]
    units: tuple[str, ...]
    also: tuple[str, ...]


def selected(graph: ModelGraph, rule: PinRule) -> tuple[str, ...]:
    """The operators a pin selects, in topological order."""
    match rule.kind:
        case "pattern":
            # A name may hold brackets, which a pattern reads as a choice of signs: its own name always selects it.
            return tuple(
                entry.name
                for entry in graph.operators
                if entry.name == rule.pattern or fnmatchcase(entry.name, rule.pattern)
            )
        case "first":
            return tuple(entry.name for entry in graph.operators[: rule.first])
        case "input":
            inputs = set(graph.inputs)
            return tuple(entry.name for entry in graph.operators if inputs.intersection(entry.inputs))


def check_rule(model: str, graph: ModelGraph, rule: PinRule) -> None:
    """Refuse a pin that selects nothing.

    Raises:
        InvalidInput: No operator of the model is selected, or more are asked for than there are.
    """
    count = len(graph.operators)
    if rule.kind == "first" and not 1 <= rule.first <= count:
        raise InvalidInput(f"--first {rule.first} cannot be: {model} has {count} operators, name 1 to {count} of them")
    if selected(graph, rule):
        return
    if rule.kind == "input":
        raise InvalidInput(f"no operator of {model} reads its inputs: there is nothing to pin")
    some = ", ".join(entry.name for entry in graph.operators[:EXAMPLES])
    raise InvalidInput(f"no operator of {model} is named like {rule.pattern!r}: its names are such as {some}")


def reach(graph: ModelGraph, rule: PinRule, source: str | None) -> PinReach:
    """What a pin reaches.

    Args:
        graph: The model.
        rule: The pin.
        source: Stands in where the pin names no node; None while there is none.
    """
    operators = selected(graph, rule)
    asked = set(operators)
    units = [unit for unit in graph.units if asked.intersection(unit.operators)]
    also = {operator for unit in units for operator in unit.operators} - asked
    return PinReach(
        selector=rule.selector,
        nodes=rule.nodes or ((source,) if source is not None else ()),
        operators=operators,
        units=tuple(unit.name for unit in units),
        also=tuple(entry.name for entry in graph.operators if entry.name in also),
    )


def allowed_nodes(
    model: str, graph: ModelGraph, rules: Sequence[PinRule], source: str, usable: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The nodes each pinned unit may run on now.

    Args:
        model: Its name, for the sentence.
        graph: Its units.
        rules: The pins; one that selects nothing any more (the model was replaced) has no effect.
        source: Where pins without nodes keep their operators, and where units stay that make an output of open size.
        usable: Nodes a plan may use now.

    Returns:
        Unit to nodes, for pinned units only.

    Raises:
        PlanInfeasible: Pins contradict each other, or none of their nodes can be used.
    """
    allowed: dict[str, tuple[str, ...]] = {unit.name: (source,) for unit in graph.units if unit.at_source}
    said = dict.fromkeys(allowed, "its output's size depends on the data, so it stays on the source")
    for rule in rules:
        pinned = reach(graph, rule, source)
        for unit in pinned.units:
            before = allowed.get(unit)
            both = tuple(node for node in pinned.nodes if before is None or node in before)
            text = f"{pinned.selector} is pinned to {', '.join(pinned.nodes)}"
            if not both:
                raise PlanInfeasible(
                    f"{model} has no plan: the pins of unit {unit} contradict each other ({said[unit]}; {text}): "
                    "lift one with splitctl unpin"
                )
            allowed[unit], said[unit] = both, text
    for unit, nodes in allowed.items():
        if not set(nodes).intersection(usable):
            raise PlanInfeasible(
                f"{model} has no plan: {said[unit]}, which no plan can use now (offline, forbidden, drained, left out by --on or of another site, "
                "not profiled, or without links): bring a node back, or lift the pin with splitctl unpin"
            )
    return {unit: tuple(node for node in nodes if node in usable) for unit, nodes in allowed.items()}
