"""Claims: what a run shows of what edgesplit is to show, each with value, interval, verdict, raw data and command.

Owns: the claims' sentences and targets, and their verdicts. Its rule: no claim is wider than its data. A comparison is `met` when its whole
interval is on the right side, `missed` when the whole is on the wrong one, and `undecided` in between or when a part of what it
speaks of is missing; nothing measured is `not measured`. Errors and times describe the very cells that were measured, so
their values decide. Not here: statistics (`lab/comparing`, `prediction_errors.py`, `over_time.py`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lab.comparing.cell_goals import CellGoals, called, goals_of, missing_goals
from lab.comparing.intervals import share
from lab.comparing.verdicts import AT_MOST_SLOWER, Verdict, at_least, at_most, worst_of
from lab.comparing.wins import Measure, Win, best_of_each, of_interest
from lab.reporting import published
from lab.reporting.analysis.noise_checks import noise_checks
from lab.reporting.analysis.over_time import OverTime, over_time
from lab.reporting.analysis.prediction_errors import (
    ConfigurationErrors,
    cell_errors,
    each_once,
    errors_by_configuration,
)
from lab.reporting.wording import counted, of_ratio, of_seconds, of_share
from lab.results import ANSWERING_METHOD, Results

__all__ = [
    "IN_TIME_S",
    "EvidenceClaim",
    "claims",
]

CODECS_NOISE, CODECS_FACTOR = 0.05, 2.0
"""Under this bound, so many times as fast as the study's plan."""
MEAN_ERROR, WORST_ERROR = 0.03, 0.08
COVERED = (0.85, 0.95)
IN_TIME_S = 10.0
"""After a change, until requests take what the oracle's do. [s]"""


@dataclass(frozen=True)
class EvidenceClaim:
    """One claim.

    Attributes:
        name: Anchor and key.
        sentence: What is claimed, with its target.
        value: What was found.
        interval: Its confidence interval, or empty.
        verdict: Whether the claim holds.
        basis: What it is found of, in words.
        missing: What it does not cover though it was asked for.
        published: The study's number, or empty.
        data: Name of the CSV file that has the figures.
        command: That makes the run and draws the report again.
    """

    name: str
    sentence: str
    value: str
    interval: str
    verdict: Verdict
    basis: str
    data: str
    command: str
    missing: tuple[str, ...] = ()
    published: str = ""


def claims(results: Results, found: Sequence[Win]) -> list[EvidenceClaim]:
    """All of them, in the order of their weight; `found` is what `wins` gives."""
    return [
        _never_worse(results, found, "latency"),
        _never_worse(results, found, "energy"),
        *(_faster_than_the_study(results, found, model) for model in results.models),
        *_predictions(results),
        _covered(results),
        *_durations(results),
        _noise_kept(results),
        *_over_time(results),
    ]


def _never_worse(results: Results, found: Sequence[Win], measure: Measure) -> EvidenceClaim:
    best = [win for win in best_of_each(found, measure) if of_interest(win.goals) == measure]
    word, weight = ("slower", "latency weight") if measure == "latency" else ("hungrier", "energy weight")
    worst = max(best, key=lambda win: win.ratio.high or win.ratio.value, default=None)
    missing = _uncompared(results, {win.goals for win in best}, measure)
    verdict: Verdict = "not measured"
    basis = "no cell has a baseline beside it"
    if worst is not None:
        verdicts: list[Verdict] = [at_most(win.ratio.interval, AT_MOST_SLOWER) for win in best]
        verdict = worst_of(verdicts)
        if verdict == "met" and missing:
            verdict = "undecided"
        holds = verdicts.count("met")
        basis = (
            f"{holds} of {len(best)} cells hold, {_rounds(win.ratio.samples for win in best)}; the value is that of the worst, "
            f"{worst.goals.text}, beside {called(worst.method)}; in "
            f"{sum(win.same_plan for win in best)} the best baseline's plan is the very same; median over cells {of_ratio(statistics.median(w.ratio.value for w in best))}"
        )
    return EvidenceClaim(
        name=f"never-{word}",
        sentence=f"Plans are never {word} ({weight} 1) than the best baseline beyond 3 %, in every cell that has baselines beside it "
        + ("(modelled power × measured time)" if measure == "energy" else "(measured)"),
        value="" if worst is None else f"{of_ratio(worst.ratio.value)} times the best baseline",
        interval="" if worst is None else _interval(worst.ratio.interval, of_ratio),
        verdict=verdict,
        basis=basis,
        missing=missing,
        data="comparisons.csv",
        command=results.command,
    )


