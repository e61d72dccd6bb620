"""When a certificate is renewed, and when it is said that it cannot be: a schedule, pure.

Its rule: at two thirds of a certificate's life, a little earlier by chance so that a fleet does not come in step; whoever cannot renew says so
at once, again each time half of what was left is gone, when it ends, and ever more seldom after. Not here: asking (`trust/enrolment_client.py`), waiting
(`daemon/certificate_renewal.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Lifetime", "RenewalWarnings"]

DUE_AT = 2 / 3
EARLIER_BY = 1 / 20
"""Of a life, at most by chance."""
LEAST_APART_S = 60.0
"""Two warnings. [s]"""


@dataclass(frozen=True)
class Lifetime:
    """Of one certificate. [s since the epoch]"""

    begins_s: float
    ends_s: float

    def due_s(self, draw: float) -> float:
        """When to renew it. [s since the epoch]

        Args:
            draw: Uniform in [0, 1).
        """
        return self.begins_s + (self.ends_s - self.begins_s) * (DUE_AT - EARLIER_BY * draw)


class RenewalWarnings:
    """What was said of one certificate that cannot be renewed."""

    def __init__(self) -> None:
        self._said_left_s = float("inf")
        self._said_at_s = float("-inf")

    def is_due(self, left_s: float, now_s: float) -> bool:
        """Whether to say it now; counts as said.

        Args:
            left_s: Until the certificate ends; negative once it has. [s]
            now_s: [s]
        """
        since_s = now_s - self._said_at_s
        has_ended = self._said_left_s > 0 >= left_s
        if since_s < LEAST_APART_S or (not has_ended and since_s < abs(self._said_left_s) / 2):
            return False
        self._said_left_s, self._said_at_s = left_s, now_s
        return True

    def renewed(self) -> None:
        """It was: the next failure is said at once."""
        self._said_left_s, self._said_at_s = float("inf"), float("-inf")
