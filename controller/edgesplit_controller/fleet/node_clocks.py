"""Clock offsets: clocks of nodes that differ from the controller's.

Owns: what is concluded from the times in nodes' messages. Its rule: pure; it only tells, once a difference, for nothing
is decided by a node's wall clock. Messages may come late: only a difference that all messages of a while show is one. Not
here: steps of the own clock (`edgesplit.daemon.clock_watch`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edgesplit.control.figure_messages import NodeMetrics
from edgesplit_controller.fleet.registry import FleetChange

__all__ = ["NodeClocks"]

DIFFERENT_S, ALIKE_S = 2.0, 1.0
"""From and up to where clocks differ, and agree. [s]"""
LEAST, SPAN_S = 4, 5.0
"""So many messages in a row, that came over so long a time, say how clocks differ. [1, s]"""


@dataclass
class _Heard:
    """Of one node.

    Attributes:
        samples: When a message came [s] and how far its time was ahead of the controller's [s].
        told_s: The difference people know of; 0 for none. [s]
    """

    instance: str
    samples: deque[tuple[float, float]] = field(default_factory=lambda: deque[tuple[float, float]](maxlen=LEAST))
    told_s: float = 0.0

    def offset_s(self) -> float | None:
        """How far the clock is ahead; None before enough was heard. A delay only makes it look further behind. [s]"""
        if len(self.samples) < LEAST or self.samples[-1][0] - self.samples[0][0] < SPAN_S:
            return None
        return max(offset_s for _, offset_s in self.samples)


class NodeClocks:
    """All nodes.

    Args:
        clock: Monotonic. [s]
        wall_clock: [s since the epoch]
    """

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._nodes: dict[str, _Heard] = {}

    def offset_s(self, node: str) -> float | None:
        """How far a node's clock is ahead of the controller's; None where that is not known. [s]"""
        heard = self._nodes.get(node)
        return heard.offset_s() if heard is not None else None

    def hear(self, node: str, metrics: NodeMetrics) -> tuple[FleetChange, ...]:
        """A node said what time it is."""
        heard = self._nodes.get(node)
        if heard is None or heard.instance != metrics.instance:
            told_s = heard.told_s if heard is not None else 0.0
            heard = self._nodes[node] = _Heard(metrics.instance, told_s=told_s)
        heard.samples.append((self._clock(), metrics.at_unix_s - self._wall_clock()))
        return tuple(_news(node, heard))

    def own_clock_stepped(self, step_s: float) -> None:
        """The controller's clock was set, which was told already: nodes did not change."""
        for heard in self._nodes.values():
            heard.samples.clear()
            heard.told_s -= step_s

    def forget(self, node: str) -> None:
        """A node is gone for good."""
        self._nodes.pop(node, None)


def _news(node: str, heard: _Heard) -> Iterator[FleetChange]:
    offset_s = heard.offset_s()
    if offset_s is None:
        return
    if abs(offset_s) <= ALIKE_S:
        if heard.told_s:
            heard.told_s = 0.0
            yield FleetChange("clock-agrees", node, f"the clock of node {node} agrees with the controller's again")
    elif abs(offset_s) >= DIFFERENT_S and abs(offset_s - heard.told_s) >= DIFFERENT_S:
        heard.told_s = offset_s
        side = "ahead of" if offset_s > 0 else "behind"
        text = (
            f"the clock of node {node} is {abs(offset_s):.3g} s {side} the controller's: nothing depends on it but the "
            "times shown of its events; let both take their time from the network (NTP)"
        )
        yield FleetChange("clock-differs", node, text, data={"offset_s": offset_s})
