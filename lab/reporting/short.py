"""The short version of a report: a Markdown page for docs/, the same from the same results.

Owns: its text. Its rule: it says no more than the claims do, and each figure on it has the command that gives it. Not here: the page itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lab.comparing.verdicts import Verdict
from lab.reporting import published
from lab.reporting.analysis.claims import EvidenceClaim
from lab.reporting.figures.drawing import Drawing
from lab.reporting.page import drawn_by
from lab.reporting.report_tables import ReportTable
from lab.reporting.wording import moment
from lab.results import Results

__all__ = ["short_version"]

UNMEASURED: Verdict = "not measured"


def short_version(
    results: Results,
    claims: Sequence[EvidenceClaim],
    drawings: Sequence[Drawing],
    tables: Sequence[ReportTable],
    pictures: str,
) -> str:
    """Markdown.

    Args:
        results: Of one run.
        claims: All.
        drawings: Those to show; each has a picture of its name, in light and dark.
        tables: Those that are not folded are shown.
        pictures: Folder of the pictures, relative to the page.
    """
    setting = results.setting
    lines = [
        f"# Evidence: {results.scenario.get('scenario', {}).get('title') or results.scenario_name}",
        "",
        f"Written by `{drawn_by(results)} --short` from a run of `{results.command}`, {moment(results.began_unix_s)}, on {setting.cpu} "
        f"({setting.cores} cores), {setting.kernel}, Python {setting.python}, edgesplit {setting.edgesplit_version}. Latency is measured at "
        "the caller; energy is modelled power × measured time; predictions were read before a plan's first request.",
        "" if results.complete else "\n**This run is not finished; what is missing is named.**",
        "",
        "## Claims",
        "| verdict | claim | found | 95 % interval | of | study |",
        "|---|---|---|---|---|---|",
        *(_claim(claim) for claim in claims if claim.verdict != UNMEASURED),
        "",
    ]
    if unmeasured := [claim.name for claim in claims if claim.verdict == UNMEASURED]:
        lines += [f"Not measured by this scenario: {', '.join(unmeasured)}.", ""]
    for table in tables:
        if table.rows and not table.folded:
            lines += [f"## {table.title}", table.about, "", _row(table.head), "|" + "---|" * len(table.head)]
            lines += [*map(_row, table.rows), ""]
    for drawing in drawings:
        lines += [f"## {drawing.title}", _picture(drawing, pictures), "", drawing.caption, ""]
        lines += [f"- {note}" for note in drawing.notes]
    lines += [f"The study's numbers: {published.SOURCE}.", ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def _claim(claim: EvidenceClaim) -> str:
    missing = f"; not measured: {len(claim.missing)}" if claim.missing else ""
    found = (claim.value, claim.interval, claim.basis + missing, claim.published)
    return _row((f"**{claim.verdict}**", claim.sentence, *found))


def _picture(drawing: Drawing, pictures: str) -> str:
    """Of the reader's colour scheme."""
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{pictures}/{drawing.name}-dark.png">'
        f'<img src="{pictures}/{drawing.name}.png" alt="{escape(drawing.alternative)}"></picture>'
    )


def _row(values: Sequence[str]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|").replace("\n", " ") for value in values) + " |"
