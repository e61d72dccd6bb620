"""Components as they ran: what agents traced of one request, on that request's own clock.

Owns: reading the agents' trace files. Its rule: requests come one after another, so whatever ran between a request's begin and its answer
is its own; a line that is not whole yet is not read. Not here: writing traces (`edgesplit_agent.reporting.run_trace`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgesplit_agent.reporting.run_trace import TracedRun
from lab.results import ExecutedComponent

__all__ = ["Traces"]


class Traces:
    """The trace files of a fleet.

    Args:
        files: By node; one that is not there has no lines.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)
        self._read_bytes = dict.fromkeys(files, 0)

    def skip(self) -> None:
        """Leave out what was traced until now."""
        for node, path in self._files.items():
            self._read_bytes[node] = path.stat().st_size if path.exists() else 0

    def during(self, model: str, began_s: float, ended_s: float) -> list[ExecutedComponent] | None:
        """What ran of a model within a span, since `skip`; None where nothing was traced.

        Args:
            model: Its name.
            began_s: When the request was sent. [s, monotonic]
            ended_s: When it was answered. [s, monotonic]
        """
        found = [
            ExecutedComponent(
                component=str(run.component), node=node, start_s=run.start_s - began_s, end_s=run.end_s - began_s
            )
            for node in self._files
            for run in self._runs(node)
            if run.model == model and began_s <= run.start_s <= ended_s
        ]
        return sorted(found, key=lambda entry: entry.start_s) or None

    def _runs(self, node: str) -> list[TracedRun]:
        path = self._files[node]
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._read_bytes[node])
            whole, _, _ = file.read().rpartition(b"\n")
        return [msgspec.json.decode(line, type=TracedRun) for line in whole.splitlines()]
