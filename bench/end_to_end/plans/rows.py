"""What was found of one plan, and where its error came from: compute, coding, waiting, transfer.

Owns: a row and its error's parts, judged beside the control. Its rule: pure; the parts of an error sum up to it, and what no
figure tells apart is in what is left, never spread over the others. Not here: measuring (`visits.py`), means (`summary.py`).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Control", "Failed", "JudgedRow", "Row", "Split", "judged", "measured_split", "predicted_split"]


@dataclass(frozen=True)
class Split:
    """Where the seconds of a request go; None: not told. What happens at once is counted twice. [s]

    Attributes:
        compute_s: Of components.
        coding_s: Of encoding and decoding.
        transfer_s: Of tensors on their way; as measured, of sending until the acknowledgement came.
        waiting_s: For a node's turn.
    """

    compute_s: float | None = None
    coding_s: float | None = None
    transfer_s: float | None = None
    waiting_s: float | None = None


@dataclass(frozen=True)
class Control:
    """The plain loop beside one node, right before and right after a plan's requests. [s]"""

    core: str
    before_s: float
    after_s: float

    @property
    def mean_s(self) -> float:
        """Of both medians. [s]"""
        return (self.before_s + self.after_s) / 2


@dataclass(frozen=True)
class Failed:
    """A visit that gave no row, and why."""

    model: str
    wish: str
    rates: float
    at_s: float
    reason: str


@dataclass(frozen=True)
class Row:
    """One plan: what it is, what was predicted, what was measured.

    Attributes:
        at_s: When it was visited, from the run's begin. [s]
        again: Whether this very plan had served before in this run.
        rates: Factor on every link's rate. [1]
        operators: Node to how many it computes; only nodes that compute.
        predicted_s: Before its first request. [s]
        interval_s: Stated beside it, if it was. [s]
        corrected_s: Once live timings saw the warm-up. [s]
        corrected_interval_s: Stated beside that. [s]
        measured_s: Median of the requests, as `splitctl infer` beside the source has it. [s]
        predicted: Parts of `predicted_s`.
        measured: Parts of the measured requests, means.
        compute_by_node_s: Measured compute of each node. [s]
        controls: By computing node.
    """

    model: str
    wish: str
    at_s: float
    again: bool
    rates: float
    operators: Mapping[str, int]
    quantized: int
    codecs: tuple[str, ...]
    components: int
    predicted_s: float
    interval_s: tuple[float, float] | None
    corrected_s: float
    corrected_interval_s: tuple[float, float] | None
    measured_s: float
    predicted: Split = field(default_factory=Split)
    measured: Split = field(default_factory=Split)
    compute_by_node_s: Mapping[str, float] = field(default_factory=dict[str, float])
    controls: Mapping[str, Control] = field(default_factory=dict[str, Control])

    @property
    def nodes(self) -> int:
        """How many compute."""
        return len(self.operators)


@dataclass(frozen=True)
class JudgedRow:
    """A row beside the control of the whole run.

    Attributes:
        ratios: Control beside each computing node, relative to its mean over the run. [1]
        settled_s: What would have been measured had the machine been at its mean: compute divided by the ratio. [s]
        error: Of the prediction before the first request, relative to what was measured. [1]
        corrected_error: Of the prediction that live timings corrected. [1]
        settled_error: Of the first prediction, relative to `settled_s`. [1]
        covered: Whether the stated interval holds what was measured; None without one.
        corrected_covered: The same of the corrected prediction's.
        parts_s: Predicted less measured, by part; sums up to the error in seconds. [s]
    """

    row: Row
    ratios: Mapping[str, float]
    settled_s: float
    error: float
    corrected_error: float
    settled_error: float
    covered: bool | None
    corrected_covered: bool | None
    parts_s: Mapping[str, float]


def judged(rows: Sequence[Row]) -> list[JudgedRow]:
    """Every row beside the means of the controls over the run, of its model on its core."""
    seen: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for core, seconds in {control.core: control.mean_s for control in row.controls.values()}.items():
            seen.setdefault((row.model, core), []).append(seconds)
    means = {place: statistics.mean(seconds) for place, seconds in seen.items()}
    return [_judged(row, means) for row in rows]


