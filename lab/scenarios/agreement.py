"""What the tables of a scenario must agree on: names, files, links, subsets.

Owns: the checks and their sentences. Its rule: the first disagreement found is told, with its place and what to write. Not here:
what a single value must be (`scenario.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import zoo
from lab.scenarios.scenario import (
    METHODS,
    Change,
    DelayChange,
    GoalsChange,
    LinkCut,
    LinkRestored,
    NodeDies,
    NodeHangs,
    RateChange,
    Scenario,
    Weights,
)
from lab.scenarios.toml_lines import Place

__all__ = ["Disagreement", "check"]

_RANDOM = re.compile(r"random-\d+")


class Disagreement(Exception):
    """Two values of a scenario do not fit.

    Attributes:
        place: Of the value to change.
    """

    def __init__(self, place: Place, sentence: str) -> None:
        super().__init__(sentence)
        self.place = place


def check(scenario: Scenario, folder: Path) -> None:
    """Hold tables against each other.

    Raises:
        Disagreement: Two do not fit.
    """
    _machines(scenario)
    _links(scenario)
    _models(scenario, folder)
    _grid(scenario)
    _baselines(scenario)
    _dynamics(scenario)
    if scenario.grid is None and scenario.dynamics is None:
        raise Disagreement(
            (), "there is nothing to measure: write a [grid] table, or [dynamics] with [[change]] tables"
        )


def _machines(scenario: Scenario) -> None:
    _distinct(("machine",), "name", scenario.machines)
    if scenario.scenario.source:
        _known(("scenario", "source"), scenario.scenario.source, scenario.machines)


def _links(scenario: Scenario) -> None:
    seen: set[frozenset[str]] = set()
    for index, link in enumerate(scenario.link):
        place = ("link", index, "ends")
        for end in link.ends:
            _known(place, end, scenario.machines)
        pair = frozenset(link.ends)
        if len(pair) == 1:
            raise Disagreement(place, "a link has two different ends: write two names of machines")
        if pair in seen:
            raise Disagreement(place, "these two have a link already: leave this one out, it has both directions")
        seen.add(pair)


def _models(scenario: Scenario, folder: Path) -> None:
    for index, model in enumerate(scenario.model):
        given = [key for key, value in (("zoo", model.zoo), ("demo", model.demo), ("file", model.file)) if value]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise Disagreement(
                ("model", index), f"a model is one of zoo, demo and file, this one has {found}: write one"
            )
        if model.zoo:
            _known(("model", index, "zoo"), model.zoo, zoo.names(), "a topology of the zoo")
        for key, value in (("file", model.file), ("calibration", model.calibration)):
            if value and not (folder / value).is_file():
                place = ("model", index, key)
                raise Disagreement(place, f"there is no file {folder / value}: write a path relative to {folder}")
    _distinct(("model",), "name", [model.called for model in scenario.model])


def _grid(scenario: Scenario) -> None:
    if scenario.grid is None:
        return
    for index, nodes in enumerate(scenario.grid.configurations):
        place = ("grid", "configurations", index)
        for node in nodes:
            _known(place, node, scenario.machines)
        if scenario.source not in nodes:
            raise Disagreement(place, f"{scenario.source} is the source and takes part in all: add it")
        if len(set(nodes)) < len(nodes):
            raise Disagreement(place, "a machine is named twice: write each once")
    _weights(("grid", "weights"), scenario.grid.weights)
    if not scenario.grid.weights:
        raise Disagreement(("grid", "weights"), "there are no weights: write one pair at least, as [[1.0, 0.0]]")
    for index, model in enumerate(scenario.model):
        if not scenario.bounds(model):
            where: Place = ("grid", "max_noise") if model.max_noise is None else ("model", index, "max_noise")
            raise Disagreement(where, "there are no bounds: write one at least, as [0.0]")


def _baselines(scenario: Scenario) -> None:
    if scenario.baselines is None:
        return
    if scenario.grid is None:
        raise Disagreement(("baselines",), "baselines are compared with the cells of a [grid]: write one")
    for index, method in enumerate(scenario.baselines.methods):
        if not _RANDOM.fullmatch(method):
            _known(("baselines", "methods", index), method, METHODS, "a method")
        if method in {"device", "edge", "cloud"}:
            _known(("baselines", "methods", index), method, scenario.machines)
    _distinct(("baselines", "methods"), "", scenario.baselines.methods)
    for index, weights in enumerate(scenario.baselines.weights):
        if weights not in scenario.grid.weights:
            place = ("baselines", "weights", index)
            raise Disagreement(place, f"the grid has no weights {list(weights)}: write some that stand there")
    bounds = {bound for model in scenario.model for bound in scenario.bounds(model)}
    for index, bound in enumerate(scenario.baselines.max_noise or ()):
        if bound not in bounds:
            place = ("baselines", "max_noise", index)
            raise Disagreement(place, f"the grid has no bound {bound:g}: write some that stand there")


def _dynamics(scenario: Scenario) -> None:
    dynamics = scenario.dynamics
    if dynamics is None:
        if scenario.change:
            raise Disagreement(("change", 0), "changes need somebody to face them: write a [dynamics] table")
        return
    if dynamics.model:
        _known(("dynamics", "model"), dynamics.model, [model.called for model in scenario.model], "a model")
    _weights(("dynamics",), [dynamics.weights])
    _distinct(("dynamics", "strategies"), "", dynamics.strategies)
    for index, strategy in enumerate(dynamics.strategies):
        node = strategy.removeprefix("static:")
        if node not in {strategy, "split"}:
            _known(("dynamics", "strategies", index), node, scenario.machines)
    for index, change in enumerate(scenario.change):
        _change(scenario, index, change)
        if change.at_s >= dynamics.duration_s:
            raise Disagreement(
                ("change", index, "at_s"),
                f"nothing is watched at {change.at_s:g} s any more: write less than duration_s = {dynamics.duration_s:g}",
            )


def _change(scenario: Scenario, index: int, change: Change) -> None:
    match change:
        case RateChange() | DelayChange() | LinkCut() | LinkRestored():
            if frozenset(change.ends) not in {frozenset(link.ends) for link in scenario.link}:
                there = ", ".join("-".join(link.ends) for link in scenario.link) or "none"
                place = ("change", index, "ends")
                raise Disagreement(place, f"no [[link]] joins {' and '.join(change.ends)}; links are {there}")
        case GoalsChange():
            _weights(("change", index), [change.weights])
        case _:
            _known(("change", index, "node"), change.node, scenario.machines)
            if isinstance(change, NodeDies | NodeHangs) and change.node == scenario.source:
                place = ("change", index, "node")
                raise Disagreement(place, f"{change.node} is the source, and nobody would ask any more: take another")


def _weights(place: Place, pairs: Iterable[Weights]) -> None:
    for index, (latency, energy) in enumerate(pairs):
        if latency == energy == 0.0:
            where = (*place, index) if place[-1] == "weights" else (*place, "weights")
            raise Disagreement(where, "both weights are 0, which asks for nothing: write one above 0")


def _known(place: Place, name: str, names: Iterable[str], what: str = "a machine") -> None:
    known = list(names)
    if name not in known:
        raise Disagreement(place, f"{name!r} is not {what}: write one of {', '.join(known)}")


def _distinct(place: Place, key: str, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            where = (*place, index, key) if key else (*place, index)
            raise Disagreement(where, f"{name!r} stands there already: give each another name")
