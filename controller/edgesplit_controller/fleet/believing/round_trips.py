"""Round trips of links: which of a link's two ends knows it better now.

Owns: when each end's figure last became another one. Its rule: both ends measure the same round trip, so where they disagree the one that
changed last is right: a longer way takes an end some pings in a row to believe, and the two do not begin at once. Not here: what else
nodes say of links (`registry.py`), measuring (agents).
"""

from __future__ import annotations

from itertools import count

import msgspec

from edgesplit.control.figure_messages import LinkMetrics, LinkState
from edgesplit.significance import LATENCY_FLOOR_S, REPLAN_CHANGE, differs

__all__ = ["RoundTrips"]


class RoundTrips:
    """Of all links, by the node that measures and its peer."""

    def __init__(self) -> None:
        self._turns = count(1)
        self._said: dict[str, dict[str, tuple[LinkState, float, int]]] = {}

    def take(self, node: str, links: LinkMetrics | None) -> None:
        """What a node says of its links now; None: nothing any more."""
        before = self._said.pop(node, {})
        if links is None:
            return
        kept: dict[str, tuple[LinkState, float, int]] = {}
        for link in links.links:
            _, latency_s, turn = before.get(link.to, (link, 0.0, 0))
            if not turn or _differs(latency_s, link.latency_s):
                latency_s, turn = link.latency_s, next(self._turns)
            kept[link.to] = link, latency_s, turn
        self._said[node] = kept

    def newest(self, node: str, link: LinkState) -> LinkState:
        """A node's link with the latency that the end that changed last found.

        Args:
            node: That says so.
            link: It, as that node says.
        """
        own, other = self._said.get(node, {}).get(link.to), self._said.get(link.to, {}).get(node)
        if own is None or other is None or other[2] < own[2] or not other[0].up:
            return link
        if not _differs(link.latency_s, other[0].latency_s):
            return link
        return msgspec.structs.replace(link, latency_s=other[0].latency_s, latency_error_s=other[0].latency_error_s)


def _differs(before_s: float, now_s: float) -> bool:
    return differs(before_s, now_s, REPLAN_CHANGE, LATENCY_FLOOR_S)