def _faster_than_the_study(results: Results, found: Sequence[Win], model: str) -> EvidenceClaim:
    """Of each model: how much codecs gain depends on how much of its time is the wire's."""
    found = [win for win in found if win.goals.model == model]
    most = max((len(win.goals.nodes) for win in found), default=0)
    there = [
        win
        for win in found
        if win.method == "study"
        and win.measure == "latency"
        and of_interest(win.goals) == "latency"
        and len(win.goals.nodes) == most
        and most > 2
        and math.isclose(win.goals.max_noise, CODECS_NOISE)
    ]
    worst = min(there, key=lambda win: 1 / win.ratio.value, default=None)
    verdict: Verdict = "not measured"
    interval = None
    if worst is not None:
        ends = worst.ratio.interval
        interval = None if ends is None else (1 / ends[1], 1 / ends[0])
        verdict = at_least(interval, CODECS_FACTOR)
    return EvidenceClaim(
        name=f"faster-than-the-study-{model}",
        sentence=f"{model}: with wire codecs under max noise 0.05, device + edge + cloud is at least 2 times as fast as the study's plan without",
        value="" if worst is None else f"{of_ratio(1 / worst.ratio.value)} times as fast",
        interval=_interval(interval, of_ratio),
        verdict=verdict,
        basis="no such pair of cells" if worst is None else f"{worst.goals.text}, {_rounds([worst.ratio.samples])}",
        data="comparisons.csv",
        command=results.command,
    )


def _predictions(results: Results) -> list[EvidenceClaim]:
    missing = missing_goals(results)
    found = []
    for errors in errors_by_configuration(results.cells):
        lost = tuple(goals.text for goals in missing if goals.nodes == errors.nodes)
        holds = errors.mean.value <= MEAN_ERROR and errors.worst <= WORST_ERROR
        verdict: Verdict = "missed" if not holds else "undecided" if lost else "met"
        theirs = published.PREDICTION_ERRORS.get(len(errors.nodes))
        found.append(
            EvidenceClaim(
                name=f"prediction-{'-'.join(errors.nodes)}",
                sentence=f"Predicted against measured latency, {errors.name}: mean error at most 3 %, worst at most 8 %",
                value=f"mean {of_share(errors.mean.value)}, worst {of_share(errors.worst)}",
                interval=f"mean {_interval(errors.mean.interval, of_share)}" if errors.mean.interval else "",
                verdict=verdict,
                basis=_prediction_basis(errors),
                missing=lost,
                published="" if theirs is None else f"mean {of_share(theirs[0])}, worst {of_share(theirs[1])}",
                data="cells.csv",
                command=results.command,
            )
        )
    return found


def _prediction_basis(errors: ConfigurationErrors) -> str:
    spread = (
        "no control beside"
        if errors.loop_drift is None
        else (
            f"the host's own: control moved {of_share(errors.loop_drift)} within a cell (mean)"
            + (
                ""
                if errors.loop_spread is None
                else f", {of_share(errors.loop_spread)} over the run (standard deviation)"
            )
        )
    )
    plans = f"{counted(errors.visits, 'cell')}"
    if errors.visits != len(errors.cells):
        plans += (
            f" with {counted(len(errors.cells), 'prediction')} of their own (one that several goals gave counts once)"
        )
    return f"{plans}, raw, of one run; {spread}"


