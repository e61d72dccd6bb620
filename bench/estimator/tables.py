"""What replaying showed, as one table and as JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from bench.estimator.forecasts import Forecast
from bench.estimator.scores import Score

__all__ = ["document", "figures", "forecast_table", "score_table"]


def figures(scores: Sequence[Score]) -> dict[str, float]:
    """Of one scenario and estimator: medians over seeds, the worst of all seeds, and coverage of all together."""
    hits = [hit for score in scores for hit in score.hits]
    spare_hits = [hit for score in scores for hit in score.spare_hits]
    every = [*hits, *spare_hits]
    return {
        "rms": _median(score.rms for score in scores),
        "worst": _median(score.worst for score in scores),
        "spare_rms": _median(score.spare_rms for score in scores),
        "believed_s": _median(max(score.believed_s, default=math.nan) for score in scores),
        "latest_believed_s": max((max(score.believed_s, default=math.nan) for score in scores), default=math.nan),
        "false_jumps": statistics.fmean(score.false_jumps for score in scores),
        "wander": _median(score.wander for score in scores),
        "coverage": statistics.fmean(every) if every else math.nan,
        "timed_coverage": statistics.fmean(hits) if hits else math.nan,
        "spare_coverage": statistics.fmean(spare_hits) if spare_hits else math.nan,
        "deviation": _median(statistics.median(score.deviations) if score.deviations else math.nan for score in scores),
    }


def score_table(found: Mapping[str, Mapping[str, Sequence[Score]]], seeds: int) -> Table:
    """A scenario and estimator a row."""
    table = Table(
        "recording", "estimator", "error\nrms", "worst", "never timed\nrms", "step believed\nmedian / latest",
        "false jumps\nin ten minutes", "wander", "90 % interval\ncoverage", "never timed", "its deviation",
        title=f"Predictions of the next dozen of runs, {seeds} seeds: medians; jumps and coverage of all together",
    )  # fmt: skip
    for scenario, by_estimator in found.items():
        for number, (estimator, scores) in enumerate(by_estimator.items()):
            entry = figures(scores)
            table.add_row(
                "" if number else scenario,
                estimator,
                _percent(entry["rms"]),
                _percent(entry["worst"]),
                _percent(entry["spare_rms"]),
                "-"
                if math.isnan(entry["believed_s"])
                else f"{entry['believed_s']:.0f} / {entry['latest_believed_s']:.0f} s",
                f"{entry['false_jumps']:.1f}",
                _percent(entry["wander"]),
                _percent(entry["timed_coverage"], 0),
                _percent(entry["spare_coverage"], 0),
                _percent(entry["deviation"]),
                end_section=number == len(by_estimator) - 1,
            )
    return table


def document(found: Mapping[str, Mapping[str, Sequence[Score]]]) -> dict[str, Any]:
    """The same for programs: figures by scenario and estimator; null where there is none."""
    return {
        scenario: {
            estimator: {key: value if math.isfinite(value) else None for key, value in figures(scores).items()}
            for estimator, scores in by_estimator.items()
        }
        for scenario, by_estimator in found.items()
    }


def forecast_table(found: Mapping[str, Mapping[str, Forecast]]) -> Table:
    """A recording and estimator a row."""
    table = Table(
        "recording", "reports of\ncomponents", "estimator", "error\nrms", "worst", "first of each\nrms",
        "wander from\nreport to report", "90 % interval\ncoverage",
        title="Recorded runs, every report predicted from those before",
    )  # fmt: skip
    for name, by_estimator in found.items():
        for number, (estimator, entry) in enumerate(by_estimator.items()):
            table.add_row(
                "" if number else name,
                "" if number else f"{entry.reports} of {entry.components}",
                estimator,
                _percent(entry.rms),
                _percent(entry.worst),
                _percent(entry.first_rms),
                _percent(entry.wander),
                "-" if entry.coverage is None else _percent(entry.coverage, 0),
                end_section=number == len(by_estimator) - 1,
            )
    return table


def _median(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def _percent(share: float, digits: int = 1) -> str:
    return "-" if math.isnan(share) else f"{share:.{digits}%}"
