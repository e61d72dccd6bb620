"""Origins of figures (measured, modelled, configured), and what a sum of several is.

Owns: the order of trust among origins. Its rule: a sum is as trustworthy as its weakest part. Not here: the figures.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgesplit.control.messages import Origin

__all__ = ["STRENGTH", "weakest"]

STRENGTH: dict[Origin, int] = {"configured": 0, "modelled": 1, "measured": 2}
"""More is better: a configured figure knows nothing of the machine, a modelled one its load, a measured one itself."""


def weakest(origins: Iterable[Origin]) -> Origin:
    """The origin of a sum of figures.

    Raises:
        ValueError: There are none.
    """
    return min(origins, key=lambda origin: STRENGTH[origin])