def _covered(results: Results) -> EvidenceClaim:
    inside = [one.inside for one in each_once(cell_errors(results.cells))]
    stated = [value for value in inside if value is not None]
    verdict: Verdict = "not measured"
    value = interval = ""
    if stated:
        covered = share(sum(stated), len(stated))
        value, interval = of_share(covered.value), _interval(covered.interval, of_share)
        low, high = COVERED
        overlaps = covered.interval is not None and covered.interval[0] <= high and covered.interval[1] >= low
        verdict = "met" if low <= covered.value <= high else "undecided" if overlaps else "missed"
    return EvidenceClaim(
        name="stated-intervals",
        sentence="Measured medians lie inside the stated 90 % interval in 85 to 95 % of cells",
        value=value,
        interval=interval,
        verdict=verdict,
        basis=f"{len(stated)} of {len(inside)} predictions had an interval stated",
        data="cells.csv",
        command=results.command,
    )


def _noise_kept(results: Results) -> EvidenceClaim:
    checked = noise_checks(results)
    broken = [check.cell.id for check in checked if not check.kept]
    return EvidenceClaim(
        name="noise-bound",
        sentence="The measured noise of every plan that was checked stays within its bound",
        value=f"{len(checked) - len(broken)} of {counted(len(checked), 'plan')}" if checked else "",
        interval="",
        verdict="not measured" if not checked else "missed" if broken else "met",
        basis=f"of {counted(len(results.cells), 'cell')}" + (f"; beyond it: {', '.join(broken)}" if broken else ""),
        data="cells.csv",
        command=results.command,
    )


def _durations(results: Results) -> list[EvidenceClaim]:
    solved: dict[int, list[float]] = {}
    for cell in results.cells:
        if cell.plan.solve_s is not None:
            solved.setdefault(len(cell.nodes), []).append(cell.plan.solve_s)
    deployed = [cell.plan.deploy_s for cell in results.cells if cell.plan.deploy_s is not None]
    noise = {name: model.noise_s for name, model in results.models.items() if model.noise_s is not None}
    slower = [n for n, taken in solved.items() if statistics.median(taken) > published.PLANNING_S.get(n, math.inf)]
    return [
        _duration(
            results,
            name="planning",
            sentence="Planning takes less than the study's (medians by number of nodes)",
            value=", ".join(f"{counted(n, 'node')} {of_seconds(statistics.median(solved[n]))}" for n in sorted(solved)),
            holds=not slower if solved else None,
            basis=f"{sum(map(len, solved.values()))} plans, slowest {of_seconds(max(map(max, solved.values()), default=None))}",
            theirs=", ".join(f"{n}: {seconds:g} s" for n, seconds in published.PLANNING_S.items()),
        ),
        _duration(
            results,
            name="deployment",
            sentence="Deployment, from the command until the plan serves, takes less than the study's",
            value=f"{of_seconds(statistics.median(deployed))} (median)" if deployed else "",
            holds=max(deployed) < published.DEPLOYMENT_S[0] if deployed else None,
            basis=f"{len(deployed)} deployments, slowest {of_seconds(max(deployed, default=None))}",
            theirs="29 to 34 s",
        ),
        _duration(
            results,
            name="noise-profiling",
            sentence="Profiling a model's noise takes less than the study's smallest",
            value=", ".join(f"{name} {of_seconds(taken)}" for name, taken in noise.items()),
            holds=max(noise.values()) < published.NOISE_PROFILING_S[0] if noise else None,
            basis=f"{counted(len(noise), 'model')}, on the processor",
            theirs="248 to 3,700 s, on a graphics processor",
            data="models.csv",
        ),
    ]


def _duration(
    results: Results,
    *,
    name: str,
    sentence: str,
    value: str,
    holds: bool | None,
    basis: str,
    theirs: str,
    data: str = "cells.csv",
) -> EvidenceClaim:
    return EvidenceClaim(
        name=name,
        sentence=f"{sentence}; another machine and model",
        value=value,
        interval="",
        verdict="not measured" if holds is None else "met" if holds else "missed",
        basis=basis if value else "nothing",
        published=theirs,
        data=data,
        command=results.command,
    )


