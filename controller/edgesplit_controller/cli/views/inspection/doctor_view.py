"""The page of `splitctl doctor`: what is wrong, each with what to do, and what is well counted.

Owns: this page. Its rule: nothing that is wrong is left out, however many machines there are; what need not be done is told once of
each kind. Not here: JSON, which has all checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from edgesplit.operations.inspection.doctor_operation import CheckRow, DiagnosisDocument
from edgesplit_controller.cli.views.inspection.status_view import SEVERITY_STYLES, counted
from edgesplit_controller.cli.views.layout import console

__all__ = ["show_diagnosis"]

_ORDER = ("error", "warning", "unknown", "note", "ok")
_STYLES = {**SEVERITY_STYLES, "unknown": "magenta", "note": "cyan", "ok": "green"}


def show_diagnosis(document: DiagnosisDocument, *, show_all: bool = False) -> None:
    """Print it; `show_all`: each check, what is well too."""
    out = console()
    rows = sorted(document.checks, key=lambda row: _ORDER.index(row.verdict))
    if show_all:
        for row in rows:
            _show(out, row)
    else:
        _show_shortened(out, rows)
    wrong = Counter(row.verdict for row in rows)
    found = [counted(wrong[name], name) for name in ("error", "warning") if wrong[name]]
    out.print(f"{', '.join(found) or 'nothing is wrong'}, of {counted(len(rows), 'check')}")


def _show_shortened(out: Console, rows: Sequence[CheckRow]) -> None:
    alike = Counter((row.verdict, row.check) for row in rows)
    told: set[tuple[str, str]] = set()
    for row in rows:
        kind = row.verdict, row.check
        if row.verdict in {"error", "warning"}:
            _show(out, row)
        elif row.verdict != "ok" and kind not in told:
            told.add(kind)
            _show(out, row, others=alike[kind] - 1)
    well = {check: number for (verdict, check), number in alike.items() if verdict == "ok"}
    if well:
        listed = ", ".join(f"{check} ({number})" if number > 1 else check for check, number in well.items())
        out.print(Text.assemble(("ok: ", _STYLES["ok"]), f"{listed}; --all shows them"))


def _show(out: Console, row: CheckRow, others: int = 0) -> None:
    more = f" (and {others} more such: --all)" if others else ""
    out.print(Text.assemble((f"{row.verdict}, {row.check}: ", _STYLES[row.verdict]), f"{row.what}{more}"))
    if row.do:
        out.print(Padding(Text(f"→ {row.do}"), (0, 0, 0, 4)))
