"""Tables of the report: errors by configuration, wins, times, strategies, every cell.

Owns: their rows, in words. Its rule: a table says in its heading what is predicted, modelled and measured. Not here: files with every
digit (`csv_files.py`), elements (`markup.py`).
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lab.comparing.cell_goals import CellGoals, called, configuration, goals_of
from lab.comparing.wins import Measure, Win, best_of_each, of_interest
from lab.reporting import published
from lab.reporting.analysis.claims import IN_TIME_S
from lab.reporting.analysis.noise_checks import noise_checks
from lab.reporting.analysis.over_time import over_time
from lab.reporting.analysis.prediction_errors import cell_errors, errors_by_configuration
from lab.reporting.wording import (
    NOTHING,
    of_bytes,
    of_energy,
    of_number,
    of_ratio,
    of_seconds,
    of_share,
    with_interval,
)
from lab.results import Results

__all__ = ["ReportTable", "report_tables"]


@dataclass(frozen=True)
class ReportTable:
    """One table.

    Attributes:
        title: Heading.
        about: What stands in it.
        head: Names of columns.
        rows: In words.
        numbers_from: First column of numbers.
        folded: Shown when asked for.
    """

    title: str
    about: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers_from: int = 1
    folded: bool = False


def report_tables(results: Results, found: Sequence[Win]) -> list[ReportTable]:
    """In the order of the page."""
    return [
        _errors(results),
        _wins(results, found, "latency"),
        _wins(results, found, "energy"),
        _all_wins(results, found),
        _times(results),
        _models(results),
        _noise(results),
        _strategies(results),
        _cells(results),
    ]


def _errors(results: Results) -> ReportTable:
    rows = []
    for errors in errors_by_configuration(results.cells):
        theirs = published.PREDICTION_ERRORS.get(len(errors.nodes))
        rows.append(
            (
                errors.name,
                str(errors.visits)
                if errors.visits == len(errors.cells)
                else f"{errors.visits} ({len(errors.cells)} predictions)",
                with_interval(errors.mean, of_share),
                of_share(errors.worst),
                NOTHING if errors.covered is None else with_interval(errors.covered, of_share),
                of_share(errors.loop_drift),
                of_share(errors.loop_spread),
                NOTHING if theirs is None else f"{of_share(theirs[0])} / {of_share(theirs[1])}",
            )
        )
    return ReportTable(
        "Error of predictions by configuration",
        "Predicted latency, read before the first request, against the measured median; raw. Beside it the host's own spread: how far the control, "
        "a plain loop of the same model on each node's core, moved from before to after a cell, and over the run (standard deviation).",
        ("configuration", "cells", "mean |error|", "worst", "inside 90 % interval", "control in a cell", "control over the run", "study, mean / worst"),
        tuple(rows),
    )  # fmt: skip


def _wins(results: Results, found: Sequence[Win], measure: Measure) -> ReportTable:
    rows = [_win_row(results, win) for win in best_of_each(found, measure) if of_interest(win.goals) == measure]
    origin = "Latency is measured" if measure == "latency" else "Energy is modelled power × measured time"
    return ReportTable(
        f"{measure.capitalize()} beside the best baseline, by goals ({measure} weight 1)",
        "Ratio of medians (edgesplit's over the baseline's; below 1 edgesplit takes less), paired by round, with its 95 % bootstrap "
        "interval (percentile method, 10,000 resamples of rounds and of requests within them; no narrower than Student's t of what the rounds "
        f"of all ratios differ by). {origin}.",
        ("goals", "ratio", "best baseline", "edgesplit", "baseline", "rounds"),
        tuple(rows),
    )


def _all_wins(results: Results, found: Sequence[Win]) -> ReportTable:
    ordered = sorted(found, key=lambda win: (win.measure == "energy", win.goals, win.ratio.value))
    rows = [
        (*_win_row(results, win), win.measure, f"{win.goals.latency_weight:g} / {win.goals.energy_weight:g}")
        for win in ordered
    ]
    return ReportTable(
        "edgesplit beside every baseline",
        "As above, for all goals and methods.",
        ("goals", "ratio", "baseline", "edgesplit", "baseline", "rounds", "measure", "weights"),
        tuple(rows),
        folded=True,
    )


def _win_row(results: Results, win: Win) -> tuple[str, ...]:
    wording = of_seconds if win.measure == "latency" else of_energy
    return (
        _goals(results, win.goals),
        "1, the same plan" if win.same_plan else with_interval(win.ratio, of_ratio),
        called(win.method),
        wording(win.own),
        wording(win.other),
        str(win.ratio.samples),
    )


def _goals(results: Results, goals: CellGoals) -> str:
    """Nodes and bound; the model where there are several."""
    model = f"{goals.model}, " if len(results.models) > 1 else ""
    return f"{model}{configuration(goals.nodes)}, max noise {goals.max_noise:.4g}"


def _times(results: Results) -> ReportTable:
    rows = []
    for nodes in sorted({tuple(cell.nodes) for cell in results.cells}, key=len):
        there = [cell.plan for cell in results.cells if tuple(cell.nodes) == nodes]
        solved = [plan.solve_s for plan in there if plan.solve_s is not None]
        deployed = [plan.deploy_s for plan in there if plan.deploy_s is not None]
        theirs = published.PLANNING_S.get(len(nodes))
        rows.append(
            (
                f"planning, {configuration(nodes)}",
                *_spans(solved),
                NOTHING if theirs is None else f"{theirs:g} s (median)",
            )
        )
        rows.append((f"deployment, {configuration(nodes)}", *_spans(deployed), "29 to 34 s"))
    return ReportTable(
        "Planning and deployment",
        "Seconds until a plan was found, and from the command until it served. The study's: another machine, model and solver.",
        ("step", "plans", "median", "slowest", "study"),
        tuple(rows),
    )


def _spans(taken: Sequence[float]) -> tuple[str, str, str]:
    return (
        str(len(taken)),
        of_seconds(statistics.median(taken)) if taken else NOTHING,
        of_seconds(max(taken, default=None)),
    )


def _models(results: Results) -> ReportTable:
    rows = [
        (
            *(name, of_bytes(facts.nbytes), str(facts.operators), str(facts.units), str(len(facts.quantizable))),
            *(of_number(facts.full_noise), of_seconds(facts.add_s), of_seconds(facts.profile_s)),
            *(of_seconds(facts.noise_s), "248 to 3,700 s"),
        )
        for name, facts in results.models.items()
    ]
    return ReportTable(
        "Models",
        "Noise of the fully quantized model is measured; seconds until a model was added, profiled by all nodes, and its noise profiled.",
        ("model", "file", "operators", "units", "quantizable", "full noise", "added", "profiled", "noise profiled", "study, noise"),
        tuple(rows),
    )  # fmt: skip


def _noise(results: Results) -> ReportTable:
    rows = []
    for check in noise_checks(results):
        plan = check.cell.plan
        rows.append(
            (
                _goals(results, goals_of(check.cell)),
                f"{check.cell.latency_weight:g} / {check.cell.energy_weight:g}",
                str(len(plan.quantized)),
                str(len(plan.codecs)),
                of_number(plan.predicted_noise),
                of_number(check.measured),
                "yes" if check.kept else "no",
                of_share(check.cell.accuracy),
            )
        )
    return ReportTable(
        "Noise of plans",
        "Mean absolute difference of a plan's outputs to the float model's: predicted by the noise model, and measured. Accuracy is the demo model's "
        "mean intersection over union, where it was measured. The first round of each goal.",
        ("goals", "weights", "in int8", "coded", "predicted", "measured", "within", "accuracy"),
        tuple(rows),
    )


def _strategies(results: Results) -> ReportTable:
    rows = []
    for run in results.dynamics:
        one = over_time(run, in_time_s=IN_TIME_S)
        regret = of_seconds(one.regret_s) if one.regret_share is not None else NOTHING
        rows.append(
            (
                *(run.strategy, str(one.requests), str(one.lost), of_seconds(one.median_s), regret),
                *(of_share(one.regret_share), of_energy(one.joules)),
                _in_time(one.late, len(run.changes) - len(one.unknown)),
                of_seconds(one.slowest_s),
                NOTHING if one.plans_late is None else _in_time(one.plans_late, len(run.changes)),
            )
        )
    return ReportTable(
        "Strategies while the world changes",
        f"In time: changes after which requests were within 5 % of the oracle's, by the goals of that time, within {IN_TIME_S:g} s; plan in time: the plan that answered would be, in the true "
        "problem (modelled: the machine's own spread is not in it). Regret: what requests took above "
        "the oracle's; one without an answer took until the next one. Energy: modelled power × measured time.",
        (
            "strategy",
            "requests",
            "lost",
            "median",
            "regret",
            "of oracle's time",
            "energy per request",
            "in time",
            "slowest",
            "plan in time",
        ),
        tuple(rows),
    )


def _in_time(late: Collection[int], known: int) -> str:
    return f"{known - len(late)} of {known}" if known else NOTHING


def _cells(results: Results) -> ReportTable:
    rows = []
    for one in cell_errors(results.cells):
        cell, ends = one.cell, one.cell.plan.interval_s
        goals = goals_of(cell)
        rows.append(
            (
                _goals(results, goals),
                f"{goals.latency_weight:g} / {goals.energy_weight:g}",
                str(cell.round),
                of_seconds(cell.plan.predicted_s),
                NOTHING if ends is None else f"{of_seconds(ends[0])} to {of_seconds(ends[1])}",
                of_seconds(statistics.median(cell.latencies_s)),
                of_share(one.error, signed=True),
                NOTHING if one.inside is None else "yes" if one.inside else "no",
                of_share(one.loop_drift, signed=True),
                of_share(one.request_spread),
                of_energy(cell.energy_j),
                f"{of_number(cell.plan.predicted_noise)} / {of_number(cell.noise_measured)}",
            )
        )
    return ReportTable(
        "Every cell of edgesplit's",
        "Raw error beside the control's move from before to after, the spread of the requests (half of their middle 90 %), and the interval "
        "that was stated. Noise: predicted / measured. Energy: modelled power × measured time.",
        ("cell", "weights", "round", "predicted", "90 % interval", "measured", "error", "inside", "control", "requests ±",
         "energy", "noise"),
        tuple(rows),
        folded=True,
    )  # fmt: skip
