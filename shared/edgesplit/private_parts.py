"""Private parts of other libraries: the versions that each use of one was tried with.

Owns: the comparison. Its rule: a file that uses what a library does not promise says so with a `TriedWith`, asks it, and
has another way where the installed version is none of those. pyproject.toml bounds the versions likewise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["TriedWith"]


@dataclass(frozen=True)
class TriedWith:
    """Versions of one library.

    Attributes:
        library: As people know it.
        least: The oldest that was tried, such as `0.11`.
        below: The first that was not, such as `0.13`.
    """

    library: str
    least: str
    below: str

    def covers(self, version: str) -> bool:
        """Whether an installed version is among them, told by its leading numbers."""
        return _numbers(self.least) <= _numbers(version) < _numbers(self.below)

    def text(self, version: str) -> str:
        """Why the private part is not used, for a log."""
        return f"{self.library} {version} was never tried here (from {self.least}, below {self.below})"


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found.group(0).split(".")) if found else ()
