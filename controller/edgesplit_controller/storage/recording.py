"""Recording of observations: a file that grows by one JSON document a line.

Owns: the file. Its rule: what cannot be written is told once and does not disturb anybody; a line is whole or not there. Not
here: what is recorded (`fleet/estimation/observations.py`), reading it again (benchmarks).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

__all__ = ["Recording"]


class Recording:
    """Appends values to a file.

    Args:
        path: Made with its first line; its folder must be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False

    def add(self, value: msgspec.Struct) -> None:
        """Write one line."""
        try:
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(value) + b"\n")
        except OSError as error:
            if not self._failed:
                structlog.get_logger(part="recording").warning("not-recorded", path=str(self._path), cause=str(error))
            self._failed = True
