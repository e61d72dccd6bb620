"""The operation that looks into everything, `doctor`, and its document.

Owns: this operation and its document. Its rule: keys may be added, never renamed; what cannot be looked at is said to be unknown, and
why. Not here: what is known at any time (`status_operations.py`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.operations.exchange import TaggedOperation

__all__ = ["CheckRow", "Diagnose", "DiagnosisDocument", "Verdict"]

Verdict = Literal["ok", "note", "unknown", "warning", "error"]


class Diagnose(TaggedOperation, frozen=True, kw_only=True, tag="diagnose"):
    """Answered with `DiagnosisDocument`.

    Attributes:
        node: Only what concerns this one; empty: everything.
    """

    node: str = ""


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was looked at.

    Attributes:
        check: What was looked at: `broker`, `rights`, `clock`, `port`, `artifacts`, `version`, `certificate`, `sensor`, `disk`,
            `links`, `refused`, `runtime` or `set-up`.
        subject: Of whom or what: `splitctl`, `controller`, `broker` or a node.
        verdict: `note`: nothing is wrong, and somebody may want to know; `unknown`: it could not be looked at.
        what: What was found, one sentence.
        do: What to do about it; empty where nothing has to be done.
    """

    check: str
    subject: str
    verdict: Verdict
    what: str
    do: str = ""


class DiagnosisDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl doctor`.

    Attributes:
        ok: No check found a warning or an error.
        checks: In the order in which they were made.
        at_unix_s: When the controller began, on its clock. [s since the epoch]
        version: Release of the controller.
    """

    ok: bool
    checks: tuple[CheckRow, ...]
    at_unix_s: float
    version: str
