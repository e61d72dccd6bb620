"""The results as CSV: one row a cell, a request, a comparison, a claim, ...; every digit, units in the columns' names.

Owns: which files there are, their columns, writing and reading. Its rule: what a figure or claim says can be found again in a file by the
cell's identifier. Not here: what people read (`wording.py`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.comparing.cell_goals import measured, median_s
from lab.comparing.wins import Win
from lab.reporting.analysis.claims import IN_TIME_S, EvidenceClaim
from lab.reporting.analysis.over_time import over_time
from lab.reporting.analysis.prediction_errors import cell_errors
from lab.results import Cell, Results

__all__ = ["CsvTable", "csv_tables", "read_csv", "write_csv"]

Value = str | int | float | bool | None


@dataclass(frozen=True)
class CsvTable:
    """One file.

    Attributes:
        name: Of the file.
        about: What a row is.
        columns: Names, with units.
        rows: Values; None where nothing was measured.
    """

    name: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


def csv_tables(results: Results, found: Sequence[Win], claims: Sequence[EvidenceClaim]) -> list[CsvTable]:
    """All files of a report."""
    both = [*results.cells, *results.baselines]
    return [
        _claims(claims),
        _cells(both),
        _requests(both),
        _comparisons(found),
        _models(results),
        _noise_fits(results),
        _timelines(both),
        _dynamics(results),
        _requests_over_time(results),
        _energy_over_time(results),
        _reactions(results),
        _plan_costs(results),
        CsvTable(
            "failures.csv",
            "A step without figures",
            ("id", "reason"),
            tuple((f.id, f.reason) for f in results.failures),
        ),
    ]


def write_csv(table: CsvTable) -> str:
    """As text; what was not measured is an empty field, and every float reads back as it was."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow(["" if value is None else repr(value) if isinstance(value, float) else value for value in row])
    return out.getvalue()


def read_csv(text: str) -> list[dict[str, str]]:
    """Rows by column."""
    return list(csv.DictReader(io.StringIO(text)))


def _claims(claims: Sequence[EvidenceClaim]) -> CsvTable:
    return CsvTable(
        "claims.csv",
        "A claim",
        ("name", "sentence", "verdict", "value", "interval", "basis", "missing", "published", "data", "command"),
        tuple(
            (
                *(claim.name, claim.sentence, claim.verdict, claim.value, claim.interval, claim.basis),
                *("; ".join(claim.missing), claim.published, claim.data, claim.command),
            )
            for claim in claims
        ),
    )


def _cells(cells: Sequence[Cell]) -> CsvTable:
    errors = {one.cell.id: one for one in cell_errors(cells)}
    rows: list[tuple[Value, ...]] = []
    for cell in cells:
        error = errors.get(cell.id)
        plan, ends = cell.plan, cell.plan.interval_s or (None, None)
        rows.append(
            (
                *(cell.id, cell.method, cell.model, "+".join(cell.nodes), cell.latency_weight, cell.energy_weight),
                *(cell.max_noise, cell.round, cell.visit, cell.at_unix_s, plan.status, plan.predicted_s, *ends),
                median_s(cell) if measured(cell) else None,
                len(cell.latencies_s),
                *((error.error, error.inside, error.loop_drift, error.request_spread) if error else (None,) * 4),
                *(plan.predicted_j, cell.energy_j, cell.energy_origin, plan.predicted_noise, cell.noise_measured),
                *(cell.accuracy, _counts(plan.operators), _counts(plan.components), len(plan.quantized)),
                *(len(plan.codecs), plan.solve_s, plan.deploy_s),
                *(_controls(cell), _seconds(cell.compute_s)),
            )
        )
    columns = (
        *("id", "method", "model", "nodes", "latency_weight", "energy_weight"),
        *("max_noise", "round", "visit", "at_unix_s", "status", "predicted_s", "interval_low_s", "interval_high_s"),
        *("measured_median_s", "requests", "error", "inside_interval", "control_drift", "request_spread"),
        *("predicted_j", "energy_j", "energy_origin", "predicted_noise", "noise_measured"),
        *("accuracy", "operators", "components", "quantized", "coded_tensors", "solve_s", "deploy_s"),
        *("control_before_after_s", "compute_s"),
    )
    return CsvTable("cells.csv", "A plan that was deployed and measured", columns, tuple(rows))


def _counts(counts: dict[str, int]) -> str:
    return " ".join(f"{node}={count}" for node, count in counts.items())


def _controls(cell: Cell) -> str:
    return " ".join(f"{node}={loop.before_s!r}/{loop.after_s!r}" for node, loop in cell.controls.items())


def _seconds(by: dict[str, float]) -> str:
    return " ".join(f"{node}={seconds!r}" for node, seconds in by.items())


def _requests(cells: Iterable[Cell]) -> CsvTable:
    rows = tuple((cell.id, number, taken) for cell in cells for number, taken in enumerate(cell.latencies_s))
    return CsvTable("requests.csv", "A request of a cell", ("cell", "number", "latency_s"), rows)


