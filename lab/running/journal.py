"""The journal of a run: finished steps, one JSON line each, from which a stopped run goes on.

Owns: the file. Its rule: a line that was returned from is on the disk, and counts only if it is whole; a journal belongs to one
scenario. Not here: which steps there are (`steps.py`), the results (`lab/results.py`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from lab.dynamics.outcome.observations import PlayedRun
from lab.results import Cell, FailedStep, ModelFacts, Setting

__all__ = ["Begin", "Entry", "Journal", "JournalForeign"]


class JournalForeign(Exception):
    """The journal in the folder is another scenario's, or none; the sentence says what to do."""


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag="begin"):
    """The first line.

    Attributes:
        digest: Of the scenario.
        command: That began the run.
        unix_s: When. [s since the epoch]
        setting: Machine and versions.
    """

    format: Literal[1] = 1
    digest: str
    command: str
    unix_s: float
    setting: Setting


class ModelDone(msgspec.Struct, frozen=True, kw_only=True, tag="model"):
    """A model was added; seconds: that the step took. [s]"""

    id: str
    name: str
    facts: ModelFacts
    seconds: float = 0.0


class CellDone(msgspec.Struct, frozen=True, kw_only=True, tag="cell"):
    """A cell was measured."""

    id: str
    cell: Cell
    seconds: float = 0.0


class RunDone(msgspec.Struct, frozen=True, kw_only=True, tag="dynamics"):
    """A strategy was put through the script; what follows from that needs all of them."""

    id: str
    run: PlayedRun
    seconds: float = 0.0


class StepFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failure"):
    """A step failed; it is tried again where the run is resumed."""

    id: str
    failure: FailedStep
    seconds: float = 0.0


Entry = ModelDone | CellDone | RunDone | StepFailed
_DECODER: msgspec.json.Decoder[Begin | Entry] = msgspec.json.Decoder(Begin | Entry)


class Journal:
    """The journal of one folder.

    Args:
        path: The file; made with its first line.
        digest: Of the scenario that is run.

    Raises:
        JournalForeign: It belongs to another scenario, or is none.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self._path = path
        self.begin: Begin | None = None
        self.entries: list[Entry] = []
        self.torn = False
        if path.exists():
            self._read(digest)

    @property
    def done(self) -> frozenset[str]:
        """Steps that need not be taken again."""
        return frozenset(entry.id for entry in self.entries if not isinstance(entry, StepFailed))

    @property
    def failures(self) -> list[FailedStep]:
        """The last failure of each step that was never done."""
        found = {entry.id: entry.failure for entry in self.entries if isinstance(entry, StepFailed)}
        return [failure for name, failure in found.items() if name not in self.done]

    def start(self, begin: Begin) -> None:
        """Write the first line of a new journal."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.begin = begin
        self._append(begin)

    def add(self, entry: Entry) -> None:
        """Write what was finished; returns when it is on the disk."""
        self.entries.append(entry)
        self._append(entry)

    def _append(self, line: Begin | Entry) -> None:
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, digest: str) -> None:
        *lines, tail = self._path.read_bytes().split(b"\n")
        whole = sum(len(line) + 1 for line in lines)
        try:
            found = [_DECODER.decode(line) for line in lines]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise JournalForeign(
                f"{self._path} has a line that is none of a journal's ({error}): --fresh begins a new one"
            ) from error
        if found and not isinstance(found[0], Begin):
            raise JournalForeign(f"{self._path} does not begin as a journal does: --fresh begins a new one")
        self.begin = next((entry for entry in found if isinstance(entry, Begin)), None)
        if self.begin is not None and self.begin.digest != digest:
            raise JournalForeign(
                f"{self._path} is of another scenario, or of this one as it was before it was changed: "
                "--fresh throws its results away and begins anew; another `name` in [scenario] keeps both"
            )
        self.entries = [entry for entry in found if not isinstance(entry, Begin)]
        if tail:
            # What was being written when the run ended: its step is taken again.
            self.torn = True
            os.truncate(self._path, whole)
