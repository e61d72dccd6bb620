"""The page of `splitctl trace`: one request across nodes, as a picture and as a table.

Owns: this page. Its rule: measured and predicted lanes have one scale; how exact the times of nodes are is said. Not here: JSON, which is the
controller's document as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from edgesplit.formatting import UNKNOWN, size, time_span
from edgesplit.operations.inspection.trace_operation import TraceClock, TraceDocument, TraceStep
from edgesplit.planning.plan import TimelineEntry
from edgesplit_controller.cli.views.layout import console, plain_table
from edgesplit_controller.cli.views.plan_view import timeline_legend, timeline_rows

__all__ = ["show_trace"]

LEAST_COLUMNS, MOST_COLUMNS = 16, 72
"""Of the picture."""
WORDS = len("predicted") + 4
"""Beside lanes' names and the picture, gaps included."""


def show_trace(document: TraceDocument) -> None:
    """Print it."""
    out = console()
    predicted = (
        "" if document.predicted_latency_s is None else f" (predicted {time_span(document.predicted_latency_s)})"
    )
    out.print(
        f"{document.model}: {time_span(document.latency_s)}{predicted} from {document.source} on epoch {document.epoch}"
    )
    out.print(f"request {document.request}")
    out.print()
    _show_picture(out, document)
    out.print()
    _show_steps(out, document.steps)
    out.print()
    for clock in document.clocks:
        out.print(_clock_text(clock))
    for gap in document.missing:
        out.print(f"nothing is known of {gap.node}: {gap.reason}")


def _show_picture(out: Console, document: TraceDocument) -> None:
    end_s = max(
        [document.latency_s, *(step.end_s for step in document.steps), *(entry.end_s for entry in document.predicted)]
    )
    measured = [_as_entry(step) for step in document.steps]
    names = [name for name, _ in timeline_rows([*measured, *document.predicted], 1)]
    columns = min(MOST_COLUMNS, max(LEAST_COLUMNS, out.width - WORDS - max(map(cell_len, names), default=0)))
    lanes = {
        kind: dict(timeline_rows(entries, columns, end_s))
        for kind, entries in (("measured", measured), ("predicted", document.predicted))
    }
    table = plain_table("", ("", "", f"0 to {time_span(end_s)}"))
    for name in names:
        for kind, drawn in lanes.items():
            if name in drawn:
                table.add_row(name, kind, Text(drawn[name], no_wrap=True))
    out.print(table)
    out.print(timeline_legend([*measured, *document.predicted]))


def _as_entry(step: TraceStep) -> TimelineEntry:
    return TimelineEntry(
        kind=step.kind,
        start_s=max(step.start_s, 0.0),
        end_s=max(step.end_s, 0.0),
        node=step.node,
        source=step.from_,
        target=step.to,
        component=step.component,
        tensor=", ".join(step.tensors) or None,
    )


def _show_steps(out: Console, steps: Sequence[TraceStep]) -> None:
    droppable = ("bytes", "waited", "tensors", "began")
    table = plain_table("", ("step", "where"), ("began", "took", "predicted", "waited", "bytes"), droppable)
    table.add_column("tensors", wraps=True)
    for step in steps:
        table.add_row(*_cells(step))
    out.print(table)


def _cells(step: TraceStep) -> Iterator[str]:
    yield f"component {step.component}" if step.kind == "compute" else step.kind
    yield step.node or f"{step.from_} → {step.to}"
    yield time_span(step.start_s)
    yield time_span(step.end_s - step.start_s)
    foreseen = step.predicted_start_s is not None and step.predicted_end_s is not None
    yield time_span((step.predicted_end_s or 0.0) - (step.predicted_start_s or 0.0)) if foreseen else UNKNOWN
    yield time_span(step.waited_s) if step.waited_s else ""
    yield size(step.nbytes) if step.nbytes else ""
    yield ", ".join(step.tensors)


def _clock_text(clock: TraceClock) -> str:
    how = "pings and the order of what was sent" if clock.by == "links" else "the order of what was sent alone"
    exact = "with one side open" if clock.uncertain_s is None else f"to ± {time_span(clock.uncertain_s)}"
    return f"times of {clock.node} are placed {exact}, by {how}"
