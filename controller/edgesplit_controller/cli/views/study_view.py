"""What people see of explain, what-if and frontier.

Owns: these pages. Its rule: the planner's sentences are shown as they are; figures stand beside what they are compared
with. Not here: JSON, which is the controller's document as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgesplit.formatting import UNKNOWN, between, joules, number, rate, size, time_span
from edgesplit.operations.goal_operations import WeightsRow
from edgesplit.operations.plan_summary import PlanSummary
from edgesplit.operations.study_operations import ExplainDocument, FrontierDocument, FrontierRow, WhatIfDocument
from edgesplit.planning.plan import NodeShare
from edgesplit_controller.cli.views.layout import PlainTable, console, plain_table
from edgesplit_controller.cli.views.tables import sustained_text

__all__ = ["show_dry_run", "show_explanation", "show_frontier", "show_what_if"]


def show_explanation(document: ExplainDocument) -> None:
    """Print the page of `splitctl explain`."""
    out = console()
    out.print(f"{document.model}: epoch {document.epoch}")
    if document.concession is not None:
        out.print(f"simpler than the best: {document.concession.text}")
    out.print()
    if document.cuts:
        cuts = plain_table("Why it is cut where it is", ("tensor", "from", "to"), ("size", "transfer"))
        cuts.add_column("reason", wraps=True)
        for cut in document.cuts:
            cuts.add_row(cut.tensor, cut.from_, cut.to, size(cut.bytes), time_span(cut.transfer_s), cut.text)
        out.print(cuts)
    else:
        out.print("The plan has no cut: everything runs on one node.")
    out.print()
    out.print("What binds" if document.binding else "No constraint binds.")
    for entry in document.binding:
        out.print(f"  {entry.text}")
    out.print()
    if document.relaxations:
        gains = plain_table("What relaxing would bring", ("change",), ("latency", "energy", "score falls by"))
        gains.add_column("", wraps=True)
        for relaxation in document.relaxations:
            gain = number(round(relaxation.score_gain, 9))
            figures = (time_span(relaxation.latency_s), joules(relaxation.energy_j), gain)
            gains.add_row(relaxation.change, *figures, relaxation.text)
        out.print(gains)
    if not document.complete:
        out.print("Time ran out before everything was tried: give more with --time-limit.")


def show_what_if(document: WhatIfDocument) -> None:
    """Print the page of `splitctl what-if`."""
    out = console()
    out.print(f"{document.model}: epoch {document.epoch}, if {'; '.join(document.supposed)}")
    verdict = "the active plan would stay"
    if not document.same:
        verdict = f"another plan would be made, {document.moved} operators would change their node"
    out.print(f"{verdict} ({document.then.status}, planned in {time_span(document.solve_s)})")
    out.print()
    then = document.active_then
    table = plain_table("", ("",), ("active, now", "active, then", "best, then"))
    for name, texts in (
        ("latency", [_figure(plan, "latency_s") for plan in (document.active, then, document.then)]),
        ("latency beside others", [_loaded(plan) for plan in (document.active, then, document.then)]),
        ("energy", [_figure(plan, "energy_j") for plan in (document.active, then, document.then)]),
        ("device energy", [_figure(plan, "device_energy_j") for plan in (document.active, then, document.then)]),
        ("noise", [_figure(plan, "noise") for plan in (document.active, then, document.then)]),
    ):
        table.add_row(name, *texts)
    sustained = [
        UNKNOWN if plan is None else sustained_text(plan.rate_hz, plan.bottleneck)
        for plan in (document.active, then, document.then)
    ]
    table.add_row("rate", *sustained)
    for node in dict.fromkeys([*document.active.per_node, *document.then.per_node]):
        shares = [
            _share(None if plan is None else plan.per_node, node) for plan in (document.active, then, document.then)
        ]
        table.add_row(f"operators on {node}", *shares)
    out.print(table)
    out.print("now: the figures of now; then: what is supposed; best: the plan that would be made")
    if then is None:
        out.print("the active plan could not run then")
    for sentence in then.broken if then is not None else ():
        out.print(f"the active plan would break a constraint: {sentence}")


def show_dry_run(rows: Sequence[WeightsRow]) -> None:
    """Print what `splitctl set-weights --dry-run` found."""
    out = console()
    planned = [(row, row.then) for row in rows if row.then is not None]
    if not planned:
        out.print("no model is deployed: the goals would be stored, and they are not")
        return
    for row, plan in planned:
        effect = "would run a new assignment" if row.changed else f"would keep the assignment of epoch {row.epoch}"
        out.print(f"{row.model} {effect}")
        out.print(_beside(row.now, plan))
        out.print()
    out.print("nothing was stored")


def _beside(now: PlanSummary | None, then: PlanSummary) -> PlainTable:
    """The plan that would serve beside the one that does, all predicted."""
    plans = (now, then)
    table = plain_table("", ("",), ("serves", "would serve"))
    keys = {"latency": "latency_s", "energy": "energy_j", "device energy": "device_energy_j", "noise": "noise"}
    for name, key in keys.items():
        table.add_row(name, *(_figure(plan, key) for plan in plans))
    table.add_row("rate", *(UNKNOWN if plan is None else rate(plan.rate_hz) for plan in plans))
    table.add_row("bounded by", *(UNKNOWN if plan is None else plan.bottleneck or UNKNOWN for plan in plans))
    before: Mapping[str, NodeShare] = {} if now is None else now.per_node
    for node in dict.fromkeys([*before, *then.per_node]):
        table.add_row(
            f"operators on {node}", *(_share(None if plan is None else plan.per_node, node) for plan in plans)
        )
    return table


def show_frontier(document: FrontierDocument) -> None:
    """Print the table of `splitctl frontier`."""
    out = console()
    out.print(f"{document.model}: {len(document.points)} plans in {time_span(document.seconds)}")
    out.print()
    out.print(f"latency as the planner counts it: {document.latency_model}")
    out.print(f"traded: {document.axes.replace(',', ' for ')}")
    table = plain_table("", ("", "where"), ("latency", "energy", "device energy", "noise", "rate"), ("status",))
    table.add_column("status")
    for row in document.points:
        table.add_row("→" if row.active else "", *_row(row))
    if not any(row.active for row in document.points):
        table.add_row("→", *_row(document.active))
    out.print(table)
    out.print(f"→ the active plan (epoch {document.epoch})")


def _row(row: FrontierRow) -> tuple[str, ...]:
    where = ", ".join(f"{node} {share.operators}" for node, share in row.per_node.items() if share.operators)
    # Under `sum` it is not the timeline's end that is counted, which the interval is about.
    interval = row.timeline_interval_s if row.latency_s == row.timeline_s else None
    latency, energy = between(row.latency_s, interval, time_span), between(row.energy_j, row.energy_interval_j, joules)
    figures = (latency, energy, joules(row.device_energy_j), number(row.noise), rate(row.rate_hz))
    return (where, *figures, row.status)


def _loaded(plan: PlanSummary | None) -> str:
    return UNKNOWN if plan is None else time_span(plan.loaded_latency_s)


def _figure(plan: PlanSummary | None, key: str) -> str:
    if plan is None:
        return UNKNOWN
    value: float = getattr(plan, key)
    interval = {"latency_s": plan.latency_interval_s, "energy_j": plan.energy_interval_j}.get(key)
    return between(value, interval, {"latency_s": time_span, "noise": number}.get(key, joules))


def _share(per_node: Mapping[str, NodeShare] | None, node: str) -> str:
    share = None if per_node is None else per_node.get(node)
    if share is None:
        return UNKNOWN
    return str(share.operators) + (f" ({share.quantized} in int8)" if share.quantized else "")
