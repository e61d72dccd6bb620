"""Peers: between which nodes links have to be measured.

Owns: this derivation. Its rule: pure; a link counts where a plan of some deployment could send over it, and in a small fleet where a
deployment that may come could. Not here: which nodes those are (`candidates.py`), telling agents (`deciding/measured_links.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

__all__ = ["among_sites", "peers_of_groups"]


def peers_of_groups(groups: Iterable[Collection[str]]) -> dict[str, frozenset[str]]:
    """The peers of each node, given sets of nodes within which plans may send from any to any other."""
    found: dict[str, set[str]] = {}
    for group in dict.fromkeys(map(frozenset, groups)):
        for name in group:
            found.setdefault(name, set()).update(group)
    return {name: frozenset(peers - {name}) for name, peers in found.items()}


def among_sites(sites: Mapping[str, str]) -> tuple[frozenset[str], ...]:
    """Sets of nodes that any deployment could use together: those of each site with those of none.

    Args:
        sites: Node to its site; empty for one that all share.
    """
    shared = frozenset(name for name, site in sites.items() if not site)
    named = {site for site in sites.values() if site}
    return tuple(frozenset(name for name, site in sites.items() if site == one) | shared for one in sorted(named)) or (
        shared,
    )
