"""What `bench.end_to_end` found, as tables and sentences.

Owns: how results are shown. Its rule: everything shown is in the JSON document too. Not here: figures (`rows.py`, `summary.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from bench.end_to_end.changes import NOISE, Noticed, Unrest
from bench.end_to_end.plans.rows import Failed, JudgedRow
from bench.end_to_end.plans.summary import COVERAGE_AIM, Errors, Summary
from bench.end_to_end.steady import SPREAD_AIM, Wander
from lab.testbed.testbed import Testbed

__all__ = ["failed_table", "links_table", "noticed_table", "parts_table", "rows_table", "sentences", "unrest_text"]


def links_table(testbed: Testbed) -> Table:
    """What links are set to, and what agents measured."""
    table = Table("link", "rate set", "measured", "delay set", "measured", title="Links")
    for row in testbed.fleet.splitctl("links"):
        if row["latency_s"] is None:
            table.add_row(f"{row['from']} to {row['to']}", "", row["reason"])
            continue
        shape = testbed.shape(row["from"], row["to"])
        table.add_row(
            f"{row['from']} to {row['to']}",
            f"{shape.rate_bytes_per_s / 1e6:.1f} MB/s",
            f"{row['bandwidth_bytes_per_s'] / 1e6:.2f} MB/s",
            f"{shape.delay_s * 1e3:.0f} ms",
            f"{row['latency_s'] * 1e3:.2f} ms",
        )
    return table


def rows_table(rows: Sequence[JudgedRow]) -> Table:
    """Predicted beside measured latency, a plan a row."""
    columns = ("model", "wish", "rates", "operators on", "int8", "codecs", "parts", "predicted", "interval", "measured")
    errors = ("error", "at the control's mean", "control", "corrected", "held")
    title = (
        "Predictions before a plan's first request; beside the control's mean; corrected by live timings of the warm-up"
    )
    table = Table(*columns, *errors, title=title)
    for entry in rows:
        row = entry.row
        table.add_row(
            row.model,
            f"{row.wish}{' (again)' if row.again else ''}",
            f"x {row.rates:g}",
            ", ".join(f"{node} {count}" for node, count in row.operators.items()),
            str(row.quantized),
            ", ".join(row.codecs),
            str(row.components),
            _milliseconds(row.predicted_s),
            _interval(row.interval_s),
            _milliseconds(row.measured_s),
            f"{entry.error:+.1%}",
            f"{entry.settled_error:+.1%}",
            ", ".join(f"{ratio:.2f}" for ratio in dict.fromkeys(entry.ratios.values())),
            f"{entry.corrected_error:+.1%}",
            {None: "", True: "yes", False: "no"}[entry.covered],
        )
    return table


def parts_table(rows: Sequence[JudgedRow]) -> Table:
    """From which part each error came: predicted less measured, in milliseconds."""
    parts = list(dict.fromkeys(part for entry in rows for part in entry.parts_s))
    table = Table("model", "wish", "error", *parts, title="Predicted less measured [ms]")
    for entry in rows:
        seconds = [entry.parts_s.get(part) for part in parts]
        error_s = entry.row.predicted_s - entry.row.measured_s
        shown = ["" if value is None else f"{value * 1e3:+.1f}" for value in seconds]
        table.add_row(entry.row.model, entry.row.wish, f"{error_s * 1e3:+.1f}", *shown)
    return table


def failed_table(failed: Sequence[Failed]) -> Table:
    """Visits without a row."""
    table = Table("model", "wish", "rates", "why", title="Failed")
    for entry in failed:
        table.add_row(entry.model, entry.wish, f"x {entry.rates:g}", entry.reason)
    return table


def sentences(summary: Summary) -> list[str]:
    """What is below the table."""
    spread = "not measured" if summary.spread is None else f"{summary.spread:.1%}"
    low, high = COVERAGE_AIM
    found = [
        f"{summary.plans} plans ({summary.cut} compute on two or more nodes), {summary.rows} rows, {summary.failed} failed; "
        f"control spread {spread}",
        f"{_errors(summary.raw)} (aims: mean {summary.mean_aim:.1%}"
        f"{'' if summary.worst_aim is None else f', worst {summary.worst_aim:.0%}'})",
        f"At the control's mean: {_errors(summary.settled)}",
        f"Corrected by live timings of the warm-up: {_errors(summary.corrected)}",
    ]
    if summary.again is not None:
        found.append(f"Of plans that had served before: {_errors(summary.again)}")
    if summary.coverage is not None:
        corrected = "" if summary.corrected_coverage is None else f", {summary.corrected_coverage:.0%} once corrected"
        found.append(
            f"Intervals (median width {summary.interval_width or 0:.0%}) hold {summary.coverage:.0%}{corrected} "
            f"(aim {low:.0%} to {high:.0%})"
        )
    shares = ", ".join(f"{part} {share:.1%}" for part, share in summary.parts.items())
    found.append(f"Mean absolute error by part, of the latency: {shares}")
    return [*found, *(f"Missed: {text}" for text in summary.missed)]


def noticed_table(noticed: Sequence[Noticed]) -> Table:
    """Seconds until each change was noticed and answered."""
    table = Table("change", "noticed after", "decided after", "aim", "what was said")
    for entry in noticed:
        decided = _after(entry.decided_s) if entry.decides else ""
        aim = "" if entry.aim_s is None else f"{entry.aim_s:.0f} s{', missed' if entry.missed else ''}"
        table.add_row(entry.change, _after(entry.noticed_s), decided, aim, entry.text)
    return table


def unrest_text(found: Unrest) -> str:
    """What noise alone led to."""
    told = ", ".join(f"{count} {kind}" for kind, count in found.told.items()) or "nothing"
    return (
        f"{NOISE:.0%} noise for {found.minutes:g} minutes: {found.planned} new plans (aim 0), "
        f"{found.declined} weighed and declined; also told: {told}"
    )


def wander_text(found: Wander) -> str:
    """How far a prediction wandered."""
    widest = "no interval stated" if found.widest is None else f"widest interval {found.widest:.1%}"
    learned = "" if found.learned_spread is None else f" ({found.learned_spread:.2%} after the first minute)"
    return (
        f"{found.readings} predictions of one plan: spread {found.spread:.2%}{learned}, aim {SPREAD_AIM:.0%}, range {found.range:.2%}, "
        f"{widest}; measured spread {found.measured_spread:.2%}; {found.epochs} epochs"
    )


def _errors(errors: Errors) -> str:
    return f"mean error {errors.mean:.1%}, median {errors.median:.1%}, worst {errors.worst:.1%}"


def _after(seconds: float | None) -> str:
    return f"{seconds:.1f} s" if seconds is not None else "not noticed"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _interval(ends_s: tuple[float, float] | None) -> str:
    return "" if ends_s is None else f"{ends_s[0] * 1e3:.0f} to {ends_s[1] * 1e3:.0f}"
