"""Keepers of the archive: which nodes keep the controller's records.

Owns: this choice. Its rule: pure; the sources of what is deployed keep them, since a model matters as long as its source lives,
and some others, so that one node's loss loses nothing; who keeps them goes on keeping them. Not here: what is kept (`pieces.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

__all__ = ["chosen_keepers"]

LEAST = 3
"""Nodes that are there and keep the records, where there are so many."""
MOST = 8
"""A thousand nodes need not keep a thousand copies."""


def chosen_keepers(
    sources: Iterable[str], before: Sequence[str], *, able: Collection[str], known: Collection[str]
) -> tuple[str, ...]:
    """The nodes that shall keep the records, in alphabetical order.

    Args:
        sources: Of what is deployed.
        before: Who kept them until now.
        able: Nodes that are there, and whose blobs the controller can fetch.
        known: Nodes that ever registered: one that is away keeps what it has.
    """
    keepers = dict.fromkeys(sorted(node for node in sources if node in able))
    keepers |= dict.fromkeys(node for node in before if node in known)
    names = list(keepers)[:MOST]
    for node in sorted(able):
        if len([name for name in names if name in able]) >= LEAST or len(names) >= MOST:
            break
        if node not in names:
            names.append(node)
    return tuple(sorted(names))
