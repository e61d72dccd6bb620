"""Resident memory of a process and all that it started, watched: as a plain sum, and with shared pages of files counted once.

Owns: reading /proc. Its rule: both figures are said; the plain sum is what somebody sees who adds up what `ps` prints, and is never
below the other. Not here: what is allowed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["MemoryWatch", "counted_once", "processes", "resident"]

EVERY_S = 0.05
SLOWER = 4
"""Mappings are looked at every so many times: that takes milliseconds."""
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+) +(.*)$")


@dataclass
class MemoryWatch:
    """Most memory that was seen.

    Attributes:
        own: Of the process itself. [B]
        together: Of all of them at one time, their resident sizes summed. [B]
        once: The same, where a file that several of them map counts once. [B]
        ended: Nobody looks any more.
    """

    pid: int
    own: int = 0
    together: int = 0
    once: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Generator[MemoryWatch]:
        """Look every few hundredths of a second."""
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            thread.join()

    def _look(self) -> None:
        looks = 0
        while not self.ended.wait(EVERY_S):
            sizes = [resident(pid) for pid in processes(self.pid)]
            self.own, self.together = max(self.own, sizes[0]), max(self.together, sum(sizes))
            if looks % SLOWER == 0:
                self.once = max(self.once, counted_once(processes(self.pid)))
            looks += 1


def resident(pid: int) -> int:
    """What a process has in memory; 0 where it is gone. [B]"""
    lines = _read(pid, "status").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def processes(pid: int) -> list[int]:
    """A process and all that it started, first itself."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text(encoding="ascii").split()
        except OSError:
            continue
        found += [below for child in children for below in processes(int(child))]
    return found


def counted_once(pids: Sequence[int]) -> int:
    """Anonymous memory of each, and of every file that is mapped the most that one of them has of it. [B]"""
    anonymous, files = 0, dict[str, int]()
    for pid in pids:
        mine: dict[str, int] = {}
        name, size = "", 0
        for line in _read(pid, "smaps").splitlines():
            mapping = _MAPPING.match(line)
            if mapping is not None:
                name, size = (mapping[2] if mapping[1] != "0" else ""), 0
            elif line.startswith("Rss:"):
                size = int(line.split()[1]) * 1024
            elif line.startswith("Anonymous:"):
                private = int(line.split()[1]) * 1024
                anonymous += private
                mine[name] = mine.get(name, 0) + size - private
        for file, nbytes in mine.items():
            files[file] = max(files.get(file, 0), nbytes)
    return anonymous + sum(files.values())


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
