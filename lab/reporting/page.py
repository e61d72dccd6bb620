"""The report's page: one self-contained HTML file, in light and dark, for phones, desktops and paper.

Owns: what stands on the page and in which order: claims first, then figures, tables, setting, raw data. Its rule: nothing is fetched from
anywhere; predicted, modelled and measured are called so wherever they stand. Not here: statistics (`analysis/`), drawings (`figures/`), elements
(`markup.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lab.comparing.verdicts import Verdict
from lab.reporting.analysis.claims import EvidenceClaim
from lab.reporting.csv_files import CsvTable, write_csv
from lab.reporting.figures.drawing import Drawing
from lab.reporting.figures.palette import DARK, LIGHT, css_variables
from lab.reporting.markup import data_uri, details, figure, section, table, text
from lab.reporting.published import SOURCE
from lab.reporting.report_tables import ReportTable
from lab.reporting.wording import counted, moment, of_bytes, of_seconds
from lab.results import Results

__all__ = ["MARKS", "page"]

MARKS: dict[Verdict, str] = {"met": "✓", "missed": "✗", "undecided": "?", "not measured": "–"}
"""Before a verdict's word, so that colour is never the only sign."""
MOST_INLINE = 3_000_000
"""A larger file is a file beside the page alone. [B]"""
_SECTIONS = (
    ("claims", "Claims"),
    ("figures", "Figures"),
    ("tables", "Tables"),
    ("setting", "Setting"),
    ("raw-data", "Raw data"),
)


def page(
    results: Results,
    claims: Sequence[EvidenceClaim],
    drawings: Sequence[Drawing],
    tables: Sequence[ReportTable],
    files: Sequence[CsvTable],
) -> str:
    """The whole document."""
    title = f"edgesplit: {_title(results)}"
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    schemes = (
        f":root{{color-scheme:light dark;{css_variables(LIGHT)}}}"
        f"@media(prefers-color-scheme:dark){{:root{{{css_variables(DARK)}}}}}"
        f"@media print{{:root{{{css_variables(LIGHT)}}}}}"
    )
    links = "".join(f'<li><a href="#{name}">{label}</a></li>' for name, label in _SECTIONS)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{text(title)}</title><style>{schemes}{style}</style></head><body>'
        f"<header><h1>{text(title)}</h1>{_lead(results)}</header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main>'
        + section("claims", "Claims", _summary(claims), _claims(claims))
        + section("figures", "Figures", *(figure(drawing) for drawing in drawings))
        + section("tables", "Tables", *(_table(one) for one in tables), _failures(results))
        + section("setting", "Setting", _setting(results))
        + section("raw-data", "Raw data", _downloads(files))
        + f"</main><footer><p>The study's numbers: {text(SOURCE)}.</p>"
        f"<p>Made by <code>{text(results.command)}</code>; drawn again by <code>{text(drawn_by(results))}</code>.</p></footer>"
        "</body></html>\n"
    )


def drawn_by(results: Results) -> str:
    """The command that draws the report of a run again."""
    return f"python -m lab report testbed-output/{results.scenario_name}"


def _title(results: Results) -> str:
    heading = results.scenario.get("scenario", {})
    return str(heading.get("title") or results.scenario_name)


def _lead(results: Results) -> str:
    cells = len(results.cells) + len(results.baselines)
    requests = sum(len(cell.latencies_s) for cell in (*results.cells, *results.baselines))
    lead = (
        f'<p class="faint">Scenario {text(results.scenario_name)}, begun {moment(results.began_unix_s)}: {cells} plans deployed and measured with '
        f"{requests} requests, {len(results.dynamics)} strategies under a script of changes. Latency is measured at the caller. Energy is "
        "modelled power × measured time. Predictions were read before a plan's first request.</p>"
    )
    if results.failures:
        many = counted(len(results.failures), "step")
        lead += (
            f'<p class="banner"><strong>{many} gave no figures.</strong> <a href="#failures">Which, and why</a>.</p>'
        )
    if results.complete:
        return lead
    ended = "is not finished" if results.ended_unix_s is None else "was stopped"
    return (
        lead + f'<p class="banner"><strong>This run {ended}.</strong> What is missing is named where it is missing.</p>'
    )


