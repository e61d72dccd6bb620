"""The page of `splitctl doctor`: what is wrong, each with what to do, and what is well counted.

Owns: this page. Its rule: nothing that is wrong is left out, however many machines there are. Not here: JSON, which has all checks.
"""

from __future__ import annotations

from collections import Counter

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
    """Print it; `show_all`: what is well too, each check a line."""
    out = console()
    rows = sorted(document.checks, key=lambda row: _ORDER.index(row.verdict))
    well = [row for row in rows if row.verdict == "ok"]
    for row in rows if show_all else rows[: len(rows) - len(well)]:
        _show(out, row)
    if well and not show_all:
        counts = Counter(row.check for row in well)
        listed = ", ".join(f"{check} ({number})" if number > 1 else check for check, number in counts.items())
        out.print(Text.assemble(("ok: ", _STYLES["ok"]), f"{listed}; --all shows them"))
    wrong = Counter(row.verdict for row in rows)
    found = [counted(wrong[name], name) for name in ("error", "warning") if wrong[name]]
    out.print(f"{', '.join(found) or 'nothing is wrong'}, of {counted(len(rows), 'check')}")


def _show(out: Console, row: CheckRow) -> None:
    out.print(Text.assemble((f"{row.verdict}: ", _STYLES[row.verdict]), (f"{row.check} ", "bold"), row.what))
    if row.do:
        out.print(Padding(Text(f"→ {row.do}"), (0, 0, 0, 4)))
