"""The page of `splitctl top`: models, nodes and links as they are now.

Owns: this page, once or live. Its rule: predicted figures stand beside measured ones. Not here: JSON, which is the controller's
document as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from edgesplit.formatting import UNKNOWN, clock, joules, percent, size, speed, time_span, watts
from edgesplit.operations.fleet_operations import LinkRow
from edgesplit.operations.inspection.status_operations import ActiveModelRow, ActiveNodeRow, ActivityDocument
from edgesplit_controller.cli.views.layout import PlainTable, console, plain_table

__all__ = ["activity_page", "live_activity", "show_activity"]


def show_activity(document: ActivityDocument) -> None:
    """Print it."""
    console().print(activity_page(document))


@contextlib.contextmanager
def live_activity(first: ActivityDocument) -> Generator[Callable[[ActivityDocument], None], None, None]:
    """Take over the terminal, and give it back as it was; yields what shows the next document."""
    # Not the console of pages: lines are padded here, so that nothing of the screen before stays.
    plain = Console(markup=False, highlight=False)
    with Live(activity_page(first), console=plain, auto_refresh=False, screen=True) as live:
        live.refresh()

        def show(document: ActivityDocument) -> None:
            live.update(activity_page(document), refresh=True)

        yield show


def activity_page(document: ActivityDocument) -> Group:
    """All of it."""
    head = Text(f"{clock(document.at_unix_s)[:19]}  (Ctrl-C ends)", style="dim")
    return Group(head, *_models(document.models), Text(), *_nodes(document.nodes), *_links(document))


def _models(rows: Sequence[ActiveModelRow]) -> list[PlainTable | Text]:
    if not rows:
        return [Text("no model is deployed: see splitctl deploy --help")]
    figures = ("rate", "latency", "predicted latency", "energy", "predicted energy", "failed")
    droppable = ("runs on", "predicted energy", "failed", "predicted latency", "energy", "epoch")
    table = plain_table("", ("model", "from"), ("epoch", *figures), droppable)
    table.add_column("runs on")
    for row in rows:
        table.add_row(
            row.name,
            row.source,
            UNKNOWN if row.epoch is None else str(row.epoch),
            _rate(row.requests_per_s),
            time_span(row.latency_p50_s),
            time_span(row.predicted_latency_s),
            joules(row.energy_j),
            joules(row.predicted_energy_j),
            str(row.failed),
            ", ".join(row.nodes),
        )
    return [table]


def _nodes(rows: Sequence[ActiveNodeRow]) -> list[PlainTable | Text]:
    if not rows:
        return [Text("no node has registered: start edgesplit-agent on one")]
    figures = ("load", "free memory", "drawn", "serving", "battery")
    table = plain_table("", ("node", "state"), figures, ("runs", "battery", "free memory", "drawn", "load"))
    table.add_column("runs")
    for row in rows:
        table.add_row(
            row.name,
            row.state,
            percent(row.cpu_percent),
            size(row.memory_available_bytes),
            watts(row.drawn_w),
            watts(row.serving_w),
            percent(None if row.battery_fraction is None else 100 * row.battery_fraction),
            ", ".join(row.models),
        )
    return [table]


def _links(document: ActivityDocument) -> list[PlainTable | Text]:
    rows = document.links
    if not rows and not document.other_links:
        return []
    more = f"{document.other_links} other links, which no plan uses now: splitctl links" if document.other_links else ""
    if not rows:
        return [Text(), Text(more, style="dim")]
    table = plain_table("", ("from", "to"), ("rate", "latency", "age"), ("age",))
    for row in rows:
        table.add_row(row.from_, row.to, *_link_figures(row))
    return [Text(), table, *([Text(more, style="dim")] if more else [])]


def _link_figures(row: LinkRow) -> tuple[str, str, str]:
    rate = speed(row.bandwidth_bytes_per_s) if row.up else "down"
    return rate, time_span(row.latency_s), time_span(row.age_s)


def _rate(requests_per_s: float) -> str:
    return f"{requests_per_s:.3g}/s" if requests_per_s else "idle"
