"""Failure detector: whether a peer still lives, judged from its silence.

Owns: the clock that stands still while this process does, and how much silence a peer is allowed. Its rule: pure, times
are handed in; a peer is not blamed for this host's own standstill, and one whose machine still acknowledges is given as
long as it needed lately. Not here: pings, sockets and what follows (`outgoing.py`).

Two ways of dying differ. Where packets vanish, nothing is acknowledged, however busy the peer may be: the kernel does
that. Where the process hangs or has no processor to run on, its kernel acknowledges and only the answers are missing;
such a peer may be slow rather than dead, so it gets `SLACK` times its slowest answer of the last `MEMORY_S`.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Liveness"]

SLACK = 2.0
MEMORY_S = 20.0


class Liveness:
    """Judges one connection.

    Args:
        dead_after_s: Silence that is always allowed, and all of it where nothing is acknowledged. [s]
        limit_s: Silence that is never exceeded. [s]
        tick_s: How often `tick` is to be called while something is owed. [s]
        now: The clock. [s]
    """

    def __init__(self, dead_after_s: float, limit_s: float, tick_s: float, now: float) -> None:
        self._dead_after_s = dead_after_s
        self._limit_s = max(limit_s, dead_after_s)
        self._tick_s = tick_s
        self._ticked_at = now
        self._silent_s = 0.0
        self._answers: deque[tuple[float, float]] = deque()

    @property
    def overdue(self) -> bool:
        """Whether a verdict is due."""
        return self._silent_s > self._dead_after_s

    @property
    def allowed_s(self) -> float:
        """Silence allowed to a peer whose machine acknowledges. [s]"""
        slowest = max((took for _, took in self._answers), default=0.0)
        return min(max(self._dead_after_s, SLACK * slowest), self._limit_s)

    def tick(self, now: float, *, owed: bool) -> None:
        """Time passed; of a late tick, no more is counted than of two.

        Args:
            now: The clock. [s]
            owed: Whether something that was sent is unanswered; a peer that was asked nothing may be silent.
        """
        self._silent_s = self._silent_s + min(now - self._ticked_at, 2 * self._tick_s) if owed else 0.0
        self._ticked_at = now
        while self._answers and self._answers[0][0] < now - MEMORY_S:
            self._answers.popleft()

    def rested(self, now: float) -> None:
        """Nothing was owed until now, and no `tick` came. [s]"""
        self._ticked_at = now

    def heard(self) -> None:
        """Something came from the peer."""
        self._silent_s = 0.0

    def answered(self, took_s: float, now: float) -> None:
        """The peer answered a ping after so long. [s]"""
        while self._answers and self._answers[-1][1] <= took_s:
            self._answers.pop()  # a slower and later one decides alone
        self._answers.append((now, took_s))

    def verdict(self, *, acknowledged: bool | None) -> str:
        """Why the peer is lost, or empty.

        Args:
            acknowledged: Whether the peer's machine has acknowledged all that was sent; None where nobody can tell.
        """
        if not self.overdue:
            return ""
        if acknowledged is False:
            return f"nothing that was sent has arrived for {self._silent_s:.1f} s: the link or the machine is down"
        if self._silent_s <= self.allowed_s:
            return ""
        hangs = ": its machine acknowledges, the agent hangs" if acknowledged else ""
        return f"it has not answered for {self._silent_s:.1f} s{hangs}"
