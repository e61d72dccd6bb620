"""Formats of files: the number that a file of the controller carries, and the refusal of what a newer release wrote.

Owns: the sentence that refuses. Its rule: keys are added without a new number; what an older release would misread gets the next one, and then
no older release reads the file, changes it or calls it damaged. Not here: what files hold, and the numbers (beside their
types).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgesplit.errors import InvalidConfiguration

__all__ = ["refuse_newer"]


class _FormatHead(msgspec.Struct, frozen=True):
    """What every file of the controller that is replaced whole says of itself; nothing else of it is looked at."""

    format: int = 1


def refuse_newer(path: Path, content: bytes, known: int) -> None:
    """Do nothing for a file that this release may read; a damaged one is left to whoever reads the rest.

    Args:
        path: Of the file, for the sentence.
        content: Its bytes.
        known: The highest number that this release reads.

    Raises:
        InvalidConfiguration: A newer release wrote it.
    """
    try:
        found = msgspec.json.decode(content, type=_FormatHead).format
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if found > known:
        raise InvalidConfiguration(
            f"{path} was written by a newer release of edgesplit (format {found}; this one reads up to {known}) and is left as it is: "
            "run that release again, or restore the folder as it was before the upgrade (docs/upgrading.md)"
        )
