"""What `bench.end_to_end` found, as tables."""

from __future__ import annotations

from rich.table import Table

from bench.end_to_end.changes import Noticed
from bench.end_to_end.course import Row
from bench.testbed.testbed import Testbed

__all__ = ["links_table", "noticed_table", "rows_table"]


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


def rows_table(rows: list[Row]) -> Table:
    """Predicted beside measured latency, a plan a row."""
    columns = (
        "model",
        "rates",
        "operators on",
        "int8",
        "components",
        "predicted",
        "measured",
        "error",
        "corrected",
        "error",
    )
    title = "Predictions before a plan's first request, and corrected by live timings of the warm-up"
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(
            row.model,
            f"x {row.rates:g}",
            row.shares,
            str(row.quantized),
            str(row.components),
            f"{row.predicted_s * 1e3:.1f} ms",
            f"{row.measured_s * 1e3:.1f} ms",
            f"{row.error:+.1%}",
            f"{row.corrected_s * 1e3:.1f} ms",
            f"{row.corrected_error:+.1%}",
        )
    return table


def noticed_table(noticed: list[Noticed]) -> Table:
    """Seconds until each change was noticed and answered."""
    table = Table("change", "noticed after", "decided after", "what was said")
    for entry in noticed:
        after = [f"{s:.1f} s" if s is not None else "not noticed" for s in (entry.noticed_s, entry.replanned_s)]
        table.add_row(entry.change, *after, entry.text)
    return table
