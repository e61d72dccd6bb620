"""What people see of a plan: figures, shares, components, timeline.

Owns: the pages of `splitctl plan` and `splitctl solve`. Its rule: predicted and measured figures stand side by
side and are called what they are. Not here: JSON, which is the controller's document as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rich.console import Console
from rich.text import Text

from edgesplit.formatting import UNKNOWN, between, clock, joules, number, percent, rate, time_span
from edgesplit.operations.plan_operations import (
    DeclinedDocument,
    EnergyRow,
    FallbackRow,
    MeasuredDocument,
    MeasuredNoise,
    PlanDocument,
    SourceRow,
)
from edgesplit.operations.waiting_document import WaitingDocument
from edgesplit.planning.plan import NodeShare, TimelineEntry
from edgesplit.planning.problem import Problem
from edgesplit_controller.cli.solution_document import SolutionDocument
from edgesplit_controller.cli.views.layout import console, plain_table, properties
from edgesplit_controller.cli.views.tables import corrected_text, goals_text, sustained_text

__all__ = ["show_plan", "show_solution", "show_sources", "timeline_legend", "timeline_rows"]

TIMELINE_COLUMNS = 60
WIDE_COLUMNS = 120
LISTED_NAMES = 4
"""Tensor names shown of a component before they are counted instead."""
_FIXED = [("fixed", "kept as it was given, until deploy without --plan, or other goals, ask for a plan")]
_SIGNS = {"compute": "█", "encode": "▒", "decode": "░", "transfer": "━"}


class _Component(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def node(self) -> str: ...
    @property
    def operators(self) -> tuple[str, ...]: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...


def show_plan(document: PlanDocument, *, wide: bool = False) -> None:
    """Print the page of `splitctl plan`; `wide` with every column, all names, and a finer timeline."""
    out = console(endless=wide)
    serving = document.serving
    state = "serving" if serving in (None, document.epoch) else f"epoch {serving} serves now"
    kind = "fixed plan" if document.fixed else document.status
    out.print(f"{document.model}: epoch {document.epoch} from {document.source}, {kind}, {state}")
    out.print(f"why: {document.reason}" if document.reason else "")
    if document.concession is not None:
        out.print(f"simpler than the best: {document.concession.text}")
    if document.paused_unix_s is not None:
        since = clock(document.paused_unix_s)[:16]
        out.print(f"paused since {since}: not planned again by itself until splitctl resume")
    measured = document.measured
    table = plain_table("", ("",), ("predicted", _measured_title(measured)))
    origin = f" ({measured.energy_origin})" if measured.energy_origin else ""
    predicted = between(document.latency_s, document.latency_interval_s, time_span)
    table.add_row("latency (timeline)", predicted, time_span(measured.latency_s))
    if document.waiting is not None and (document.waiting.places or document.waiting_s):
        table.add_row("latency beside others", _loaded(document, document.waiting), "")
    predicted = between(document.energy_j, document.energy_interval_j, joules)
    table.add_row("energy", predicted, _with(joules(measured.energy_j), origin))
    table.add_row("device energy", joules(document.device_energy_j), _with(joules(measured.device_energy_j), origin))
    table.add_row("noise", number(document.noise), _measured_noise(measured.noise))
    table.add_row("rate", rate(document.rate_hz), rate(measured.requests_per_s))
    if document.bottleneck is not None:
        table.add_row("bounded by", document.bottleneck, "")
    out.print(table)
    if measured.noise.note:
        out.print(measured.noise.note)
    if measured.noise.exceeds:
        held = "fixed" if document.fixed else "paused" if document.paused_unix_s is not None else ""
        follows = f"the plan stays, for it is {held}" if held else "a plan that keeps it is on its way"
        out.print(f"the measured noise exceeds its bound: {follows}")
    _show_energy(out, document.energy_per_node)
    _show_waiting(out, document.waiting, document.measured)
    out.print()
    battery = document.battery
    out.print(
        properties(
            [
                ("goals", goals_text(document.goals)),
                *([] if battery is None else [("battery", battery.text)]),
                *(_FIXED if document.fixed else _quality(document)),
                *_declined(document.declined),
            ]
        )
    )
    _show_assignment(out, document.per_node, document.components, document.quantized, document.codecs, wide=wide)
    _show_timings(out, document)
    _show_constraints(out, document)
    _show_fallbacks(out, document.fallbacks)
    _show_timeline(out, document.timeline, WIDE_COLUMNS if wide else TIMELINE_COLUMNS)
    if len(document.sources) > 1:
        out.print()
        show_sources(document.sources)
        if document.fairness is not None:
            out.print(f"fairness of the sources' slow-downs (Jain's index; 1: all alike): {number(document.fairness)}")


def show_sources(rows: Sequence[SourceRow]) -> None:
    """Print what serves at each source of a model."""
    columns = ("epoch", "latency", "measured", "energy")
    table = plain_table("sources", ("source", "plan", "nodes"), columns, ("plan",))
    for row in rows:
        latencies = time_span(row.latency_s), time_span(row.measured_latency_s)
        figures = str(row.epoch), *latencies, joules(row.energy_j)
        table.add_row(row.source, row.name, ", ".join(row.nodes), *figures)
    console().print(table)


def _quality(document: PlanDocument) -> list[tuple[str, str]]:
    """How good the planner's plan is."""
    return [
        ("score", _score(document.score)),
        ("proof", _proof(document.status, document.gap)),
        ("planned in", time_span(document.solve_s)),
    ]