def _comparisons(found: Sequence[Win]) -> CsvTable:
    columns = (
        *("model", "nodes", "latency_weight", "energy_weight", "max_noise", "measure", "baseline", "edgesplit"),
        *("of_baseline", "ratio", "ratio_low", "ratio_high", "rounds", "cells"),
    )
    rows = tuple(
        (
            *(win.goals.model, "+".join(win.goals.nodes), *win.goals[2:], win.measure, win.method, win.own),
            *(win.other, win.ratio.value, win.ratio.low, win.ratio.high, win.ratio.samples, " ".join(win.cells)),
        )
        for win in found
    )
    return CsvTable("comparisons.csv", "edgesplit beside a baseline, for some goals [s or J]", columns, rows)


def _models(results: Results) -> CsvTable:
    columns = (
        *("model", "file_sha256", "bytes", "operators", "units", "quantizable", "full_noise"),
        *("add_s", "profile_s", "noise_s"),
    )
    rows = tuple(
        (
            *(name, facts.file_sha256, facts.nbytes, facts.operators, facts.units, len(facts.quantizable)),
            *(facts.full_noise, facts.add_s, facts.profile_s, facts.noise_s),
        )
        for name, facts in results.models.items()
    )
    return CsvTable("models.csv", "A model", columns, rows)


def _noise_fits(results: Results) -> CsvTable:
    rows = tuple(
        (name, fit.degree, *entry)
        for name, facts in results.models.items()
        for fit in facts.fits
        for entry in zip(fit.held_out, fit.measured, fit.predicted, strict=True)
    )
    return CsvTable("noise_fits.csv", "A pattern", ("model", "degree", "held_out", "measured", "predicted"), rows)


def _timelines(cells: Iterable[Cell]) -> CsvTable:
    rows: list[tuple[Value, ...]] = []
    for cell in cells:
        rows += [
            (cell.id, "predicted", step.kind, step.what, step.node or step.link, step.start_s, step.end_s)
            for step in cell.plan.timeline
        ]
        rows += [
            (cell.id, "executed", "compute", part.component, part.node, part.start_s, part.end_s)
            for part in cell.executed or []
        ]
    columns = ("cell", "origin", "kind", "what", "where", "start_s", "end_s")
    return CsvTable("timelines.csv", "A step of one request", columns, tuple(rows))


def _dynamics(results: Results) -> CsvTable:
    columns = (
        *("model", "strategy", "at_unix_s", "requests", "lost", "median_s", "regret_s", "regret_share", "energy_j"),
        *("changes", "not_in_time", "without_oracle", "slowest_within_5_percent_s"),
    )
    found = [over_time(run, in_time_s=IN_TIME_S) for run in results.dynamics]
    rows = tuple(
        (
            *(one.run.model, one.run.strategy, one.run.at_unix_s, one.requests, one.lost, one.median_s, one.regret_s),
            *(one.regret_share, one.joules, len(one.run.changes), len(one.late), len(one.unknown), one.slowest_s),
        )
        for one in found
    )
    return CsvTable("dynamics.csv", "A strategy under the script of changes", columns, rows)


def _requests_over_time(results: Results) -> CsvTable:
    rows = tuple(
        (run.model, run.strategy, request.at_s, request.latency_s, request.failed, request.epoch)
        for run in results.dynamics
        for request in run.requests
    )
    columns = ("model", "strategy", "at_s", "latency_s", "failed", "epoch")
    return CsvTable("requests_over_time.csv", "A request while the world changed", columns, rows)


def _energy_over_time(results: Results) -> CsvTable:
    rows = tuple(
        (run.model, run.strategy, sample.at_s, sample.joules) for run in results.dynamics for sample in run.energy
    )
    columns = ("model", "strategy", "at_s", "energy_j")
    return CsvTable("energy_over_time.csv", "Energy per request while the world changed", columns, rows)


def _reactions(results: Results) -> CsvTable:
    rows: list[tuple[Value, ...]] = []
    for run in results.dynamics:
        by = {reaction.change: reaction for reaction in run.reactions}
        for number, change in enumerate(run.changes):
            one = by.get(number)
            reached = (one.noticed_s, one.switched_s, one.within_5_percent_s) if one else (None, None, None)
            near_s = one.plan_within_5_percent_s if one else None
            rows.append((run.model, run.strategy, number, change.at_s, change.what, *reached, near_s))
    columns = (
        *("model", "strategy", "change", "at_s", "what", "noticed_s", "switched_s", "within_5_percent_s"),
        "plan_within_5_percent_s",
    )
    return CsvTable("reactions.csv", "A change, and how fast a strategy followed", columns, tuple(rows))


def _plan_costs(results: Results) -> CsvTable:
    rows = tuple(
        (run.model, run.strategy, cost.interval, cost.epoch or "oracle", cost.latency_s, cost.joules)
        for run in results.dynamics
        for cost in run.plan_costs
    )
    columns = ("model", "strategy", "interval", "epoch", "modelled_latency_s", "modelled_energy_j")
    return CsvTable(
        "plan_costs.csv", "A plan that served, and the oracle's, in the true problem of an interval", columns, rows
    )
