"""The page of `splitctl status`: one screen, however many machines there are.

Owns: this page. Its rule: what is wrong comes first, each with what to do; what is well is counted. Not here: JSON, which is the
controller's document as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from edgesplit.formatting import UNKNOWN, rate, time_span
from edgesplit.operations.inspection.status_operations import NodeStateRow, ServedRow, StatusDocument
from edgesplit_controller.cli.views.layout import console, plain_table

__all__ = ["SEVERITY_STYLES", "counted", "show_status"]

SEVERITY_STYLES = {"error": "bold red", "warning": "yellow"}
MOST_MODELS, MOST_NODES = 16, 8
"""Rows that are shown; the others are counted."""


def show_status(document: StatusDocument) -> None:
    """Print it."""
    out = console()
    out.print(_headline(document))
    for row in document.problems:
        out.print(Text.assemble((f"{row.severity}: ", SEVERITY_STYLES[row.severity]), row.what))
        out.print(Padding(Text(f"→ {row.do}"), (0, 0, 0, 4)))
    for note in document.notes:
        out.print(Text.assemble(("note: ", "bold"), note.what))
        if note.do:
            out.print(Padding(Text(f"→ {note.do}"), (0, 0, 0, 4)))
    _show_models(out, document.models)
    _show_nodes(out, document.nodes)


def counted(number: int, thing: str) -> str:
    """`1 node`, `2 nodes`, `no node`."""
    return f"{number or 'no'} {thing}{'' if number <= 1 else 's'}"


def _headline(document: StatusDocument) -> Text:
    errors = sum(row.severity == "error" for row in document.problems)
    warnings = len(document.problems) - errors
    if document.ok:
        return Text("nothing is wrong", style="green")
    found = [counted(number, name) for number, name in ((errors, "error"), (warnings, "warning")) if number]
    return Text(", ".join(found), style=SEVERITY_STYLES["error" if errors else "warning"])


def _show_models(out: Console, rows: Sequence[ServedRow]) -> None:
    out.print()
    if not rows:
        out.print("no model was added: see splitctl model add --help")
        return
    columns = ("epoch", "rate", "latency (p50)", "failed")
    table = plain_table("", ("model", "state"), columns, ("failed", "epoch"))
    # What serves least well first, so that it is among those that are shown.
    shown = sorted(rows, key=lambda row: (row.serving and not row.on_fallback, row.name))[:MOST_MODELS]
    for row in shown:
        epoch = UNKNOWN if row.epoch is None else str(row.epoch)
        figures = rate(row.requests_per_s) if row.requests_per_s else "idle", time_span(row.latency_p50_s)
        table.add_row(row.name, _model_state(row), epoch, *figures, str(row.failed))
    out.print(table)
    if len(rows) > len(shown):
        out.print(f"and {len(rows) - len(shown)} more: see splitctl model list")


def _model_state(row: ServedRow) -> str:
    if row.source is None:
        return "not deployed"
    if not row.serving:
        return f"not serving (from {row.source})"
    return f"on a fallback from {row.source}" if row.on_fallback else f"serves from {row.source}"


def _show_nodes(out: Console, rows: Sequence[NodeStateRow]) -> None:
    out.print()
    counts = [
        f"{number} {state}"
        for state in ("online", "offline", "refused")
        if (number := sum(row.state == state for row in rows))
    ]
    out.print(f"nodes: {', '.join(counts) or 'none has registered: start edgesplit-agent on one'}")
    away = [row for row in rows if row.state != "online"]
    for row in away[:MOST_NODES]:
        seen = "" if row.last_seen_s is None else f", last seen {time_span(row.last_seen_s)} ago"
        out.print(Padding(Text(f"{row.name} is {row.state}{seen}"), (0, 0, 0, 2)))
    if len(away) > MOST_NODES:
        out.print(Padding(Text(f"and {len(away) - MOST_NODES} more: see splitctl nodes"), (0, 0, 0, 2)))
