"""Retiming schedule: when an idle model is worth timing again, and what that may cost.

Owns: what is in doubt, the node's allowance, and how a fixed workload tells that the machine became faster. Its rule: pure; over
any length of time no more is spent than a share of it, plus what was saved and what may be owed. Not here: doing it
(`retiming.py`).

A node that was found slow is left by plans, and its recovery is to be found within 10 s. Running a long model every few seconds
costs many times the allowance: that is what two thirds of it are saved up for, and it pays for the first minutes, in which most recover. For as
long as the slowness lasts after that, a workload of a few milliseconds is run instead every few seconds; where it becomes faster
twice in a row, the model is run at once, on credit. A machine whose slowness such a short workload does not feel (a processor quota
that it does not use up) is found recovered when the allowance next pays for a run.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesplit.significance import RETIMING_CHANGE, WORKLOAD_CHANGE, differs, ratio_differs
from edgesplit_agent.profiling.timing.robust_statistics import location

__all__ = ["DOUBT_SHARE", "OWED_S", "ROUTINE_SHARE", "Budget", "Glimpses", "Retimed", "is_doubtful", "is_due"]

ROUTINE_SHARE, DOUBT_SHARE = 0.001, 0.002
"""Of the node's time, for all models together, while none is in doubt, and saved for when one is; with the workload of
`steadiness/` less than half a hundredth. [1]"""
FIRST_S, SAVED_S, ROUTINE_SAVED_S = 3.0, 20.0, 1.0
"""What may be spent in doubt at first, and what unused time adds up to at most, for either. [s]"""
OWED_S = 6.0
"""What may be spent beyond that where the machine seems to have recovered. [s]"""
SOON_S, RARELY_S = 6.0, 60.0
"""Between two timings of a model while its speed is in doubt, and while it is not. [s]"""
SERVED_S = 10.0
"""A model that was served so lately shows the node's speed itself. [s]"""
GLIMPSE_EVERY_S, GLIMPSE_SHARE = 3.0, 0.0015
"""Between two runs of the workload, and of the node's time, where it takes long. [s, 1]"""
KEPT_GLIMPSES = 8


@dataclass(frozen=True)
class Retimed:
    """What is known of a model's last timing.

    Attributes:
        at_s: When it ended, or when the model's profile was first seen. [s]
        ratio: Its time over the profile's; None before the first.
    """

    at_s: float
    ratio: float | None = None


def is_doubtful(last: Retimed, served_s: float) -> bool:
    """Whether a model's speed may be another one than is known.

    Args:
        last: Its last timing.
        served_s: When a component of it last ran. [s]
    """
    return last.ratio is None or differs(1.0, last.ratio, RETIMING_CHANGE) or served_s > last.at_s


def is_due(last: Retimed, served_s: float, now_s: float) -> bool:
    """Whether a model should be timed again, as far as it can be afforded. Arguments as of `is_doubtful`."""
    if now_s - served_s < SERVED_S:
        return False
    if last.ratio is None and served_s < last.at_s:
        return now_s - last.at_s >= SERVED_S  # its profile is new, or an earlier life's
    return now_s - last.at_s >= (SOON_S if is_doubtful(last, served_s) else RARELY_S)


class Budget:
    """Time that may be spent: a share of all time, saved up to a limit.

    Args:
        share: [1]
        limit_s: [s]
        saved_s: At first. [s]
        now_s: [s]
    """

    def __init__(self, share: float, limit_s: float, saved_s: float, now_s: float) -> None:
        self._share = share
        self._limit_s = limit_s
        self._saved_s = saved_s
        self._at_s = now_s

    def spend(self, seconds: float, now_s: float) -> None:
        """Time was spent. [s]"""
        self._save(now_s)
        self._saved_s -= seconds

    def allows(self, now_s: float, *, owed_s: float = 0.0) -> bool:
        """Whether more may be spent now, owing no more than this. [s]"""
        self._save(now_s)
        return self._saved_s > -owed_s

    def _save(self, now_s: float) -> None:
        self._saved_s = min(self._saved_s + self._share * (now_s - self._at_s), self._limit_s)
        self._at_s = now_s


class Glimpses:
    """What a fixed workload takes while a model is slow."""

    def __init__(self) -> None:
        self._known: list[float] = []
        self._faster = False
        self._next_s = float("-inf")

    def begin(self) -> None:
        """A model was found to be as slow as it was not before: what the workload takes from now on goes with that."""
        self._known, self._faster, self._next_s = [], False, float("-inf")

    def is_due(self, now_s: float) -> bool:
        """Whether the workload should be run: now and then, and once more where it was faster. [s]"""
        return self._faster or now_s >= self._next_s

    def take(self, seconds: float, now_s: float) -> bool:
        """Take in what it took; whether the machine became faster. [s]"""
        self._next_s = now_s + max(GLIMPSE_EVERY_S, seconds / GLIMPSE_SHARE)
        usual_s = location(self._known) if self._known else seconds
        faster = seconds < usual_s and ratio_differs(usual_s, seconds, WORKLOAD_CHANGE)
        twice, self._faster = faster and self._faster, faster
        if not faster:
            self._known = [*self._known, seconds][-KEPT_GLIMPSES:]
        return twice
