"""Documents about profiling, and about what fails and is tried again.

Owns: their keys, which are those `splitctl --json` prints. Its rule: documents are additive, a key is never renamed;
times are relative to the answer. Not here: agents' messages (`control/profile_messages.py`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["FailingRow", "ProfiledRow", "ProfilingRow", "failing_text"]


class FailingRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a node tries again and again, of `splitctl nodes`.

    Attributes:
        what: `profiling MODEL` or `preparing epoch N of MODEL`.
        reason: Of the last failure.
        attempts: Failed tries so far.
        failing_s: Since the first of them. [s]
        next_try_s: Until the next one; 0: under way. [s]
    """

    what: str
    reason: str
    attempts: int
    failing_s: float
    next_try_s: float


class ProfilingRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node stands with profiling a model, of `splitctl model show`.

    Attributes:
        node: That profiles.
        state: `done`; `running`; `retrying` (it failed for a passing reason and is tried again); `failed` (for good);
            `waiting` (nothing was heard yet).
        fraction: Done share of what runs. [1]
        reason: Why it fails or failed.
        attempts: Failed tries so far.
        failing_s: Since the first of them; None where it did not fail. [s]
        next_try_s: Until the next one; 0: under way; None where it is not tried again. [s]
    """

    node: str
    state: Literal["done", "running", "retrying", "failed", "waiting"]
    fraction: float = 0.0
    reason: str = ""
    attempts: int = 0
    failing_s: float | None = None
    next_try_s: float | None = None


class ProfiledRow(msgspec.Struct, frozen=True, kw_only=True):
    """What came of `splitctl model profile` on one node.

    Attributes:
        node: That was asked.
        state: `done`; `retrying` (failed, tried again by itself); `failed` (for good); `offline`; `silent` (it did not
            answer in time).
        seconds: From the request on. [s]
        reason: Why it is not done; empty where it is.
        whole_s: The whole model in float as measured now, None where it was not. [s]
        next_try_s: Until it is tried again; None where it is not. [s]
    """

    node: str
    state: Literal["done", "retrying", "failed", "offline", "silent"]
    seconds: float
    reason: str = ""
    whole_s: float | None = None
    next_try_s: float | None = None


def failing_text(attempts: int, failing_s: float, next_try_s: float) -> str:
    """Since when something fails and when it is tried next, for people."""
    tries = "1 try" if attempts == 1 else f"{attempts} tries"
    soon = "now" if next_try_s < 0.5 else f"in {_span(next_try_s)}"
    return f"failing for {_span(failing_s)}, {tries}, next {soon}"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