def _answered_in_time(
    results: Results,
    runs: Sequence[OverTime],
    *,
    name: str,
    sentence: str,
    data: str,
    late: Sequence[str],
    slowest: Iterable[float | None],
    unknown: Sequence[str] = (),
) -> EvidenceClaim:
    """That each change was followed in time.

    Args:
        results: Their command made the runs.
        runs: Of the strategy that is judged.
        name: Of the claim.
        sentence: It.
        data: The table that it stands on.
        late: Changes that were not.
        slowest: The longest time of each run, of changes that were at all. [s]
        unknown: Changes of which nobody knows.
    """
    changes = sum(len(found.run.changes) for found in runs)
    known = changes - len(unknown)
    slowest_s = max((seconds for seconds in slowest if seconds is not None), default=None)
    return EvidenceClaim(
        name=name,
        sentence=sentence,
        value=f"{known - len(late)} of {counted(known, 'change')}; the slowest of those reached took {of_seconds(slowest_s)}"
        if known
        else "",
        interval="",
        verdict="not measured" if not known else "missed" if late else "undecided" if unknown else "met",
        basis=f"{counted(len(runs), 'run')}, {counted(changes, 'change')}"
        + (f"; not in time, or never: {'; '.join(late)}" if late else ""),
        missing=tuple(f"without an oracle beside it: {what}" for what in unknown),
        data=data,
        command=results.command,
    )


def _over_time(results: Results) -> list[EvidenceClaim]:
    runs = [over_time(run, in_time_s=IN_TIME_S) for run in results.dynamics if run.strategy == ANSWERING_METHOD]
    noted = [found for found in runs if found.plans_late is not None]
    changes = sum(len(found.run.changes) for found in runs)
    requests, lost = sum(found.requests for found in runs), sum(found.lost for found in runs)
    return [
        _answered_in_time(
            results,
            noted,
            name="plans-like-the-oracle",
            sentence="After each scripted change, the running plan is within 5 % of the oracle's within 10 s (modelled, in the true world)",
            data="plan_costs.csv",
            late=[found.run.changes[number].what for found in noted for number in found.plans_late or ()],
            slowest=(found.plans_slowest_s for found in noted),
        ),
        _answered_in_time(
            results,
            runs,
            name="as-good-as-the-oracle",
            sentence="After each scripted change, requests are within 5 % of the oracle's within 10 s",
            data="reactions.csv",
            late=[found.run.changes[number].what for found in runs for number in found.late],
            slowest=(found.slowest_s for found in runs),
            unknown=[found.run.changes[number].what for found in runs for number in found.unknown],
        ),
        EvidenceClaim(
            name="no-request-lost",
            sentence="No request is lost while the world changes",
            value=f"{lost} of {requests} lost" if requests else "",
            interval="",
            verdict="not measured" if not requests else "missed" if lost else "met",
            basis=f"{counted(len(runs), 'run')}, {counted(changes, 'change')}",
            data="requests_over_time.csv",
            command=results.command,
        ),
    ]


def _uncompared(results: Results, compared: set[CellGoals], measure: Measure) -> tuple[str, ...]:
    """CellGoals of this kind that the scenario wants compared and nothing was."""
    asked = results.scenario.get("baselines", {})
    bounds = asked.get("max_noise")
    weights = [tuple(pair) for pair in asked.get("weights", [])]
    there = [goals_of(cell) for cell in results.cells]
    return tuple(
        goals.text
        for goals in dict.fromkeys([*there, *missing_goals(results)])
        if goals not in compared
        and of_interest(goals) == measure
        and (bounds is None or any(math.isclose(goals.max_noise, bound) for bound in bounds))
        and (not weights or (goals.latency_weight, goals.energy_weight) in weights)
    )


def _interval(ends: tuple[float, float] | None, wording: Callable[[float | None], str]) -> str:
    return "" if ends is None else f"[{wording(ends[0])}, {wording(ends[1])}]"


def _rounds(samples: Iterable[int]) -> str:
    found = sorted(set(samples))
    if found == [1]:
        return "one round: the interval covers requests, not other moments"
    return f"{found[0]} rounds" if len(found) == 1 else f"{found[0]} to {found[-1]} rounds"
