"""What arrives about nodes is checked before anything believes it.

Owns: whether a message fits its topic, speaks of epochs that were handed out, and holds figures that can be. Its rule:
pure; an answer is why a message is ignored, or nothing. Anybody who may write to the broker can write anything there:
a number from outside never becomes a number of the controller's own. Not here: decoding (`edgesplit.mqtt.bus`), what
believed messages lead to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from edgesplit.control import topics
from edgesplit.control.figure_messages import Usage
from edgesplit.control.noise_messages import NoiseReport
from edgesplit.control.plan_messages import Observed
from edgesplit.control.profile_messages import LiveTimings
from edgesplit.errors import InvalidInput
from edgesplit.names import checked_name

__all__ = ["MOST_NODES", "Credence"]

MOST_NODES = 2000
"""Names beyond are nobody's: a fleet has some hundreds. A broker that lets strangers write lets them write many."""
MOST = 1e18
"""No second, byte, watt or joule of a node comes near."""
_ANY_SIGN = frozenset({"idle_w", "drawn_w", "mean", "max", "last"})
"""Sensors drift below zero, and a user's own noise metric may be anything."""


class Credence:
    """What one controller believes.

    Args:
        highest_epoch: The highest number handed out of a model; 0 for none.
        known: Names of nodes that were heard of.
    """

    def __init__(self, highest_epoch: Callable[[str], int], known: Callable[[], Collection[str]]) -> None:
        self._highest_epoch = highest_epoch
        self._known = known

    def doubt(self, topic: str, message: msgspec.Struct | None) -> str:
        """Why a message about a node is ignored; empty if it is believed."""
        node, model = topics.node_and_model(topic)
        try:
            checked_name("node", node)
            if model:
                checked_name("model", model)
        except InvalidInput as error:
            return str(error)
        if node not in self._known() and len(self._known()) >= MOST_NODES:
            return f"{MOST_NODES} nodes are known already: remove those that are gone (splitctl node remove)"
        if message is None:
            return ""
        said = getattr(message, "node", node), getattr(message, "model", model)
        if said != (node, model or said[1]):
            return f"it says that it is of node {said[0]!r}" + (f" and model {said[1]!r}" if model else "")
        return self._epoch_doubt(model, message) or _figure_doubt(message)

    def _epoch_doubt(self, model: str, message: msgspec.Struct) -> str:
        highest = self._highest_epoch(model)
        strange = next((epoch for epoch in _epochs(message) if not 1 <= epoch <= highest), None)
        if strange is None:
            return ""
        handed_out = f"the last one handed out is {highest}" if highest else "none was handed out"
        return f"it speaks of epoch {strange} of {model}, and {handed_out}"


def _epochs(message: msgspec.Struct) -> Iterator[int]:
    match message:
        case Observed():
            yield from (state.epoch for state in message.epochs)
            if message.serving is not None:
                yield message.serving
        case Usage() | NoiseReport():
            yield message.epoch
        case LiveTimings():
            yield from (part.epoch for part in message.components)
        case _:
            return


def _figure_doubt(message: msgspec.Struct) -> str:
    for name, figure in _figures("", msgspec.to_builtins(message)):
        least = -MOST if name.rpartition(".")[2] in _ANY_SIGN else 0
        if not (math.isfinite(figure) and least <= figure <= MOST):
            return f"{name} is {figure:g}, which cannot be"
    return ""


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
