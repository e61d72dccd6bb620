"""Patience of a client: which requests wait for an agent that is away, and when each is sent again.

Owns: that decision. Its rule: pure. An agent that restarts, for an upgrade say, refuses what it has not begun, loses what it has, and
for a moment after its return knows no model; a request is answered alike however often it is asked, so sending it again is safe. Not
here: waiting and sending (`client/asynchronous.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgesplit.errors import EdgesplitError, NotDeployed, UnknownModel, Unreachable
from edgesplit.retrying import RetryRule

__all__ = ["Patience"]

_RULE = RetryRule(first_s=0.1, most_s=1.0)


@dataclass
class Patience:
    """One client's.

    Attributes:
        most_s: How long a request may wait in all; 0: not at all. [s]
    """

    most_s: float
    _missed_s: float = field(default=float("-inf"), repr=False)

    def pause_s(self, error: EdgesplitError, tries: int, waited_s: float, now_s: float, draw: float) -> float | None:
        """How long to wait until a request is sent again; None where its error is final. [s]

        Args:
            error: Why it failed.
            tries: How often it was sent.
            waited_s: Since it was made. [s]
            now_s: [s]
            draw: Uniform in [0, 1).
        """
        if isinstance(error, Unreachable):
            self._missed_s = now_s
        returned = now_s - self._missed_s < self.most_s and isinstance(error, UnknownModel | NotDeployed)
        if waited_s >= self.most_s or not (isinstance(error, Unreachable) or returned):
            return None
        return _RULE.pause_s(tries, draw)
