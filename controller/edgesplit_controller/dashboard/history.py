"""History of figures: an hour of samples ten seconds apart, in compact arrays.

Owns: series by subject (a node, a deployment), on one axis of time. Its rule: pure; a figure that nobody told is missing, not carried on.
Not here: what is sampled, and when (`history_keeper.py`).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping

import msgspec

__all__ = ["KEPT", "STEP_S", "EpochRow", "History", "HistoryDocument"]

STEP_S = 10.0
KEPT = 360
"""Samples: an hour."""
MOST_EPOCHS = 64
"""Of one deployment, the latest."""


class EpochRow(msgspec.Struct, frozen=True, kw_only=True):
    """From when on a plan answered.

    Attributes:
        epoch: Its number; None: none answered.
        from_unix_s: Of the first sample at which it did. [s since the epoch]
    """

    epoch: int | None
    from_unix_s: float


class HistoryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a node or of a deployment over the last hour at most.

    Attributes:
        step_s: Between samples. [s]
        at_unix_s: Of each sample, oldest first. [s since the epoch]
        series: Figure to its value at each sample; null where it was not known.
        units: Of each figure.
        origin: Where figures come from now: `measured`, `modelled`, `configured` or `predicted`.
        epochs: Plans of a deployment, oldest first; none of a node.
    """

    step_s: float
    at_unix_s: list[float]
    series: dict[str, list[float | None]]
    units: dict[str, str]
    origin: dict[str, str]
    epochs: tuple[EpochRow, ...] = ()


class History:
    """All series of one kind of subject."""

    def __init__(self) -> None:
        self._at_s = array("d", [math.nan] * KEPT)
        self._subjects: dict[str, dict[str, array[float]]] = {}
        self._epochs: dict[str, list[EpochRow]] = {}
        self._seen: dict[str, int] = {}
        self._count = 0

    def __contains__(self, subject: str) -> bool:
        return subject in self._subjects

    def add(self, at_unix_s: float, figures: Mapping[str, Mapping[str, float | None]]) -> None:
        """Take a sample of all subjects in; who is not among them was not there.

        Args:
            at_unix_s: When. [s since the epoch]
            figures: Subject to its figures by name.
        """
        slot = self._count % KEPT
        self._at_s[slot] = at_unix_s
        for subject, values in figures.items():
            self._seen[subject] = self._count
            series = self._subjects.setdefault(subject, {})
            for name in values.keys() - series.keys():
                series[name] = array("f", [math.nan] * KEPT)
        for subject, series in self._subjects.items():
            values = figures.get(subject, {})
            for name, column in series.items():
                value = values.get(name)
                column[slot] = math.nan if value is None else value
        self._count += 1
        self._forget()

    def answers(self, subject: str, epoch: int | None, at_unix_s: float) -> None:
        """Note which plan answers now."""
        rows = self._epochs.setdefault(subject, [])
        if not rows or rows[-1].epoch != epoch:
            rows.append(EpochRow(epoch=epoch, from_unix_s=at_unix_s))
            del rows[:-MOST_EPOCHS]

    def document(self, subject: str, units: Mapping[str, str], origin: Mapping[str, str]) -> HistoryDocument:
        """What is kept of a subject.

        Args:
            subject: Of which something may be kept.
            units: By the name of the figure, or by what stands before its colon.
            origin: By the name of the figure.
        """
        slots = [number % KEPT for number in range(max(0, self._count - KEPT), self._count)]
        series = self._subjects.get(subject, {})
        return HistoryDocument(
            step_s=STEP_S,
            at_unix_s=[self._at_s[slot] for slot in slots],
            series={
                name: [None if math.isnan(column[slot]) else column[slot] for slot in slots]
                for name, column in sorted(series.items())
            },
            units={name: units[name.partition(":")[0]] for name in sorted(series)},
            origin={name: said for name, said in origin.items() if name in series},
            epochs=tuple(self._epochs.get(subject, ())),
        )

    def _forget(self) -> None:
        """Drop who was not there for as long as samples are kept, and figures that were not."""
        if self._count % KEPT:
            return  # once an hour is enough
        for subject in [subject for subject, seen in self._seen.items() if seen < self._count - KEPT]:
            del self._subjects[subject], self._seen[subject]
            self._epochs.pop(subject, None)
        for series in self._subjects.values():
            for name in [name for name, column in series.items() if all(map(math.isnan, column))]:
                del series[name]
