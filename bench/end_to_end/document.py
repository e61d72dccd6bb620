"""Everything a run found, as one JSON document and as what is printed.

Owns: the document, filled while the run goes on. Its rule: a run that was interrupted has what it had, and says that it was.
Not here: how single figures look (`tables.py`).
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import onnxruntime
from rich.table import Table

from bench.end_to_end.changes import Noticed, Unrest
from bench.end_to_end.plans.rows import judged
from bench.end_to_end.plans.summary import summarized
from bench.end_to_end.steady import Reading, wander
from bench.end_to_end.tables import (
    failed_table,
    noticed_table,
    parts_table,
    rows_table,
    sentences,
    unrest_text,
    wander_text,
)
from bench.end_to_end.visits import Findings
from edgesplit.release import installed_version

__all__ = ["Document"]

FORMAT = "edgesplit-end-to-end/1"


@dataclass
class Host:
    """The machine, and how busy it was."""

    machine: str = field(default_factory=platform.platform)
    cores: int = field(default_factory=lambda: os.cpu_count() or 0)
    onnxruntime: str = onnxruntime.__version__
    edgesplit: str = field(default_factory=installed_version)
    began_unix_s: float = field(default_factory=time.time)
    ended_unix_s: float = 0.0
    load_at_begin: tuple[float, float, float] = field(default_factory=os.getloadavg)
    load_at_end: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass
class Document:
    """What a run found so far.

    Attributes:
        seed: Of the order and of the noise.
        ended: Why it ended before its end; empty where it did not.
    """

    seed: int
    host: Host = field(default_factory=Host)
    findings: Findings = field(default_factory=Findings)
    noticed: list[Noticed] = field(default_factory=list[Noticed])
    unrest: Unrest | None = None
    readings: list[Reading] = field(default_factory=list[Reading])
    ended: str = ""

    def close(self) -> None:
        """Note how it was at the end."""
        self.host.ended_unix_s, self.host.load_at_end = time.time(), os.getloadavg()

    @property
    def missed(self) -> bool:
        """Whether anything that is aimed at was not reached."""
        rows = judged(self.findings.rows)
        return (
            bool(self.findings.failed)
            or bool(rows and summarized(rows, self.findings.failed).missed)
            or any(noticed.missed for noticed in self.noticed)
            or (self.unrest is not None and self.unrest.planned > 0)
            or bool(self.readings and wander(self.readings).missed)
        )

    def shown(self) -> Iterator[Table | str]:
        """Tables and sentences."""
        if self.noticed:
            yield noticed_table(self.noticed)
        if self.unrest is not None:
            yield unrest_text(self.unrest)
        for factor, links in self.findings.misjudged:
            if links:
                yield f"LinkRates x {factor:g} began although agents took links for something else: {', '.join(links)}"
        if rows := judged(self.findings.rows):
            yield rows_table(rows)
            yield parts_table(rows)
        if self.findings.failed:
            yield failed_table(self.findings.failed)
        if rows:
            yield from sentences(summarized(rows, self.findings.failed))
        if self.readings:
            yield wander_text(wander(self.readings))

    def to_json(self) -> bytes:
        """The document, indented."""
        rows = judged(self.findings.rows)
        content = {
            "format": FORMAT,
            "seed": self.seed,
            "ended": self.ended,
            "host": self.host,
            "order": self.findings.order,
            "rows": rows,
            "failed": self.findings.failed,
            "profiled": self.findings.profiled,
            "misjudged_links": self.findings.misjudged,
            "summary": summarized(rows, self.findings.failed) if rows else None,
            "noticed": self.noticed,
            "unrest": self.unrest,
            "readings": self.readings,
            "wander": wander(self.readings) if self.readings else None,
        }
        return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"
