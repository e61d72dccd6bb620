"""`splitctl plan`: the active plan of a model.

Owns: this command and the export of the plan's problem file. Its rule: shows what the controller holds, computes
nothing. Not here: offline planning (`solve.py`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import msgspec

from edgesplit.operations.plan_operations import ExportProblem, PlanDocument, ShowPlan
from edgesplit_controller.cli.ask import Conversation
from edgesplit_controller.cli.common import Settings, help_epilog, note, print_json, table_options
from edgesplit_controller.cli.files import write_problem
from edgesplit_controller.cli.shell.completion import model_names

__all__ = ["plan"]


@click.command(
    epilog=help_epilog(
        "splitctl plan yolo\nsplitctl plan yolo --export problem.json.gz && splitctl solve problem.json.gz",
        "{model, epoch, status, latency_s (of the simulated timeline), energy_j, device_energy_j, noise, score, gap, "
        "per_node: {NODE: {operators, components, quantized}}, components: [{id, node, operators, inputs, outputs, "
        "predicted_s, measured_s}], "
        "quantized: [OPERATOR], codecs: {TENSOR: CODEC}, timeline, solve_s, reason, source, goals, measured: {requests, "
        "failed, unplanned, requests_per_s, latency_s, energy_j, device_energy_j, energy_origin, noise: {samples, mean, max, last, deviation, "
        "measure, exceeds, note}}, serving, pins: [{select, nodes, operators, units, also}], forbidden: [NODE], on, candidates: [NODE], fallbacks: {NODE: {epoch, latency_s, energy_j, noise, per_node, prepared, latency_interval_s, energy_interval_j}}, battery: "
        "null or {node, state, floor, hours, fraction, above_floor_j, requests_per_s, rate_origin, idle_w, others_w, "
        "limit_j, kept, stale, text}, energy_per_node: {NODE: {predicted_compute_j, predicted_transmit_j, requests, "
        "compute_j, compute_origin, transmit_j, transmit_origin}}, speeds: {NODE: as in splitctl nodes}, declined: {count, since_unix_s, "
        "last_unix_s, last_reason}, latency_interval_s: [LOW, HIGH], energy_interval_j: [LOW, HIGH], fixed, sources: [{source, name, epoch, latency_s, energy_j, nodes, measured_latency_s}], rate_hz, bottleneck, "
        "concession: null or {tolerance, share, components, components_of_best, cut_bytes, cut_bytes_of_best, "
        "latency_of_best_s, energy_of_best_j, text}, waiting_s, loaded_latency_s, waiting: {origin, covered, share, mean_s, worst_s, "
        "places: {NODE or FROM:TO: {load, mean_s}}}, fairness, paused_unix_s}; all but measured, measured_latency_s and fairness are predictions, nine of ten prove to lie within their interval, fallbacks are what serves when a node is lost, "
        "battery is what a battery floor allows now.",
    )
)
@click.argument("name", shell_complete=model_names)
@click.option(
    "--export",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the plan's problem file (.json or .json.gz).",
)
@table_options
def plan(settings: Settings, wide: bool, name: str, export: Path | None) -> None:
    """Show the active plan of the model NAME: which operators sit where, predicted and measured figures, and why.

    Then what it must keep to (pins, forbidden nodes), and what serves when one of its nodes is lost.
    """
    if export is not None and not export.name.endswith((".json", ".json.gz")):
        raise click.BadParameter(f"{export} must end in .json or .json.gz", param_hint="--export")
    document, problem = asyncio.run(_ask(settings, name, export is not None))
    if export is not None:
        write_problem(export, msgspec.json.encode(problem))
        note(f"the problem of epoch {document.epoch} is in {export}")
    if settings.json:
        print_json(document)
        return
    from edgesplit_controller.cli.views.plan_view import show_plan  # noqa: PLC0415 - programs do without rich

    show_plan(document, wide=wide)


async def _ask(settings: Settings, name: str, with_problem: bool) -> tuple[PlanDocument, dict[str, Any]]:
    async with Conversation.of(settings) as conversation:
        document = await conversation.ask(ShowPlan(name=name), PlanDocument)
        if not with_problem:
            return document, {}
        return document, await conversation.ask(ExportProblem(name=name), dict[str, Any])