def _judged(row: Row, means: Mapping[tuple[str, str], float]) -> JudgedRow:
    ratios = {node: control.mean_s / means[row.model, control.core] for node, control in row.controls.items()}
    away_s = sum(row.compute_by_node_s.get(node, 0.0) * (1 - 1 / ratio) for node, ratio in ratios.items())
    settled_s = row.measured_s - away_s
    return JudgedRow(
        row,
        ratios,
        settled_s,
        row.predicted_s / row.measured_s - 1,
        row.corrected_s / row.measured_s - 1,
        row.predicted_s / settled_s - 1,
        _covered(row.interval_s, row.measured_s),
        _covered(row.corrected_interval_s, row.measured_s),
        _parts(row),
    )


def _covered(interval_s: tuple[float, float] | None, measured_s: float) -> bool | None:
    return None if interval_s is None else interval_s[0] <= measured_s <= interval_s[1]


def _parts(row: Row) -> dict[str, float]:
    """Predicted less measured, where both are told; what is left is the transfer's, or `other` where nothing travels.

    An acknowledgement comes later than the tensor that it is for, so seconds of sending are no measure of the transfer: it is
    what else a request took, what client and hand-overs add (as much as `other` has) included.
    """
    both = {
        "compute": (row.predicted.compute_s, row.measured.compute_s),
        "coding": (row.predicted.coding_s, row.measured.coding_s),
        "waiting": (row.predicted.waiting_s, row.measured.waiting_s),
    }
    told = {part: ours - theirs for part, (ours, theirs) in both.items() if ours is not None and theirs is not None}
    left = "transfer" if row.predicted.transfer_s else "other"
    return {**told, left: row.predicted_s - row.measured_s - sum(told.values())}


def predicted_split(plan: Mapping[str, Any]) -> Split:
    """Parts of a plan's predicted timeline; it knows of no waiting but that for tensors and its own components."""
    seconds = {"compute": 0.0, "encode": 0.0, "decode": 0.0, "transfer": 0.0}
    for entry in plan["timeline"]:
        seconds[entry["kind"]] += entry["end_s"] - entry["start_s"]
    return Split(seconds["compute"], seconds["encode"] + seconds["decode"], seconds["transfer"], 0.0)


def measured_split(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Split, dict[str, float]]:
    """Parts of the requests between two looks at a plan, as means per request, and each node's compute. [s]

    A plan's document has means since it began to serve; those of the requests in between follow from both. Where it does
    not say where seconds went, what each component took last stands for compute.
    """
    here = {node: _between(before["measured"].get("per_node", {}).get(node), share) for node, share in _shares(after)}
    shares = {node: share for node, share in here.items() if share is not None}
    if shares:
        sums = {key: sum(share[key] for share in shares.values()) for key in _PARTS}
        split = Split(sums["compute_s"], sums["coding_s"], sums["transmit_s"], sums["waiting_s"])
        return split, {node: share["compute_s"] for node, share in shares.items()}
    by_node: dict[str, float] = {}
    for component in after["components"]:
        if component["measured_s"] is None:
            return Split(), {}
        by_node[component["node"]] = by_node.get(component["node"], 0.0) + component["measured_s"]
    return Split(compute_s=sum(by_node.values())), by_node


_PARTS = ("compute_s", "coding_s", "transmit_s", "waiting_s")


def _shares(plan: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    return list(plan["measured"].get("per_node", {}).items())


def _between(before: Mapping[str, float] | None, after: Mapping[str, float]) -> dict[str, float] | None:
    """Means over the requests that a node counted in between; None where it counted none."""
    earlier = before or dict.fromkeys(("requests", *_PARTS), 0.0)
    requests = after["requests"] - earlier["requests"]
    if requests <= 0:
        return None
    return {key: (after[key] * after["requests"] - earlier[key] * earlier["requests"]) / requests for key in _PARTS}
