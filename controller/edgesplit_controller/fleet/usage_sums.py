"""Usage totals: what serving cost, summed up over agents that restart.

Owns: the sums behind the measured figures of a plan. Its rule: an agent counts anew whenever it prepares an epoch, and
says since when; what it counted before stays in the sum, and a message the broker delivers again adds nothing. Not
here: means per request (`answering/plan_documents.py`), what agents count (their `reporting/usage.py`).
"""

from __future__ import annotations

from collections import Counter
from functools import reduce

import msgspec

from edgesplit.control.figure_messages import AskedSizes, Usage
from edgesplit.names import base_name
from edgesplit.planning.origins import Origin, weakest

__all__ = ["UsageSums"]

MOST_RUNS = 64
"""Counts of so many runs of an agent are told apart in one sum; earlier ones are one."""
_EARLIER = float("-inf")
MOST_SIZES = 32
"""Of the sizes that requests have, so many are told."""
SUMMED = (
    "requests",
    "failed",
    "compute_s",
    "coding_s",
    "transmit_s",
    "waiting_s",
    "handling_s",
    "energy_j",
    "latency_sum_s",
    "compute_energy_j",
    "transmit_energy_j",
    "unplanned",
)


class UsageSums:
    """All sums, by node, model and epoch."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], dict[float, Usage]] = {}

    def add(self, said: Usage) -> Usage:
        """Take in what a node said; returns what it adds to the sum."""
        counts = self._counts.setdefault((said.node, said.model, said.epoch), {})
        before = counts.get(said.counted_since_unix_s)
        if before is None:
            counts[said.counted_since_unix_s] = said
            if len(counts) > MOST_RUNS:
                _put_together(counts)
            return said
        is_old = said.requests < before.requests or said.compute_s < before.compute_s
        # An agent of an earlier release does not say since when: its last word counts.
        if not is_old or not said.counted_since_unix_s:
            counts[said.counted_since_unix_s] = said
        return _grown(before, said)

    def of(self, model: str, epoch: int) -> tuple[Usage, ...]:
        """What serving an epoch cost, one entry a node."""
        return tuple(
            reduce(_sum, counts.values())
            for (_, of_model, of_epoch), counts in self._counts.items()
            if (of_model, of_epoch) == (model, epoch)
        )

    def asked(self, model: str) -> tuple[AskedSizes, ...]:
        """Sizes that requests of a model had, on whatever plan of whatever planning shape, the most frequent first."""
        requests: Counter[tuple[tuple[str, tuple[int, ...]], ...]] = Counter()
        for key, counts in self._counts.items():
            for entry in (
                entry for said in counts.values() if model in (key[1], base_name(key[1])) for entry in said.sizes
            ):
                requests[tuple(sorted(entry.inputs.items()))] += entry.requests
        return tuple(
            AskedSizes(inputs=dict(sizes), requests=count) for sizes, count in requests.most_common(MOST_SIZES)
        )

    def forget_node(self, node: str) -> None:
        """Drop what is known of a node."""
        self._counts = {key: counts for key, counts in self._counts.items() if key[0] != node}

    def forget(self, model: str) -> None:
        """Drop what is known of a model."""
        self._counts = {key: counts for key, counts in self._counts.items() if key[1] != model}


def _put_together(counts: dict[float, Usage]) -> None:
    """Make one of the two runs that were heard of first."""
    first, second, *_ = counts
    both = _sum(counts.pop(first), counts.pop(second))
    later = dict(counts)
    counts.clear()
    counts |= {_EARLIER: both, **later}


def _sum(first: Usage, second: Usage) -> Usage:
    both = (first, second)
    energy: list[Origin] = [usage.energy_origin for usage in both if usage.energy_j > 0]
    compute: list[Origin] = [usage.compute_energy_origin for usage in both if usage.compute_energy_j > 0]
    return msgspec.structs.replace(
        second,
        energy_origin=weakest(energy or [second.energy_origin]),
        compute_energy_origin=weakest(compute or [second.compute_energy_origin]),
        **{name: getattr(first, name) + getattr(second, name) for name in SUMMED},
    )


def _grown(before: Usage, now: Usage) -> Usage:
    grown = {name: max(getattr(now, name) - getattr(before, name), 0) for name in SUMMED}
    return msgspec.structs.replace(now, **grown)
