"""Notes on a fleet: what holds because somebody asked for it, which another operator may wonder about.

Owns: these sentences. Its rule: pure; nothing that is wrong is among them. Not here: what is wrong (`problems.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgesplit.formatting import time_span
from edgesplit.operations.inspection.status_operations import NoteRow
from edgesplit_controller.storage.deployment_state import ALL_MODELS, State

__all__ = ["all_notes"]


def all_notes(state: State, standbys: Sequence[str], now_unix_s: float) -> Iterator[NoteRow]:
    """All of them.

    Args:
        state: What is remembered.
        standbys: Machines on which controllers wait.
        now_unix_s: Now. [s since the epoch]
    """
    for node, since_unix_s in sorted(state.drained.items()):
        yield NoteRow(
            what=f"node {node} is drained since {_ago(since_unix_s, now_unix_s)}: plans leave it out",
            do=f"splitctl undrain {node}",
        )
    for model, since_unix_s in sorted(state.paused.items()):
        what = "no model is" if model == ALL_MODELS else f"{model} is not"
        yield NoteRow(
            what=f"{what} planned again by itself, since {_ago(since_unix_s, now_unix_s)}: planning is paused",
            do="splitctl resume" if model == ALL_MODELS else f"splitctl resume {model}",
        )
    for machine in standbys:
        yield NoteRow(what=f"a controller on {machine} stands by to take over")


def _ago(since_unix_s: float, now_unix_s: float) -> str:
    return time_span(max(0.0, now_unix_s - since_unix_s))
