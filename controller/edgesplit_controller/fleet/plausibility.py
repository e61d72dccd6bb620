"""Plausibility checks: what arrives about nodes is checked before anything believes it.

Owns: whether a message fits its topic, speaks of epochs that were handed out, and holds figures that can be. Its rule:
no clock and no connection; an answer is why a message is ignored, or nothing. Anybody who may write to the broker can write anything there:
a number from outside never becomes a number of the controller's own. Not here: decoding (`edgesplit.mqtt.bus`), what
believed messages lead to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from edgesplit.control.event_messages import EVENT, Event
from edgesplit.errors import InvalidInput
from edgesplit.mqtt.topic import Topic
from edgesplit.names import checked_model, checked_name

__all__ = ["MOST_NODES", "Plausibility", "event_doubt"]

MOST_NODES = 2000
"""Names beyond are nobody's: a fleet has some hundreds. A broker that lets strangers write lets them write many."""
MOST_STRANGE_MODELS = 64
"""Names of models that were never added here and that nodes may speak of all the same."""
MOST = 1e18
"""No second, byte, watt or joule of a node comes near."""
_LAST_S = 253_402_300_800.0
"""The year 10000. [s since the epoch]"""
_EPOCHS = frozenset({"epoch", "serving"})
"""Keys of all messages that name an epoch."""


class Plausibility:
    """What one controller believes.

    Args:
        highest_epoch: The highest number handed out of a model; 0 for none.
        known: Names of nodes that were heard of.
        knows_model: Whether a model of that name was added, or a plan of it was ever made.
        most_nodes: Names beyond are nobody's.
    """

    def __init__(
        self,
        highest_epoch: Callable[[str], int],
        known: Callable[[], Collection[str]],
        knows_model: Callable[[str], bool] = lambda _: True,
        most_nodes: int = MOST_NODES,
    ) -> None:
        self._highest_epoch = highest_epoch
        self._known = known
        self._knows_model = knows_model
        self._most_nodes = most_nodes
        self._strange_models: set[str] = set()

    def doubt(self, row: Topic[Any], topic: str, message: msgspec.Struct | None) -> str:
        """Why a message about a node is ignored; empty if it is believed."""
        named = dict(zip(row.placeholders, row.names(topic), strict=True))
        try:
            for what, name in named.items():
                checked_model(name) if what == "model" else checked_name(what, name)
        except InvalidInput as error:
            return str(error)
        node, model = named["node"], named.get("model", "")
        if node not in self._known() and len(self._known()) >= self._most_nodes:
            return f"{self._most_nodes} nodes are known already: remove those that are gone (splitctl node remove)"
        if model and not self._may_be_model(model):
            return f"{model!r} is no model here, and {MOST_STRANGE_MODELS} others were named that are none"
        if message is None:
            return ""
        said = getattr(message, "node", node), getattr(message, "model", model)
        if said != (node, model or said[1]):
            return f"it says that it is of node {said[0]!r}" + (f" and model {said[1]!r}" if model else "")
        if not model and _is_plain(message):
            figures: list[tuple[str, float]] = []  # what nodes say of themselves every second has no epochs in it
        else:
            figures = list(_figures("", msgspec.to_builtins(message)))
        return self._epoch_doubt(model, figures) or _figure_doubt(row, figures)

    def _may_be_model(self, name: str) -> bool:
        """Whether it is one that was added, or one of few others: what the broker kept may be older than the store."""
        if name in self._strange_models or self._knows_model(name):
            return True
        if len(self._strange_models) >= MOST_STRANGE_MODELS:
            return False
        self._strange_models.add(name)
        return True

    def _epoch_doubt(self, model: str, figures: list[tuple[str, float]]) -> str:
        epochs = [figure for name, figure in figures if _key(name) in _EPOCHS]
        highest = self._highest_epoch(model) if epochs else 0
        strange = next((epoch for epoch in epochs if not 1 <= epoch <= highest), None)
        if strange is None:
            return ""
        handed_out = f"the last one handed out is {highest}" if highest else "none was handed out"
        return f"it speaks of epoch {strange} of {model}, and {handed_out}"


def event_doubt(topic: str, event: Event) -> str:
    """Why an event is ignored; empty if it is believed."""
    if (event.origin,) != EVENT.names(topic):
        return f"it says that it is of {event.origin[:100]!r}"
    if not 0 <= event.at_unix_s < _LAST_S:
        return f"it says that it happened {event.at_unix_s:g} s after 1970, which no clock shows"
    return ""


def _figure_doubt(row: Topic[Any], figures: list[tuple[str, float]]) -> str:
    for name, figure in figures:
        least = -MOST if _key(name) in row.signed else 0
        if not (math.isfinite(figure) and least <= figure <= MOST):
            return f"{name} is {figure:g}, which cannot be"
    return ""


def _is_plain(value: Any) -> bool:
    """Whether no number in it is below zero, above what can be, or none."""
    if isinstance(value, bool | str) or value is None:
        return True
    if isinstance(value, int | float):
        return 0 <= value <= MOST
    if isinstance(value, msgspec.Struct):
        return all(_is_plain(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    return isinstance(value, list | tuple) and all(map(_is_plain, value))


def _key(name: str) -> str:
    return name.rpartition(".")[2]


def _figures(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Every number of a message with where it stands."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _figures(f"{name}.{key}" if name else str(key), part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _figures(name, part)