def _summary(claims: Sequence[EvidenceClaim]) -> str:
    counts = Counter(claim.verdict for claim in claims)
    items = "".join(f"<li><b>{counts[verdict]}</b> {verdict}</li>" for verdict in MARKS if counts[verdict])
    return f'<ul class="summary">{items}</ul>'


def _claims(claims: Sequence[EvidenceClaim]) -> str:
    return f'<ol class="claims">{"".join(_claim(claim) for claim in claims)}</ol>'


def _claim(claim: EvidenceClaim) -> str:
    value = f'<p class="value">{text(claim.value)}{f" <span class=faint>95 % interval {text(claim.interval)}</span>" if claim.interval else ""}</p>'
    theirs = f'<p class="faint">The study published: {text(claim.published)}</p>' if claim.published else ""
    missing = ""
    if claim.missing:
        listed = "".join(f"<li>{text(one)}</li>" for one in claim.missing)
        missing = details(f"{len(claim.missing)} not measured", f'<ul class="missing">{listed}</ul>')
    return (
        f'<li class="claim {claim.verdict.replace(" ", "-")}" id="{claim.name}"><p class="head">'
        f'<span class="verdict">{MARKS[claim.verdict]} {claim.verdict}</span> <span>{text(claim.sentence)}</span></p>'
        f'{value if claim.value else ""}<p class="basis">{text(claim.basis)}</p>{theirs}{missing}'
        f'<p class="links">Raw data: <a href="#download-{claim.data.removesuffix(".csv")}">{claim.data}</a>; '
        f"command: <code>{text(claim.command)}</code></p></li>"
    )


def _table(one: ReportTable) -> str:
    body = table(one.title, one.head, one.rows, numbers_from=one.numbers_from) if one.rows else "<p>Not measured.</p>"
    about = f'<p class="faint">{text(one.about)}</p>'
    if one.folded and one.rows:
        return f"<h3>{text(one.title)}</h3>{about}{details(f'{len(one.rows)} rows', body)}"
    return f"<h3>{text(one.title)}</h3>{about}{body}"


def _failures(results: Results) -> str:
    if not results.failures:
        return ""
    rows = [(failed.id, failed.reason) for failed in results.failures]
    return (
        '<h3 id="failures">Steps without figures</h3>'
        f"{table('Steps without figures', ('step', 'reason'), rows, numbers_from=9)}"
    )


def _setting(results: Results) -> str:
    setting = results.setting
    rows = [
        ("processor", f"{setting.cpu}, {setting.cores} cores"),
        ("memory", of_bytes(setting.memory_bytes)),
        ("kernel", setting.kernel),
        ("Python", setting.python),
        ("edgesplit", f"{setting.edgesplit_version} {setting.commit}".strip()),
        ("packages", ", ".join(f"{name} {version}" for name, version in sorted(setting.packages.items()))),
        ("begun", moment(results.began_unix_s)),
        ("ended", moment(results.ended_unix_s)),
        ("took", of_seconds(None if results.ended_unix_s is None else results.ended_unix_s - results.began_unix_s)),
        ("scenario", f"{results.scenario_name}, SHA-256 {results.digest[:16]}…"),
        ("command", results.command),
    ]
    return f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in rows)}</dl>"


def _downloads(files: Sequence[CsvTable]) -> str:
    items = []
    for one in files:
        content = write_csv(one).encode()
        link = data_uri(content, "text/csv") if len(content) <= MOST_INLINE else one.name
        items.append(
            f'<li id="download-{one.name.removesuffix(".csv")}"><a download="{one.name}" href="{link}">{one.name}</a>, '
            f"{of_bytes(len(content))}, {len(one.rows)} rows. {text(one.about)}: <span class=faint>{text(', '.join(one.columns))}</span></li>"
        )
    return (
        "<p>Every figure and claim of this page follows from these files, which this page holds, and from <code>results.json</code> beside "
        f'it.</p><ul class="downloads">{"".join(items)}</ul>'
    )