def _declined(declined: DeclinedDocument) -> list[tuple[str, str]]:
    if not declined.count or declined.last_unix_s is None:
        return []
    text = f"{declined.count} other plans since {clock(declined.since_unix_s)[:16]}, the last at "
    return [("declined", f"{text}{clock(declined.last_unix_s)[:16]} ({declined.last_reason})")]


def show_solution(problem: Problem, document: SolutionDocument) -> None:
    """Print the page of `splitctl solve`."""
    out = console()
    out.print(f"{problem.model} from {problem.source}: {document.status}")
    if document.status == "feasible" and document.reason:
        out.print(f"why: {document.reason}")
    if document.concession is not None:
        out.print(f"simpler than the best: {document.concession.text}")
    out.print()
    times = document.timings
    spent = (
        f"{time_span(times.load_s)} reading, {time_span(times.build_s)} building, {time_span(times.solve_s)} solving"
    )
    rows = [("time", f"{time_span(times.total_s)} ({spent})")]
    if document.status == "infeasible":
        out.print(properties(rows))
        return
    objective = problem.objective
    weights = f"latency {number(objective.latency_weight)}, energy {number(objective.energy_weight)}"
    rows = [
        ("latency", f"{time_span(document.latency_s)} ({objective.latency_model})"),
        ("timeline", f"{time_span(document.timeline_s)} (simulated)"),
        ("energy", f"{joules(document.energy_j)}, of it the device {joules(document.device_energy_j)}"),
        ("noise", number(document.noise)),
        ("rate", sustained_text(document.rate_hz, document.bottleneck)),
        ("score", f"{_score(document.score)}; weights {weights}"),
        ("proof", _proof(document.status, document.gap)),
        *rows,
    ]
    out.print(properties(rows))
    _show_assignment(out, document.per_node, document.components, document.quantized, document.codecs)
    _show_timeline(out, document.timeline)


