"""Facts of a graph that are worked out once.

Owns: `once_per_graph`. Its rule: only for pure functions, whose results nobody changes; a result lives as long as its
graph. Not here: the facts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from edgesplit_controller.graph.model import ModelGraph

__all__ = ["once_per_graph"]

P = ParamSpec("P")
R = TypeVar("R")


def once_per_graph(
    function: Callable[Concatenate[ModelGraph, P], R],
) -> Callable[Concatenate[ModelGraph, P], R]:
    """Remember what a function of a graph and of hashable, positional arguments returned."""
    known: WeakKeyDictionary[ModelGraph, dict[Hashable, R]] = WeakKeyDictionary()

    @functools.wraps(function)
    def remembered(graph: ModelGraph, *arguments: P.args, **named: P.kwargs) -> R:
        results = known.setdefault(graph, {})
        if arguments not in results:
            results[arguments] = function(graph, *arguments, **named)
        return results[arguments]

    return remembered
