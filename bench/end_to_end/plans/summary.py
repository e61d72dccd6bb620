"""What a run shows: mean, median and worst error, the control's own spread, coverage of the intervals, and the aims.

Owns: the figures below the table and whether they are what is aimed at. Its rule: pure; nothing is left out of a mean, and
what was not measured does not count as reached. Not here: single rows (`rows.py`), tables (`tables.py`).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.end_to_end.plans.rows import Failed, JudgedRow

__all__ = ["Errors", "Summary", "control_spread", "summarized"]

MEAN_AIM, WORST_AIM, STEADY_SPREAD = 0.03, 0.08, 0.03
"""Of the errors where the control's own spread is less than the last; else their mean may be that spread more. [1]"""
COVERAGE_AIM = (0.85, 0.95)
SHARE_OF_CUTS = 1 / 3
"""Of all plans at least so many compute on two or more nodes. [1]"""


@dataclass(frozen=True)
class Errors:
    """Of the absolute errors of all rows. [1]"""

    mean: float
    median: float
    worst: float

    @classmethod
    def of(cls, errors: Sequence[float]) -> Errors:
        """Of signed ones."""
        sizes = [abs(error) for error in errors]
        return cls(statistics.mean(sizes), statistics.median(sizes), max(sizes))


@dataclass(frozen=True)
class Summary:
    """Of one run.

    Attributes:
        rows: Measured, those of plans that had served before included.
        plans: Different ones among them.
        cut: Of those, how many compute on two or more nodes.
        failed: Visits without a row.
        raw: Of predictions before the first request.
        settled: The same, compute being divided by the control's ratio.
        corrected: Of predictions that live timings of the warm-up corrected.
        again: Of first predictions of plans that had served before; None without one.
        spread: Relative standard deviation of the control's medians over the run; None without a control. [1]
        coverage: Share of stated intervals that hold what was measured; None where none was stated. [1]
        corrected_coverage: The same of the corrected predictions'.
        interval_width: Median width of the stated intervals, relative to the prediction. [1]
        parts: Mean absolute error of each part, relative to what was measured. [1]
    """

    rows: int
    plans: int
    cut: int
    failed: int
    raw: Errors
    settled: Errors
    corrected: Errors
    again: Errors | None
    spread: float | None
    coverage: float | None
    corrected_coverage: float | None
    interval_width: float | None
    parts: Mapping[str, float]

    @property
    def mean_aim(self) -> float:
        """What the mean error may be on a machine as steady as this one was. [1]"""
        return MEAN_AIM if self.steady else MEAN_AIM + (self.spread or 0.0)

    @property
    def worst_aim(self) -> float | None:
        """What the worst may be; None where the machine itself varies too much to ask. [1]"""
        return WORST_AIM if self.steady else None

    @property
    def steady(self) -> bool:
        """Whether the machine was; without a control it counts as steady, so that nothing is excused."""
        return self.spread is None or self.spread < STEADY_SPREAD

    @property
    def missed(self) -> tuple[str, ...]:
        """What was aimed at and not reached, a sentence each."""
        low, high = COVERAGE_AIM
        checks = {
            f"mean error {self.raw.mean:.1%}, at most {self.mean_aim:.1%} wanted": self.raw.mean > self.mean_aim,
            f"worst error {self.raw.worst:.1%}, at most {WORST_AIM:.0%} wanted": (
                self.worst_aim is not None and self.raw.worst > self.worst_aim
            ),
            "no prediction stated an interval": self.coverage is None,
            f"intervals hold {self.coverage or 0:.0%} of what was measured, {low:.0%} to {high:.0%} wanted": (
                self.coverage is not None and not low <= self.coverage <= high
            ),
            f"{self.cut} of {self.plans} plans compute on two or more nodes, a third wanted": (
                self.cut < self.plans * SHARE_OF_CUTS
            ),
            f"{self.failed} visits failed": self.failed > 0,
        }
        return tuple(text for text, is_so in checks.items() if is_so)


def summarized(rows: Sequence[JudgedRow], failed: Sequence[Failed]) -> Summary:
    """Of all rows of a run; at least one."""
    first = [entry for entry in rows if not entry.row.again]
    again = [entry.error for entry in rows if entry.row.again]
    intervals = [(entry.row.interval_s, entry.row.predicted_s) for entry in rows]
    widths = [(ends[1] - ends[0]) / predicted_s for ends, predicted_s in intervals if ends is not None]
    parts = sorted({part for entry in rows for part in entry.parts_s})
    return Summary(
        rows=len(rows),
        plans=len(first),
        cut=sum(entry.row.nodes > 1 for entry in first),
        failed=len(failed),
        raw=Errors.of([entry.error for entry in rows]),
        settled=Errors.of([entry.settled_error for entry in rows]),
        corrected=Errors.of([entry.corrected_error for entry in rows]),
        again=Errors.of(again) if again else None,
        spread=control_spread(rows),
        coverage=_share([entry.covered for entry in rows]),
        corrected_coverage=_share([entry.corrected_covered for entry in rows]),
        interval_width=statistics.median(widths) if widths else None,
        parts={
            part: statistics.mean(abs(entry.parts_s.get(part, 0.0)) / entry.row.measured_s for entry in rows)
            for part in parts
        },
    )


def control_spread(rows: Sequence[JudgedRow]) -> float | None:
    """Relative standard deviation of the control's medians, those of each model and core around their own mean. [1]"""
    ratios: list[float] = []
    for entry in rows:
        controls = {control.core: (control, entry.ratios[node]) for node, control in entry.row.controls.items()}
        for control, ratio in controls.values():
            ratios += [median_s * ratio / control.mean_s for median_s in (control.before_s, control.after_s)]
    return statistics.pstdev(ratios, 1.0) if ratios else None


def _share(answers: Sequence[bool | None]) -> float | None:
    told = [answer for answer in answers if answer is not None]
    return sum(told) / len(told) if told else None
