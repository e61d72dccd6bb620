"""Memoised facts of a graph that are worked out once.

Owns: `once_per_graph`. Its rule: only for pure functions, whose results nobody changes; a result lives as long as its
graph. Not here: the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

from edgesplit_controller.graph.model_graph import ModelGraph

__all__ = ["once_per_graph"]

Arguments = TypeVarTuple("Arguments")
R = TypeVar("R")


def once_per_graph(
    function: Callable[[ModelGraph, *Arguments], R],
) -> Callable[[ModelGraph, *Arguments], R]:
    """Remember what a function of a graph and of hashable arguments returned."""
    known: WeakKeyDictionary[ModelGraph, dict[Hashable, R]] = WeakKeyDictionary()

    def remembered(graph: ModelGraph, *arguments: *Arguments) -> R:
        results = known.setdefault(graph, {})
        if arguments not in results:
            results[arguments] = function(graph, *arguments)
        return results[arguments]

    return remembered