def timeline_rows(
    entries: Sequence[TimelineEntry], columns: int = TIMELINE_COLUMNS, end_s: float | None = None
) -> list[tuple[str, str]]:
    """Draw a timeline as text.

    Args:
        entries: What happens when. [s]
        columns: Signs from start to end.
        end_s: Where the picture ends; None: with the last entry. [s]

    Returns:
        A lane per node, then one per link, in the order of their first entry: its name and its signs. What lasts
        less than a column still gets one.
    """
    if end_s is None:
        end_s = max((entry.end_s for entry in entries), default=0.0)
    lanes: dict[str, list[str]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.kind == "transfer", entry.start_s)):
        name = f"{entry.source} → {entry.target}" if entry.kind == "transfer" else entry.node or UNKNOWN
        lane = lanes.setdefault(name, ["·"] * columns)
        first = min(int(entry.start_s / end_s * columns), columns - 1) if end_s > 0 else 0
        last = max(first + 1, min(round(entry.end_s / end_s * columns), columns)) if end_s > 0 else 1
        lane[first:last] = _SIGNS[entry.kind] * (last - first)
    return [(name, "".join(lane)) for name, lane in lanes.items()]


def _show_assignment(
    out: Console,
    per_node: Mapping[str, NodeShare],
    components: Sequence[_Component],
    quantized: Sequence[str],
    codecs: Mapping[str, str],
    *,
    wide: bool = False,
) -> None:
    out.print()
    shares = plain_table("", ("node",), ("operators", "components", "quantized"))
    for node, share in per_node.items():
        shares.add_row(node, str(share.operators), str(share.components), str(share.quantized))
    out.print(shares)
    out.print()
    order = plain_table("", ("component", "node"), ("operators",))
    for name in ("needs", "gives", *(("which",) if wide else ())):
        order.add_column(name, wraps=not wide)
    for part in components:
        listed = (part.inputs, part.outputs, *((part.operators,) if wide else ()))
        most = None if wide else LISTED_NAMES
        order.add_row(str(part.id), part.node, str(len(part.operators)), *(_names(names, most) for names in listed))
    out.print(order)
    out.print()
    wire = ", ".join(f"{tensor} as {codec}" for tensor, codec in codecs.items())
    out.print(properties([("quantized", ", ".join(quantized) or "none"), ("coded on the wire", wire or "none")]))


def _show_timings(out: Console, document: PlanDocument) -> None:
    """Each component's expected and real seconds, and the corrections that the former rest on."""
    timed = [part for part in document.components if part.measured_s is not None]
    if timed:
        out.print()
        table = plain_table("", ("component", "node"), ("predicted", "measured lately"))
        for part in timed:
            table.add_row(str(part.id), part.node, time_span(part.predicted_s), time_span(part.measured_s))
        out.print(table)
    rows = [
        (f"{node} computes the model in", text)
        for node, row in document.speeds.items()
        if (text := corrected_text(row)) is not None
    ]
    if rows:
        out.print()
        out.print(properties(rows))


def _show_energy(out: Console, rows: Mapping[str, EnergyRow]) -> None:
    if not rows:
        return
    out.print()
    columns = ("computing", "measured", "sending", "measured ")
    table = plain_table("Energy a request, predicted beside measured", ("node",), columns)
    for node, row in rows.items():
        compute = _with(joules(row.compute_j), f" ({row.compute_origin})")
        transmit = _with(joules(row.transmit_j), f" ({row.transmit_origin})")
        table.add_row(node, joules(row.predicted_compute_j), compute, joules(row.predicted_transmit_j), transmit)
    out.print(table)


def _loaded(document: PlanDocument, waiting: WaitingDocument) -> str:
    """With what is waited at most, at nearly all phases and at any."""
    if document.loaded_latency_s is None:
        return "without bound: more is promised than there is time"
    worst = (
        "no bound at the worst"
        if waiting.worst_s is None
        else f"{time_span(document.latency_s + waiting.worst_s)} at the worst"
    )
    return f"{time_span(document.loaded_latency_s)} at {percent(100 * waiting.covered)} of phases, {worst} ({waiting.origin})"


