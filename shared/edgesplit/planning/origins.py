"""Origins of figures (measured, modelled, configured), and what a sum of several is.

Owns: what origins there are, and the order of trust among origins. Its rule: a sum is as trustworthy as its weakest part. Not here: the figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

__all__ = ["STRENGTH", "Origin", "weakest"]

Origin = Literal["measured", "modelled", "configured"]

STRENGTH: dict[Origin, int] = {"configured": 0, "modelled": 1, "measured": 2}
"""More is better: a configured figure knows nothing of the machine, a modelled one its load, a measured one itself."""


def weakest(origins: Iterable[Origin]) -> Origin:
    """The origin of a sum of figures.

    Raises:
        ValueError: There are none.
    """
    return min(origins, key=lambda origin: STRENGTH[origin])
