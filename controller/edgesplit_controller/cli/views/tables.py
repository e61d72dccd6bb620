"""What people see of nodes, links and models.

Owns: these tables. Its rule: every column says its unit through the value, and names from outside are shown as they
are, never read as markup. Not here: plans (`cli/views/plan_view.py`), JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgesplit.control.figure_messages import AskedSizes, Steadiness
from edgesplit.formatting import UNKNOWN, clock, joules, number, percent, rate, size, speed, time_span, watts
from edgesplit.operations.fleet_operations import LinkRow, NodeRow, SpeedRow
from edgesplit.operations.model_operations import (
    CodecsDocument,
    ModelAddedDocument,
    ModelDocument,
    NoiseModelDocument,
    PlanningShapeRow,
    ProfiledRow,
    TighteningDocument,
)
from edgesplit.planning.goals import Goals
from edgesplit.planning.selector import labels_text
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_controller.cli.views.layout import console, plain_table, properties
from edgesplit_controller.cli.views.profile_view import failing_lines, profiling_lines

__all__ = [
    "WIDE",
    "corrected_text",
    "goals_text",
    "show_added",
    "show_links",
    "show_model",
    "show_models",
    "show_nodes",
    "show_profiled",
    "steadiness_text",
    "sustained_text",
    "taken_lines",
]

WIDE = "--output wide has it"
CLOCKS_DIFFER_S = 2.0
"""From where a difference of clocks is worth a line. [s]"""
MOST_ASKED = 8
"""Sizes of requests that are shown; the others are left to JSON."""
TAKEN_SHOWN = 0.02
"""From where time that others take is worth a line. [1]"""
CORRECTION_SHOWN = 0.05
"""Relative; smaller corrections of a profile are left to JSON."""


def show_nodes(rows: Sequence[NodeRow], *, wide: bool = False) -> None:
    """Print the table of `splitctl nodes`; `wide` with every column."""
    droppable = () if wide else ("watts are", "free memory", "sending", "machine", "load")
    labelled = any(row.labels for row in rows)
    left = ("node", "state", "labels", "address") if labelled else ("node", "state", "address")
    right = ("load", "free memory", "computing", "sending")
    table = plain_table("", left, right, droppable, elsewhere=WIDE)
    for name in ("watts are", "machine", *(("sensor", "release", "runtime", "providers", "heard") if wide else ())):
        table.add_column(name)
    for row in rows:
        table.add_row(
            row.name,
            _state(row),
            *([labels_text(row.labels) or UNKNOWN] if labelled else []),
            row.advertise or UNKNOWN,
            percent(row.cpu_percent),
            size(row.memory_available_bytes),
            watts(row.compute_w),
            watts(row.transmit_w),
            row.power_origin or UNKNOWN,
            steadiness_text(row.steadiness),
            *(_more_of(row) if wide else ()),
        )
    console(endless=wide).print(table if rows else "no node has registered: start edgesplit-agent on one")
    out = console()
    for row in rows:
        if row.refused:
            out.print(f"{row.name} is not used: {row.refused}")
        for warning in row.warnings:
            out.print(f"warning of {row.name}: {warning}")
    for row in rows:
        if not row.online:
            seen = "" if row.last_seen_s is None else f", last seen {time_span(row.last_seen_s)} ago"
            out.print(f"{row.name} is offline{seen}", soft_wrap=True)
        for line in _node_lines(row):
            out.print(line)
    emulated = [row.name for row in rows if row.emulated]
    if emulated:
        out.print(f"emulated speed and links, not the machine's own: {', '.join(emulated)}")
    insecure = [row.name for row in rows if row.insecure]
    if insecure:
        out.print(f"open to whoever reaches them (insecure_network = true): {', '.join(insecure)}")


def _state(row: NodeRow) -> str:
    if row.drained_unix_s is not None and row.online and not row.refused:
        return "drained"
    return "refused" if row.refused else "online" if row.online else "offline"


def _more_of(row: NodeRow) -> tuple[str, ...]:
    """Columns that a wide table has besides."""
    heard = UNKNOWN if row.last_seen_s is None else f"{time_span(row.last_seen_s)} ago"
    sensor, providers = row.power_sensor or UNKNOWN, ", ".join(row.providers) or UNKNOWN
    return sensor, row.version or UNKNOWN, row.runtime or UNKNOWN, providers, heard


def _node_lines(row: NodeRow) -> Iterator[str]:
    """What is worth a line below the table."""
    if row.drained_unix_s is not None:
        since = clock(row.drained_unix_s)[:16]
        yield f"{row.name} is drained since {since}: plans leave it out until splitctl undrain {row.name}"
    if row.online:
        yield from failing_lines(row)
    if row.online and row.clock_offset_s is not None and abs(row.clock_offset_s) >= CLOCKS_DIFFER_S:
        side = "ahead of" if row.clock_offset_s > 0 else "behind"
        yield f"the clock of {row.name} is {time_span(abs(row.clock_offset_s))} {side} the controller's"
    for model, corrected in row.speeds.items():
        if (text := corrected_text(corrected)) is not None:
            yield f"{row.name} computes {model} in {text}"
    yield from taken_lines(row)
    if row.power_problem and row.online:
        yield f"watts of {row.name}: {row.power_problem}"


def steadiness_text(said: Steadiness | None) -> str:
    """How much the time of the same work varies on a machine from one moment to another."""
    if said is None or said.regime == "unknown":
        return UNKNOWN
    return f"{said.regime} ±{100 * said.spread:.1f} %"


def taken_lines(row: NodeRow) -> list[str]:
    """What others take of a machine, where it is much."""
    said = row.steadiness
    if said is None:
        return []
    told = (
        (said.stolen, "of the time of its cores went to others on its host (steal)"),
        (said.throttled, "of the time a limit of its control group held it back (throttling)"),
    )
    return [f"{row.name}: {percent(100 * share)} {what}" for share, what in told if share and share >= TAKEN_SHOWN]


def corrected_text(row: SpeedRow) -> str | None:
    """A profile and its correction, for people; None where the correction is not worth a line."""
    factors = (row.factor, row.int8_factor)
    if all(abs(factor - 1.0) < CORRECTION_SHOWN for factor in factors):
        return None
    int8 = f" (int8: {number(row.int8_factor)})" if abs(row.int8_factor / row.factor - 1.0) >= CORRECTION_SHOWN else ""
    age = f", {time_span(row.age_s)} ago" if row.age_s is not None else ""
    whole = f"{time_span(row.whole_s)}, {number(row.factor)} times{int8} its profile's {time_span(row.profiled_s)}"
    return f"{whole} ({row.origin}{age})"


def show_links(rows: Sequence[LinkRow], *, wide: bool = False) -> None:
    """Print the table of `splitctl links`; `wide` with every column."""
    droppable = () if wide else ("origin", "age", "±")
    table = plain_table("", ("from", "to", "state"), ("bandwidth", "±", "one way", "age"), droppable, elsewhere=WIDE)
    for name in ("origin", *(("± one way", "why not") if wide else ())):
        table.add_column(name)
    for row in rows:
        state = "up" if row.up else "down" if row.latency_s is not None else "missing"
        rate = UNKNOWN if row.bandwidth_bytes_per_s is None else speed(row.bandwidth_bytes_per_s)
        spans = (UNKNOWN if span is None else time_span(span) for span in (row.latency_s, row.age_s))
        error = UNKNOWN if row.error is None else f"{100 * row.error:.1f} %"
        origin = row.origin if row.latency_s is not None else UNKNOWN
        more = (UNKNOWN if row.latency_error_s is None else time_span(row.latency_error_s), row.reason) if wide else ()
        table.add_row(row.from_, row.to, state, rate, error, *spans, origin, *more)
    out = console(endless=wide)
    out.print(table if rows else "no link to show: links appear when two agents are online")
    if wide:
        return  # a column has them
    for row in rows:
        if row.reason:
            out.print(f"{row.from_} to {row.to}: {row.reason}")


def _profiled(row: ModelDocument) -> list[str]:
    """Nodes that profiled a model; that one is away is said, for no plan can use it now."""
    return [*row.profiled, *(f"{node} (offline)" for node in row.profiled_offline)]


def show_models(rows: Sequence[ModelDocument], *, wide: bool = False) -> None:
    """Print the table of `splitctl model list`; `wide` with every column."""
    droppable = () if wide else ("quantizable", "units", "operators", "weights")
    table = plain_table(
        "", ("model", "serves"), ("operators", "units", "quantizable", "weights"), droppable, elsewhere=WIDE
    )
    table.add_column("profiled on", wraps=not wide)
    for name in ("stage", "tensors", "goals", "sha256") if wide else ():
        table.add_column(name)
    for row in rows:
        counts = (str(row.operators), str(row.units), str(len(row.quantizable)), size(row.weight_bytes))
        serves = f"epoch {row.epoch} from {row.source}" if row.deployed else "no"
        if row.paused_unix_s is not None:
            serves += ", paused"
        name = row.name if len(row.shapes) < 2 else f"{row.name} ({len(row.shapes)} shapes)"
        goals = UNKNOWN if row.goals is None else goals_text(row.goals)
        more = (row.stage, str(row.tensors), goals, row.sha256) if wide else ()
        table.add_row(name, serves, *counts, ", ".join(_profiled(row)) or UNKNOWN, *more)
    console(endless=wide).print(table if rows else "no model was added: see 'splitctl model add --help'")


def show_model(document: ModelDocument) -> None:
    """Print `splitctl model show`."""
    rows = [
        ("model", document.name),
        ("sha256", document.sha256),
        ("serves", f"epoch {document.epoch} from {document.source}" if document.deployed else "no"),
        *_paused(document.paused_unix_s),
        ("inputs", _tensors(document.inputs)),
        ("outputs", _tensors(document.outputs)),
        ("operators", f"{document.operators} in {document.units} units, {document.tensors} tensors"),
        ("weights", size(document.weight_bytes)),
        *_completion(document),
        ("profiled on", ", ".join(_profiled(document)) or "no node yet"),
        *(("not on", f"{node}: {why}") for node, why in profiling_lines(document.profiling)),
    ]
    rows += [("planned for", _planned(row)) for row in document.shapes if row.inputs]
    rows += [("asked", _asked(entry)) for entry in document.asked[:MOST_ASKED]]
    if document.noise_tightening is not None:
        rows.append(("tightened", _tightening(document.noise_tightening)))
    if document.goals is not None:
        rows.append(("goals", goals_text(document.goals)))
    console().print(properties([*rows, *(("warning", sentence) for sentence in document.warnings)]))


def _paused(since_unix_s: float | None) -> list[tuple[str, str]]:
    """That a model is not planned again by itself, where that is so."""
    return (
        []
        if since_unix_s is None
        else [("paused", f"since {clock(since_unix_s)[:16]}: not planned again by itself until splitctl resume")]
    )


def show_added(document: ModelAddedDocument) -> None:
    """Print the result of `splitctl model add`; its warnings went to standard error."""
    rows = [
        ("model", document.name),
        ("sha256", document.sha256),
        ("operators", f"{document.operators} in {document.units} units, {document.tensors} tensors"),
        *_completion(document),
        ("profiled on", ", ".join(document.profiled) or "no node yet"),
    ]
    console().print(properties(rows))


def show_profiled(model: str, rows: Sequence[ProfiledRow]) -> None:
    """Print the result of `splitctl model profile`."""
    table = plain_table("", ("node", "state"), ("took", "whole model"))
    for row in rows:
        table.add_row(row.node, row.state, time_span(row.seconds), time_span(row.whole_s) if row.whole_s else UNKNOWN)
    out = console()
    out.print(table if rows else f"no node is online: nodes profile {model} once they are")
    for row in rows:
        if row.reason:
            again = "" if row.next_try_s is None else f"; it is tried again in {row.next_try_s:.0f} s"
            out.print(f"{row.node}: {row.reason}{again}")


def goals_text(goals: Goals) -> str:
    """Goals in one line."""
    noise = "unlimited" if goals.max_noise is None else f"at most {number(goals.max_noise)}"
    limit = goals.device_energy_limit_j
    device = "unlimited" if limit is None else f"at most {joules(limit)}"
    weights = f"latency {number(goals.latency_weight)}, energy {number(goals.energy_weight)}"
    sustained = "" if goals.min_rate_hz is None else f"; at least {rate(goals.min_rate_hz)}"
    text = f"weights {weights}; noise {noise}; device energy {device}{sustained}"
    if goals.min_battery is None:
        return text
    return f"{text}; battery at least {goals.min_battery:.0%} for {number(goals.battery_hours)} h"


def sustained_text(rate_hz: float | None, bottleneck: str | None) -> str:
    """How many requests a second a plan sustains, and what bounds that."""
    return UNKNOWN if rate_hz is None else f"{rate(rate_hz)}, bounded by {bottleneck}"


def _completion(document: ModelDocument | ModelAddedDocument) -> list[tuple[str, str]]:
    """What is known of int8 and codecs, or how far finding out is."""
    if document.stage == "complete":
        return [
            ("quantizable", ", ".join(document.quantizable) or "none"),
            ("noise model", _noise_model(document.noise_model)),
            ("wire codecs", _codecs(document.codecs)),
        ]
    row = document.completion
    if row is None:
        return [("int8, codecs", "not known yet")]
    left = f", about {time_span(row.left_s)} left" if row.left_s is not None else ""
    rows = [("int8, codecs", f"{row.fraction:.0%} found out ({row.what}{left}); until then it serves in float")]
    if row.reason:
        again = f"; it is tried again in {time_span(row.next_try_s)}" if row.next_try_s else ""
        rows.append(("failed", f"{row.reason}{again}"))
    return rows


def _noise_model(model: NoiseModelDocument | None) -> str:
    if model is None or model.r2_test is None:
        return "none needed: nothing is quantizable"
    fit = f"degree {model.degree}, R² {number(model.r2_train)} (training), {number(model.r2_test)} (test)"
    unit = "" if model.metric == "rho" else f" of {model.metric}"
    scale = "" if model.form == "polynomial" else f", over a curve ({model.form})"
    least = f", least bound with any: {number(model.least_noise)}" if model.least_noise > 0 else ""
    times = f" (×{number(model.sampling)} for other inputs)" if model.sampling > 1.0 else ""
    measured = f"{model.patterns} patterns on {model.samples} samples{times} in {time_span(model.seconds)}"
    return f"{fit}{unit}{scale}, {measured}; all quantized: {number(model.full_noise)}{least}"


def _tightening(tightening: TighteningDocument) -> str:
    found = (
        f"epoch {tightening.epoch} had {number(tightening.measured)} on average over {tightening.samples} checked "
        f"requests where {number(tightening.predicted)} was predicted and {number(tightening.bound)} allowed"
    )
    if tightening.float_only:
        return f"only float is planned under a noise bound: {found}"
    return f"noise is predicted {number(tightening.factor)} times higher than the noise model says: {found}"


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}{_shape(spec)}" for spec in specs)


def _shape(spec: TensorSpec) -> str:
    """With its planning shape where requests may choose."""
    admitted = "×".join("any" if size < 0 else str(size) for size in spec.shape)
    planned = "×".join(map(str, spec.sizes))
    return f"[{admitted}], planned for [{planned}]" if spec.typical else f"[{admitted}]"


def _planned(row: PlanningShapeRow) -> str:
    sizes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in row.inputs.items())
    serves = "no plan" if row.epoch is None else f"epoch {row.epoch}"
    latency = "" if row.predicted_latency_s is None else f", predicted {time_span(row.predicted_latency_s)}"
    return f"{sizes} ({row.name}: {serves}{latency}{', for requests ask it' if row.automatic else ''})"


def _asked(entry: AskedSizes) -> str:
    shapes = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in entry.inputs.items())
    return f"{shapes} by {entry.requests} requests"


def _codecs(codecs: CodecsDocument | None) -> str:
    if codecs is None:
        return "not measured: add the model again with --replace"
    samples = "1 sample" if codecs.samples == 1 else f"{codecs.samples} samples"
    return f"noise of {codecs.measured} of {codecs.tensors} tensors on {samples} in {time_span(codecs.seconds)}"