def _show_waiting(out: Console, waiting: WaitingDocument | None, measured: MeasuredDocument) -> None:
    """Where requests wait for others'; agents measure what is waited for nodes, not for links."""
    if waiting is None or not waiting.places:
        return
    out.print()
    columns = ("promised to others", "mean wait", "measured")
    table = plain_table("Waiting for others, predicted beside measured", ("node or link",), columns)
    for place, row in waiting.places.items():
        served = measured.per_node.get(place)
        waited = UNKNOWN if served is None else time_span(served.waiting_s)
        table.add_row(place, percent(100 * row.load), time_span(row.mean_s), waited)
    out.print(table)
    out.print(f"a request waits at {percent(100 * waiting.share)} of phases, {time_span(waiting.mean_s)} on average")


def _show_constraints(out: Console, document: PlanDocument) -> None:
    rows = [
        (f"pinned {pin.select}", f"{len(pin.operators) + len(pin.also)} operators to {', '.join(pin.nodes)}")
        for pin in document.pins
    ]
    if document.forbidden:
        rows.append(("forbidden", ", ".join(document.forbidden)))
    if document.on:
        rows.append(("on", f"nodes with {document.on}"))
    if rows:
        out.print(properties(rows))


def _show_fallbacks(out: Console, fallbacks: Mapping[str, FallbackRow]) -> None:
    if not fallbacks:
        return
    out.print()
    table = plain_table("", ("if lost", "runs on"), ("epoch", "latency", "energy"))
    table.add_column("state")
    for node, row in fallbacks.items():
        where = ", ".join(f"{name} {share.operators}" for name, share in row.per_node.items() if share.operators)
        figures = (
            str(row.epoch),
            between(row.latency_s, row.latency_interval_s, time_span),
            between(row.energy_j, row.energy_interval_j, joules),
        )
        table.add_row(node, where, *figures, "prepared" if row.prepared else "not ready yet")
    out.print(table)


def _show_timeline(out: Console, entries: Sequence[TimelineEntry], columns: int = TIMELINE_COLUMNS) -> None:
    if not entries:
        return
    out.print()
    lanes = plain_table("Predicted timeline", ("lane", f"0 to {time_span(max(entry.end_s for entry in entries))}"))
    for name, signs in timeline_rows(entries, columns):
        lanes.add_row(name, Text(signs, no_wrap=True))
    out.print(lanes)
    out.print(timeline_legend(entries))


def timeline_legend(entries: Sequence[TimelineEntry]) -> str:
    """What the signs of a picture mean, those that are in it."""
    return ", ".join(f"{_SIGNS[kind]} {kind}" for kind in _SIGNS if any(entry.kind == kind for entry in entries))


def _measured_noise(noise: MeasuredNoise) -> str:
    """Mean and largest of the checked requests; of what, where that is not rho."""
    if noise.mean is None:
        return UNKNOWN
    requests = "1 request" if noise.samples == 1 else f"{noise.samples} requests"
    measure = "" if noise.measure == "rho" else f", {noise.measure}"
    return f"{number(noise.mean)} ({requests}, at most {number(noise.max)}{measure})"


def _measured_title(measured: MeasuredDocument) -> str:
    if measured.requests + measured.failed == 0:
        return "measured (no request yet)"
    others = f", {measured.unplanned} of other sizes" if measured.unplanned else ""
    return f"measured ({measured.requests} requests{others}, {measured.failed} failed)"


def _with(value: str, origin: str) -> str:
    return value if value == UNKNOWN else value + origin


def _score(value: float | None) -> str:
    return f"{_share(value)} (weighted; 0 is the best latency and the best energy at once)"


def _proof(status: str, gap: float | None) -> str:
    """How far the score may be from the best one: no figure where it is proven to be the best."""
    if status == "optimal":
        return "no plan has a lower score (proven)"
    if gap is None:
        return "how far the best score is, is not known"
    return f"the best score may be lower by {_share(gap)} at most (gap)"


def _share(value: float | None) -> str:
    # What is left of a proven 0 after floating point would only confuse.
    return number(None if value is None else round(value, 9))


def _names(names: Sequence[str], most: int | None) -> str:
    """Names, the first of them where they are more than are to be listed."""
    if not names:
        return UNKNOWN
    most = len(names) if most is None else most
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
